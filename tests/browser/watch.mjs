// One browser publishes its fake camera, another watches: a moving picture, sound, and chat in both
// directions, through the real pages.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node watch.mjs
import { launch, must, run, serverUrl, sleep, until, watchErrors } from './browser.mjs';

const SECONDS = 5;
const MIN_FRAMES = 60;
/** On the browser's scale of 0 to 1; noise stays far below. */
const AUDIBLE = 0.01;

await run('watch', async (result) => {
  const room = `watch-${Date.now().toString(36)}`;
  const publishAt = serverUrl('FRESHET_PUBLISH_URL');
  const watchAt = serverUrl('FRESHET_WATCH_URL');
  result.room = room;
  result.errors = [];

  const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch()]);
  const host = await hostBrowser.newPage();
  const guest = await guestBrowser.newPage();
  watchErrors(host, 'studio', result.errors);
  watchErrors(guest, 'watch', result.errors);

  // The viewer comes first, and waits for the host on the room's events.
  await guest.goto(new URL(`watch/${room}`, watchAt).href);
  await until('the watch page says that it waits for the host', () => guest.evaluate(() => window.__freshet?.state === 'Waiting for the host'));
  await host.goto(new URL(`studio?room=${room}&source=camera&autostart=1`, publishAt).href);
  await until('the studio says that it is live', () => host.evaluate(() => window.__freshet?.state === 'Live'));
  const began = Date.now();
  const first = await until('the viewer decodes a first frame', async () => (await inbound(guest)).frames > 0 && inbound(guest), { everyMs: 50 });
  result.firstFrameMs = Date.now() - began;
  result.waited = true;
  must(first.frames > 0, 'no frame was decoded');

  const before = await inbound(guest);
  const picture = await fingerprint(guest);
  await sleep(SECONDS * 1000);
  const after = await inbound(guest);
  result.frames = after.frames - before.frames;
  result.audioEnergy = after.energy - before.energy;
  // The fake microphone beeps once a second: any one look may fall between two beeps.
  result.audioLevel = await until(`sound louder than ${AUDIBLE}`, async () => {
    const { level } = await inbound(guest);
    return level > AUDIBLE && level;
  }, { everyMs: 40 });
  result.size = `${after.width}x${after.height}`;
  result.srtpCipher = after.cipher;
  result.state = await guest.evaluate(() => window.__freshet.state);
  must(result.frames > MIN_FRAMES, `${result.frames} frames in ${SECONDS} s, wanted more than ${MIN_FRAMES}`);
  must(result.audioEnergy > 0, 'no sound arrived: the energy of the received audio is 0');
  must((await fingerprint(guest)) !== picture, 'the picture does not move');
  must(result.state === 'Live', `the watch page says "${result.state}"`);

  result.chatToGuestMs = await chat(host, guest, 'Hello from the studio, können Sie mich sehen?');
  result.chatToHostMs = await chat(guest, host, 'Ja! <b>Loud</b> & clear.');
  result.viewers = await until('the studio counts its viewer', async () => {
    const text = await host.locator('.side .viewers').textContent();
    return /^[1-9]/.test(text ?? '') && text;
  });

  // A refusal to be early is part of the protocol, and browsers report every one of them.
  result.errors = result.errors.filter((line) => !/409/.test(line));
  must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
});

async function inbound(page) {
  return page.evaluate(async () => {
    const found = { frames: 0, energy: 0, level: 0, width: 0, height: 0, cipher: null };
    for (const stat of (await window.__freshet?.stats()) ?? []) {
      if (stat.type === 'inbound-rtp' && stat.kind === 'video') Object.assign(found, { frames: stat.framesDecoded ?? 0, width: stat.frameWidth ?? 0, height: stat.frameHeight ?? 0 });
      if (stat.type === 'inbound-rtp' && stat.kind === 'audio') Object.assign(found, { energy: stat.totalAudioEnergy ?? 0, level: stat.audioLevel ?? 0 });
      if (stat.type === 'transport') found.cipher = stat.srtpCipher ?? null;
    }
    return found;
  });
}

/** A number that changes when the picture does. */
async function fingerprint(page) {
  return page.evaluate(() => {
    const video = document.querySelector('video');
    const canvas = new OffscreenCanvas(64, 36);
    const pen = canvas.getContext('2d');
    pen.drawImage(video, 0, 0, 64, 36);
    return pen.getImageData(0, 0, 64, 36).data.reduce((sum, value) => (Math.imul(sum, 31) + value) | 0, 7);
  });
}

async function chat(from, to, text) {
  const began = Date.now();
  await from.locator('#chat-text').fill(text);
  await from.locator('#chat-text').press('Enter');
  const line = to.locator('[role=log] .chat-text', { hasText: text });
  await line.waitFor({ timeout: 10_000 });
  const took = Date.now() - began;
  // On the sender's own page it stands once, as the room's and no longer as its own.
  await from.locator('[role=log] .chat-text', { hasText: text }).waitFor({ timeout: 10_000 });
  must((await from.locator('.chat-text', { hasText: text }).count()) === 1, 'the sent message stands twice on its own page');
  must((await to.locator('.chat-text').last().textContent()) === text, 'the chat shows another text than was written');
  return took;
}
