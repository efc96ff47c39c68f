// Stereo stays stereo: a page sends one tone on the left and another on the right, and whoever watches hears each on its own
// side, and the other one not.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node stereo.mjs
import { launch, must, run, serverUrl, until } from './browser.mjs';

const LEFT_HZ = 500;
const RIGHT_HZ = 2_000;
/** A side's own tone is so much louder than the other's, in decibels. */
const APART_DB = 20;

await run('stereo', async (result) => {
  const room = `stereo-${Date.now().toString(36)}`;
  const { browser } = await launch({ context: { bypassCSP: true } });
  const [host, guest] = [await browser.newPage(), await browser.newPage()];
  await host.goto(new URL('v1/config', serverUrl('FRESHET_PUBLISH_URL')).href);
  await guest.goto(new URL('v1/config', serverUrl('FRESHET_WATCH_URL')).href);
  const hosts = await host.evaluate(publish, { url: new URL(`whip/${room}`, serverUrl('FRESHET_PUBLISH_URL')).href, tones: [LEFT_HZ, RIGHT_HZ] });
  must(/a=fmtp:111 .*stereo=1/.test(hosts), `the host's answer has no stereo: ${hosts}`);
  const guests = await guest.evaluate(watch, { url: new URL(`whep/${room}?wait=1`, serverUrl('FRESHET_WATCH_URL')).href, tones: [LEFT_HZ, RIGHT_HZ] });
  must(/a=fmtp:111 .*stereo=1/.test(guests), `the viewer's answer has no stereo: ${guests}`);
  result.heard = await until(`each side is ${APART_DB} dB above the other's tone`, async () => {
    result.last = await guest.evaluate(() => window.levels());
    const { left, right } = result.last;
    return left[0] - left[1] >= APART_DB && right[1] - right[0] >= APART_DB && result.last;
  }, { timeoutMs: 20_000 });
});

/** Runs in the host's page. */
async function publish({ url, tones }) {
  const context = new AudioContext();
  const merger = context.createChannelMerger(2);
  tones.forEach((hz, side) => {
    const tone = new OscillatorNode(context, { frequency: hz });
    tone.connect(new GainNode(context, { gain: 0.4 })).connect(merger, 0, side);
    tone.start();
  });
  const out = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
  merger.connect(out);
  const pc = new RTCPeerConnection();
  pc.addTransceiver(out.stream.getAudioTracks()[0], { direction: 'sendonly' });
  const offer = await pc.createOffer();
  const sdp = offer.sdp.replace(/a=fmtp:111 [^\r]*/, '$&;stereo=1;sprop-stereo=1;maxaveragebitrate=256000');
  await pc.setLocalDescription({ type: 'offer', sdp });
  const made = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp });
  const answer = await made.text();
  await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  window.kept = { pc, context };
  return answer;
}

/** Runs in the viewer's page. */
async function watch({ url, tones }) {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('audio', { direction: 'recvonly' });
  const came = new Promise((resolve) => pc.addEventListener('track', ({ track }) => resolve(new MediaStream([track]))));
  const offer = await pc.createOffer();
  const sdp = offer.sdp.replace(/a=fmtp:111 [^\r]*/, '$&;stereo=1');
  await pc.setLocalDescription({ type: 'offer', sdp });
  const made = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp });
  const answer = await made.text();
  await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  const stream = await came;
  // Chromium decodes what is not played by an element as nothing.
  const player = new Audio();
  player.srcObject = stream;
  player.muted = true;
  await player.play();
  const context = new AudioContext();
  const splitter = context.createChannelSplitter(2);
  context.createMediaStreamSource(stream).connect(splitter);
  const sides = [0, 1].map((side) => {
    const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
    splitter.connect(analyser, side);
    return analyser;
  });
  window.levels = () => {
    const [left, right] = sides.map((analyser) => {
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      const width = context.sampleRate / analyser.fftSize;
      return tones.map((hz) => {
        const at = Math.round(hz / width);
        return Math.max(-200, ...bins.slice(at - 2, at + 3));
      });
    });
    return { left, right };
  };
  window.kept = { pc, context, player };
  return answer;
}
