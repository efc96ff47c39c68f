// Lip sync: one page sends white flashes and beeps that start at the same instant; the viewer's page
// finds both, and the offset between them is what a person would see. Positive: the sound is late.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node lipsync.mjs
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';

const PAIRS = Number(process.env.FRESHET_LIPSYNC_PAIRS ?? 20);
const LIMIT_MS = 80;
/** Browsers line up sound and picture over the first seconds, from sender reports. */
const SETTLE_MS = Number(process.env.FRESHET_LIPSYNC_SETTLE_MS ?? 8_000);

await run(
  'lipsync',
  async (result) => {
    const room = `lips-${Date.now().toString(36)}`;
    const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch({ context: { bypassCSP: true } })]);
    const host = await hostBrowser.newPage();
    const guest = await guestBrowser.newPage();
    await host.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
    await until('the studio is live', () => host.evaluate(() => window.__freshet?.state === 'Live'));
    await guest.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
    await until('the picture plays', () => guest.evaluate(() => (document.querySelector('video')?.videoWidth ?? 0) > 0 && window.__freshet?.state === 'Live'));
    await sleep(SETTLE_MS);
    await guest.evaluate(listen);
    await until(`${PAIRS} flashes and beeps`, () => guest.evaluate((wanted) => Math.min(window.sync.flashes.length, window.sync.beeps.length) > wanted, PAIRS), {
      timeoutMs: (PAIRS + 15) * 1000,
    }).catch(async (error) => {
      Object.assign(result, await guest.evaluate(() => ({ flashes: window.sync.flashes.length, beeps: window.sync.beeps.length })));
      throw error;
    });
    const { flashes, beeps } = await guest.evaluate(() => ({ flashes: window.sync.flashes, beeps: window.sync.beeps }));
    const offsets = pair(flashes, beeps).slice(0, PAIRS);
    result.offsetsMs = offsets.map((ms) => Math.round(ms));
    result.pairs = offsets.length;
    const sorted = [...offsets].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    result.medianMs = Math.round(sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2);
    result.worstMs = Math.round(offsets.reduce((worst, ms) => (Math.abs(ms) > Math.abs(worst) ? ms : worst), 0));
    must(offsets.length >= PAIRS, `only ${offsets.length} pairs of a flash and a beep`);
    must(Math.abs(result.medianMs) <= LIMIT_MS, `median offset ${result.medianMs} ms, limit ${LIMIT_MS} ms`);
    must(Math.abs(result.worstMs) <= LIMIT_MS, `worst offset ${result.worstMs} ms, limit ${LIMIT_MS} ms`);
  },
  150_000,
);

/** Each flash with the beep next to it; they come once a second, so half of one is the most. */
function pair(flashes, beeps) {
  return flashes.flatMap((flash) => {
    const offsets = beeps.map((beep) => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b));
    return offsets.length > 0 && Math.abs(offsets[0]) < 500 ? [offsets[0]] : [];
  });
}

/** Runs in the page: both kinds of event, as times of the page's performance clock. */
async function listen() {
  const video = document.querySelector('video');
  const flashes = [];
  const beeps = [];
  window.sync = { flashes, beeps };

  const canvas = new OffscreenCanvas(16, 9);
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  let white = true;
  const look = (_now, frame) => {
    pen.drawImage(video, 0, 0, 16, 9);
    const { data } = pen.getImageData(0, 0, 16, 9);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
    const bright = sum / (data.length / 4) / 3 > 180;
    // The time at which the frame is to be seen, not at which this code came to run.
    if (bright && !white) flashes.push(frame.expectedDisplayTime);
    white = bright;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);

  const audio = new AudioContext({ latencyHint: 'interactive' });
  await audio.resume();
  const code = `
    registerProcessor('onset', class extends AudioWorkletProcessor {
      constructor() { super(); this.quiet = 0; }
      process([input]) {
        const samples = input[0];
        if (!samples) return true;
        for (let at = 0; at < samples.length; at += 1) {
          if (Math.abs(samples[at]) > 0.08) {
            if (this.quiet > sampleRate * 0.3) this.port.postMessage(currentTime + at / sampleRate);
            this.quiet = 0;
          } else {
            this.quiet += 1;
          }
        }
        return true;
      }
    });`;
  const url = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  await audio.audioWorklet.addModule(url);
  const node = new AudioWorkletNode(audio, 'onset');
  // Audio renders in bursts: the mapping of its clock to the page's is the mean of many readings.
  const offsets = [];
  setInterval(() => {
    offsets.push(performance.now() - audio.currentTime * 1000);
    if (offsets.length > 100) offsets.shift();
  }, 23);
  node.port.onmessage = ({ data }) => {
    if (offsets.length > 20) beeps.push(data * 1000 + offsets.reduce((sum, value) => sum + value, 0) / offsets.length);
  };
  audio.createMediaStreamSource(new MediaStream(video.srcObject.getAudioTracks())).connect(node);
  const silence = audio.createGain();
  silence.gain.value = 0;
  node.connect(silence).connect(audio.destination);
}
