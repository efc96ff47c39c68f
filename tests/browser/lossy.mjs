// A viewer behind a path that loses and delays packets: what was lost comes again by RTX, and the picture goes on.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node lossy.mjs
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';
import { impair } from './impair.mjs';

const SECONDS = 20;
const JITTER_MS = 30;
const SEED = Number(process.env.FRESHET_LOSSY_SEED ?? 11);
/**
 * Loss each way, how long the picture may stand still in all (at 10 % it has to go on, no more), and how much of what
 * was lost RTX brings at least; of few losses any share may be missed by chance.
 */
const PATHS = [
  { loss: 0.02, freezesS: 0.5, rtxShare: 0.1 },
  { loss: 0.1, freezesS: SECONDS / 2, rtxShare: 0.5 },
];

await run(
  'lossy',
  async (result) => {
    const room = `lossy-${Date.now().toString(36)}`;
    const { browser } = await launch();
    const host = await browser.newPage();
    await host.goto(new URL(`studio?room=${room}&source=camera&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
    await until('the studio is live', () => host.evaluate(() => window.__freshet?.state === 'Live'));
    const { browser: other } = await launch();
    const guest = await other.newPage();
    const path = { loss: 0, jitterMs: JITTER_MS };
    const { seen, close } = await impair(guest, path, SEED);
    await guest.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
    await until('the picture plays', () => guest.evaluate(() => (document.querySelector('video')?.videoWidth ?? 0) > 0 && window.__freshet?.state === 'Live'));
    // The jitter buffer comes to know the path before anything is lost.
    await sleep(3_000);

    result.paths = [];
    for (const { loss, freezesS, rtxShare } of PATHS) {
      path.loss = loss;
      const before = { ...(await inbound(guest)), ...seen };
      await sleep(SECONDS * 1_000);
      const after = { ...(await inbound(guest)), ...seen };
      const figures = { loss };
      for (const name of Object.keys(after)) figures[name] = Math.round((after[name] - before[name]) * 1_000) / 1_000;
      result.paths.push(figures);
      const percent = `${loss * 100} %`;
      must(figures.downLost > 0.5 * loss * figures.downPassed, `the path lost ${figures.downLost} of ${figures.downPassed}, not ${percent}`);
      // Sound takes its part of what is lost, and is not sent again.
      const lost = (figures.downLost * figures.packets) / (figures.downPassed + figures.downLost);
      must(figures.rtx > rtxShare * lost, `RTX brought ${figures.rtx} packets, of some ${Math.round(lost)} lost at ${percent}`);
      must(figures.freezesS <= freezesS, `the picture stood still for ${figures.freezesS} s at ${percent}`);
      must(figures.frames > 10 * SECONDS, `${figures.frames} frames in ${SECONDS} s at ${percent}`);
      must((await guest.evaluate(() => window.__freshet.state)) === 'Live', `the page no longer says that it is live at ${percent}`);
    }
    close();
  },
  110_000,
);

async function inbound(page) {
  return page.evaluate(async () => {
    for (const stat of (await window.__freshet?.stats()) ?? []) {
      if (stat.type !== 'inbound-rtp' || stat.kind !== 'video') continue;
      return {
        packets: stat.packetsReceived ?? 0,
        rtx: stat.retransmittedPacketsReceived ?? 0,
        nacks: stat.nackCount ?? 0,
        plis: stat.pliCount ?? 0,
        frames: stat.framesDecoded ?? 0,
        freezes: stat.freezeCount ?? 0,
        freezesS: stat.totalFreezesDuration ?? 0,
      };
    }
    return {};
  });
}
