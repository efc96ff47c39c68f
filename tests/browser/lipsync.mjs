// Lip sync: one page sends white flashes and beeps that start at the same instant; the viewer's page
// finds both, and the offset between them is what a person would see. Positive: the sound is late.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node lipsync.mjs
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';

const PAIRS = 20;
const LIMIT_MS = 80;
/** Flash and beep come once in this time. */
const PERIOD_MS = 1_000;
/**
 * Browsers line up sound and picture from sender reports, once a second and by half of a smoothed difference, until
 * less than 30 ms is left. A viewer starts some 60 ms apart, and comes to rest after 8 to 16 seconds.
 */
const SETTLE_MS = Number(process.env.FRESHET_LIPSYNC_SETTLE_MS ?? 18_000);

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
    await guest.evaluate(listen);
    await sleep(SETTLE_MS);
    const from = await guest.evaluate(() => performance.now());
    const counted = () => guest.evaluate((start) => window.sync.flashes.filter((flash) => flash >= start).length, from);
    const end = Date.now() + (PAIRS + 2) * PERIOD_MS;
    while ((await counted()) < PAIRS && Date.now() < end) await sleep(200);
    // The last flash's beep may come half a period after it.
    await sleep(PERIOD_MS / 2);
    const { flashes, beeps } = await guest.evaluate(() => ({ flashes: window.sync.flashes, beeps: window.sync.beeps }));
    result.browserMs = await guest.evaluate(byTheBrowser);
    const offsets = pair(flashes, beeps, from);
    result.offsetsMs = offsets.map((ms) => Math.round(ms));
    result.pairs = offsets.length;
    const sorted = [...offsets].sort((a, b) => a - b);
    result.medianMs = Math.round((sorted[(PAIRS >> 1) - 1] + sorted[PAIRS >> 1]) / 2);
    result.worstMs = Math.round(offsets.reduce((worst, ms) => (Math.abs(ms) > Math.abs(worst) ? ms : worst), 0));
    must(Math.abs(result.medianMs) <= LIMIT_MS, `median offset ${result.medianMs} ms, limit ${LIMIT_MS} ms`);
    must(Math.abs(result.worstMs) <= LIMIT_MS, `worst offset ${result.worstMs} ms, limit ${LIMIT_MS} ms`);
  },
  90_000,
);

/** The flashes from a moment on, one after another, each with its beep: none is left out, whatever it says. */
function pair(flashes, beeps, from) {
  const first = flashes.findIndex((flash) => flash >= from);
  const counted = first < 0 ? [] : flashes.slice(first, first + PAIRS);
  must(counted.length === PAIRS, `only ${counted.length} flashes in ${PAIRS + 2} s, and ${beeps.filter((beep) => beep >= from).length} beeps`);
  return counted.map((flash, n) => {
    const passed = n === 0 ? PERIOD_MS : flash - counted[n - 1];
    must(Math.abs(passed - PERIOD_MS) < PERIOD_MS / 2, `flash ${n + 1} came ${Math.round(passed)} ms after the one before it, not ${PERIOD_MS} ms`);
    const near = beeps.filter((beep) => Math.abs(beep - flash) < PERIOD_MS / 2);
    must(near.length === 1, `${near.length} beeps within half a second of flash ${n + 1}, not one`);
    return near[0] - flash;
  });
}

/** Runs in the page: the same offset as the browser reckons it from sender reports. A second witness, not judged. */
async function byTheBrowser() {
  const stats = (await window.__freshet.stats()).filter((entry) => entry.type === 'inbound-rtp');
  const playing = (kind) => stats.find((entry) => entry.kind === kind)?.estimatedPlayoutTimestamp;
  return Math.round(playing('video') - playing('audio'));
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
