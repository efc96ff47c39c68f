// Stereo stays stereo through the pages: the studio shares a screen with one tone on the left and another on the right, and
// the watch page plays each on its own side, and the other one not.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node stereo.mjs
//
// To see it fail: let `stereo()` of web/src/whep.ts, or of web/src/whip.ts, return false and build the pages.
import { launch, must, run, serverUrl, until } from './browser.mjs';

const LEFT_HZ = 500;
const RIGHT_HZ = 2_000;
/** A side's own tone is so much louder than the other's, in decibels. */
const APART_DB = 20;

await run('stereo', async (result) => {
  const room = `stereo-${Date.now().toString(36)}`;
  const { browser } = await launch();
  const [host, guest] = [await browser.newPage(), await browser.newPage()];
  await host.addInitScript(shareTones, [LEFT_HZ, RIGHT_HZ]);
  await host.goto(new URL(`studio?room=${room}&source=screen&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
  await live(host, 'studio');
  await guest.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
  await live(guest, 'watch page');
  await guest.evaluate(listen, [LEFT_HZ, RIGHT_HZ]);
  result.heard = await until(`each side is ${APART_DB} dB above the other's tone`, async () => {
    result.last = await guest.evaluate(() => window.levels());
    const { left, right } = result.last;
    return left[0] - left[1] >= APART_DB && right[1] - right[0] >= APART_DB && result.last;
  }, { timeoutMs: 20_000 });
});

/** Waits until a page is live, and looks whether it was answered with stereo. */
async function live(page, name) {
  await until(`the ${name} is live`, () => page.evaluate(() => window.__freshet?.state === 'Live'));
  const answer = await page.evaluate(() => window.__freshet.pc.remoteDescription.sdp);
  must(/a=fmtp:\d+ (\S*;)?stereo=1/.test(answer), `the answer to the ${name} has no stereo: ${answer}`);
}

/**
 * Runs in the host's page before its own scripts: a screen whose sound is one tone on each side, and a microphone that is
 * silent. As Chromium's, the sound has one channel where echoes are to be cancelled.
 */
function shareTones(tones) {
  // Pages that are not secure, as the blank one, have none.
  if (!navigator.mediaDevices) return;
  const sound = (channelCount) => {
    const context = new AudioContext();
    return { context, out: new MediaStreamAudioDestinationNode(context, { channelCount }) };
  };
  navigator.mediaDevices.getDisplayMedia = async ({ audio }) => {
    const { context, out } = sound(audio.echoCancellation === false ? 2 : 1);
    const merger = context.createChannelMerger(2);
    tones.forEach((hz, side) => {
      const tone = new OscillatorNode(context, { frequency: hz });
      tone.connect(new GainNode(context, { gain: 0.4 })).connect(merger, 0, side);
      tone.start();
    });
    merger.connect(out);
    const canvas = document.createElement('canvas');
    const pen = canvas.getContext('2d');
    let at = 0;
    setInterval(() => {
      at += 1;
      pen.fillStyle = at % 2 ? '#125566' : '#1a7c8f';
      pen.fillRect(0, 0, canvas.width, canvas.height);
    }, 100);
    const screen = canvas.captureStream();
    screen.addTrack(out.stream.getAudioTracks()[0]);
    window.kept = [context, merger];
    return screen;
  };
  navigator.mediaDevices.getUserMedia = async () => {
    const { context, out } = sound(1);
    const silence = new ConstantSourceNode(context, { offset: 0 });
    silence.connect(out);
    silence.start();
    return out.stream;
  };
}

/** Runs in the viewer's page: `levels()` tells how loud each tone is on each side of what the page plays. */
function listen(tones) {
  const context = new AudioContext();
  const splitter = context.createChannelSplitter(2);
  const source = context.createMediaStreamSource(document.querySelector('video').srcObject);
  source.connect(splitter);
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
  window.kept = { context, source };
}
