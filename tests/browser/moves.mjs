// A viewer whose machine gets another address, as when it goes from one network to the next: the page keeps its session.
// It runs as root in a network namespace whose interface eth0 has the address that goes.
//
//   FRESHET_WATCH_URL=http://… FRESHET_ROOM=… FRESHET_FROM=10.0.1.2/24 FRESHET_TO=10.0.1.9/24 FRESHET_GATEWAY=10.0.1.1 node moves.mjs
import { execFileSync } from 'node:child_process';
import { launch, must, run, serverUrl, until } from './browser.mjs';

const MIN_PACKETS = 200;
const { FRESHET_ROOM: room, FRESHET_FROM: from, FRESHET_TO: to, FRESHET_GATEWAY: gateway } = process.env;

await run('moves', async (result) => {
  const { browser } = await launch();
  const page = await browser.newPage();
  const [made, restarted] = [[], []];
  page.on('response', (response) => {
    const method = response.request().method();
    if (method === 'POST' && response.url().includes('/whep/')) made.push(response.status());
    if (method === 'PATCH' && response.status() === 200) restarted.push(response.url());
  });
  await page.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
  const more = (before) => async () => {
    result.last = await look(page);
    return result.last.packets >= before + MIN_PACKETS && result.last;
  };
  const before = await until('the picture plays', more(0), { timeoutMs: 40_000 });
  execFileSync('ip', ['address', 'del', from, 'dev', 'eth0']);
  execFileSync('ip', ['address', 'add', to, 'dev', 'eth0']);
  execFileSync('ip', ['route', 'replace', 'default', 'via', gateway]);
  const after = await until('it plays on from the other address', more(before.packets), { timeoutMs: 60_000 });
  result.stood = after.freezes;
  must(made.length === 1 && made[0] === 201, `it made sessions: ${made}`);
  must(restarted.length > 0, 'ICE was not restarted');
  result.restarts = restarted.length;
});

async function look(page) {
  return page.evaluate(async () => {
    const stats = [...((await window.__freshet?.stats()) ?? [])];
    const video = stats.find((stat) => stat.type === 'inbound-rtp' && stat.kind === 'video');
    return { state: window.__freshet?.state, packets: video?.packetsReceived ?? 0, freezes: video?.totalFreezesDuration ?? 0 };
  });
}
