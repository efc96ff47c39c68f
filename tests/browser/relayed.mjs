// A viewer whose network lets nothing out but HTTP and one port of a TURN server: media comes through that.
//
//   FRESHET_WATCH_URL=http://… FRESHET_ROOM=… node relayed.mjs
import { launch, must, run, serverUrl, until } from './browser.mjs';

const MIN_PACKETS = 200;

await run('relayed', async (result) => {
  const { browser } = await launch();
  const page = await browser.newPage();
  await page.goto(new URL(`watch/${process.env.FRESHET_ROOM}`, serverUrl('FRESHET_WATCH_URL')).href);
  const found = await until(`${MIN_PACKETS} packets of picture came`, async () => {
    const stats = await look(page);
    result.last = stats;
    return stats.packets >= MIN_PACKETS && stats;
  }, { timeoutMs: 40_000 });
  result.packets = found.packets;
  must(found.local === 'relay', `media came by a candidate of the type ${found.local}`);
});

async function look(page) {
  return page.evaluate(async () => {
    const found = { state: window.__freshet?.state, packets: 0, local: null };
    const stats = [...((await window.__freshet?.stats()) ?? [])];
    for (const stat of stats) {
      if (stat.type === 'inbound-rtp' && stat.kind === 'video') found.packets = stat.packetsReceived ?? 0;
    }
    const selected = stats.find((stat) => stat.type === 'transport')?.selectedCandidatePairId;
    const pair = stats.find((stat) => stat.id === selected);
    found.local = stats.find((stat) => stat.id === pair?.localCandidateId)?.candidateType ?? null;
    return found;
  });
}
