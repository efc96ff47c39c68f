/**
 * Opus in two channels. A browser decodes in stereo only where its own description says `stereo=1` (RFC 7587), and
 * Chromium encodes so only where the answer says it, which the server takes from the offer. Chromium never says it by
 * itself: without these lines sound is folded into one channel on its way.
 */

/** The offer with `stereo=1` for each payload type of Opus that says nothing of stereo. */
export function withStereo(sdp: string): string {
  // Section by section: without BUNDLE a payload type may be another codec's elsewhere.
  return sdp.split(/^(?=m=)/m).map(inSection).join('');
}

function inSection(section: string): string {
  let out = section;
  for (const [map, type] of section.matchAll(/^a=rtpmap:(\d+) opus\/[^\r\n]*/gim)) {
    const said = new RegExp(`^a=fmtp:${type} [^\\r\\n]*`, 'm').exec(section)?.[0];
    if (said === undefined) out = out.replace(map, () => `${map}\r\na=fmtp:${type} stereo=1`);
    else if (!/[ ;]stereo=/i.test(said)) out = out.replace(said, () => `${said.replace(/[; ]+$/, '')};stereo=1`);
  }
  return out;
}

/** Whether something of it is heard from two sides. A browser that does not count channels has one, as far as we know. */
export function hasTwoChannels(media: MediaStream): boolean {
  return media.getTracks().some((track) => track.kind === 'audio' && (track.getSettings().channelCount ?? 1) >= 2);
}
