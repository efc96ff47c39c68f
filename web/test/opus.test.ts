import { describe, expect, it } from 'vitest';
import { hasTwoChannels, withStereo } from '../src/client/opus';

const sdp = (lines: string[]): string => `${lines.join('\r\n')}\r\n`;
const HEAD = ['v=0', 'o=- 46117 2 IN IP4 127.0.0.1', 's=-', 't=0 0'];
/** As Chromium writes it. */
const AUDIO = [
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0',
  'a=mid:0',
  'a=rtpmap:111 opus/48000/2',
  'a=rtcp-fb:111 transport-cc',
  'a=fmtp:111 minptime=10;useinbandfec=1',
  'a=rtpmap:63 red/48000/2',
  'a=fmtp:63 111/111',
  'a=rtpmap:9 G722/8000',
  'a=rtpmap:0 PCMU/8000',
];
const VIDEO = ['m=video 9 UDP/TLS/RTP/SAVPF 96 97', 'a=mid:1', 'a=rtpmap:96 VP8/90000', 'a=rtpmap:97 rtx/90000', 'a=fmtp:97 apt=96'];
const put = (lines: string[], before: string, after: string[]): string[] => lines.flatMap((line) => (line === before ? after : [line]));

describe('an offer in stereo', () => {
  it("says so in Opus' own line, and is the same otherwise", () => {
    const fmtp = 'a=fmtp:111 minptime=10;useinbandfec=1';
    const offer = [...HEAD, ...AUDIO, ...VIDEO];
    expect(withStereo(sdp(offer))).toBe(sdp(put(offer, fmtp, [`${fmtp};stereo=1`])));
    expect(withStereo(sdp(put(offer, fmtp, [`${fmtp};`])))).toBe(sdp(put(offer, fmtp, [`${fmtp};stereo=1`])));
  });

  it('has a line for it after the rtpmap where there was none', () => {
    const bare = [...HEAD, ...AUDIO.filter((line) => !line.startsWith('a=fmtp:111')), ...VIDEO];
    const map = 'a=rtpmap:111 opus/48000/2';
    expect(withStereo(sdp(bare))).toBe(sdp(put(bare, map, [map, 'a=fmtp:111 stereo=1'])));
  });

  it.each(['stereo=1', 'minptime=10;stereo=1;useinbandfec=1', 'useinbandfec=1; stereo=0', 'maxplaybackrate=48000;stereo=1'])('is left alone where it says %s', (said) => {
    const offer = sdp(put([...HEAD, ...AUDIO], 'a=fmtp:111 minptime=10;useinbandfec=1', [`a=fmtp:111 ${said}`]));
    expect(withStereo(offer)).toBe(offer);
  });

  it('takes what is said of sending for another thing', () => {
    const offer = sdp(put([...HEAD, ...AUDIO], 'a=fmtp:111 minptime=10;useinbandfec=1', ['a=fmtp:111 sprop-stereo=1']));
    expect(withStereo(offer)).toContain('\r\na=fmtp:111 sprop-stereo=1;stereo=1\r\n');
  });

  it('says it for each payload type and in each section, of Opus alone', () => {
    const two = ['m=audio 9 UDP/TLS/RTP/SAVPF 11 111', 'a=rtpmap:11 OPUS/48000/2', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 usedtx=1'];
    const other = ['m=video 9 UDP/TLS/RTP/SAVPF 111', 'a=rtpmap:111 H264/90000', 'a=fmtp:111 packetization-mode=1'];
    const third = ['m=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 minptime=20'];
    const said = [
      ...put(put(two, 'a=fmtp:111 usedtx=1', ['a=fmtp:111 usedtx=1;stereo=1']), 'a=rtpmap:11 OPUS/48000/2', ['a=rtpmap:11 OPUS/48000/2', 'a=fmtp:11 stereo=1']),
      ...other,
      ...put(third, 'a=fmtp:111 minptime=20', ['a=fmtp:111 minptime=20;stereo=1']),
    ];
    expect(withStereo(sdp([...HEAD, ...two, ...other, ...third]))).toBe(sdp([...HEAD, ...said]));
  });

  it('is made once: twice is the same', () => {
    const once = withStereo(sdp([...HEAD, ...AUDIO, ...VIDEO]));
    expect(withStereo(once)).toBe(once);
  });

  it('without sound stays as it is', () => {
    for (const offer of [sdp([...HEAD, ...VIDEO]), '']) expect(withStereo(offer)).toBe(offer);
  });
});

describe('media', () => {
  const media = (...tracks: [kind: string, channelCount?: number][]): MediaStream =>
    ({ getTracks: () => tracks.map(([kind, channelCount]) => ({ kind, getSettings: () => (channelCount === undefined ? {} : { channelCount }) })) }) as unknown as MediaStream;

  it('has two channels where its sound has', () => {
    expect(hasTwoChannels(media(['video'], ['audio', 2]))).toBe(true);
    expect(hasTwoChannels(media(['video'], ['audio', 1]))).toBe(false);
    expect(hasTwoChannels(media(['audio']))).toBe(false);
    expect(hasTwoChannels(media())).toBe(false);
  });
});
