// A client whose network lets nothing out but HTTP and one port of a TURN server: media goes through that. A page watches what
// somebody publishes in the room; with FRESHET_STUDIO it is a studio of the same network that does, through that port as well.
//
//   FRESHET_WATCH_URL=http://… FRESHET_ROOM=… [FRESHET_STUDIO=1] [FRESHET_RELAYED_BY=tcp] node relayed.mjs
//
// FRESHET_RELAYED_BY is how the TURN server is reached, where the network leaves one way alone.
import { launch, must, run, serverUrl, until } from './browser.mjs';

const MIN_PACKETS = 200;
const { FRESHET_ROOM: room, FRESHET_STUDIO: studio, FRESHET_RELAYED_BY: by } = process.env;

await run('relayed', async (result) => {
  /** Opens a page and waits until its picture went through the TURN server, this way. */
  const relayed = async (what, path, kind, count) => {
    // One browser each: a page that stands behind another may draw nothing.
    const { browser } = await launch();
    const page = await browser.newPage();
    await page.goto(new URL(path, serverUrl('FRESHET_WATCH_URL')).href);
    result[what] = {};
    await until(`${MIN_PACKETS} packets of picture of the ${what}`, async () => {
      result[what] = await page.evaluate(look, [kind, count]);
      return result[what].packets >= MIN_PACKETS;
    }, { timeoutMs: 40_000 });
    const { local, relayedBy } = result[what];
    must(local === 'relay', `media of the ${what} went by a candidate of the type ${local}`);
    must(!by || relayedBy === by, `the ${what} reached the TURN server by ${relayedBy}`);
  };
  if (studio) await relayed('studio', `studio?room=${room}&source=flash&autostart=1`, 'outbound-rtp', 'packetsSent');
  await relayed('viewer', `watch/${room}`, 'inbound-rtp', 'packetsReceived');
});

/** Runs in the page. */
async function look([kind, count]) {
  const found = { state: window.__freshet?.state, packets: 0, local: null, relayedBy: null };
  const stats = [...((await window.__freshet?.stats()) ?? [])];
  for (const stat of stats) {
    if (stat.type === kind && stat.kind === 'video') found.packets += stat[count] ?? 0;
  }
  const selected = stats.find((stat) => stat.type === 'transport')?.selectedCandidatePairId;
  const pair = stats.find((stat) => stat.id === selected);
  const local = stats.find((stat) => stat.id === pair?.localCandidateId);
  found.local = local?.candidateType ?? null;
  found.relayedBy = local?.relayProtocol ?? null;
  return found;
}
