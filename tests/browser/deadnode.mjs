// A node dies while the host is quiet. Until then the viewer's getStats shows that reports come, from then on that nothing does:
// a client knows within two seconds which of both it has. The page goes by ICE, which takes longer: then it says that it
// reconnects, has a session at another node, and plays.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… FRESHET_ROOM=… FRESHET_HOST_TOKEN=… FRESHET_GUEST_TOKEN=… \
//     FRESHET_NODE_PID=… node deadnode.mjs
//
// The process is the node that the watch URL's coordinator takes viewers to, and publishers are taken to another one. It is killed.
import { launch, must, run, serverUrl, until } from './browser.mjs';

const { FRESHET_ROOM: room, FRESHET_HOST_TOKEN: hostToken, FRESHET_GUEST_TOKEN: guestToken } = process.env;
const NODE = Number(process.env.FRESHET_NODE_PID);
const LOOK_MS = 250;
/** So many looks are taken at the pause. */
const PAUSE_LOOKS = 12;
/** While the node lives nothing is new in fewer looks in a row than these: a second. It reports every 300 ms. */
const ALIVE_LOOKS = 4;
/** After so many, a second and a half, it is dead. Looks are counted and not time: who is late to look has not been told late. */
const DEAD_LOOKS = 6;
/** Between the node's end and the knowledge of it, on a machine with other work to do. */
const TOLD_MS = 5_000;
const COUNTERS = ['packets', 'reports'];

/** Runs in the viewer's page: looks at what comes until told to stop; keeps every word of the state, with its time. */
function watchOver(lookMs) {
  const pill = document.querySelector('.under .pill');
  window.said = [];
  new MutationObserver(() => window.said.push({ at: Date.now(), text: pill.textContent })).observe(pill, { childList: true, characterData: true, subtree: true });
  window.looks = [];
  const look = async () => {
    const stats = await window.__freshet.stats();
    const sum = (type, name) => stats.filter((stat) => stat.type === type).reduce((total, stat) => total + (stat[name] ?? 0), 0);
    window.looks.push({
      at: Date.now(),
      packets: sum('transport', 'packetsReceived'),
      media: sum('inbound-rtp', 'packetsReceived'),
      reports: sum('remote-outbound-rtp', 'reportsSent'),
    });
  };
  window.looking = setInterval(() => void look(), lookMs);
}

/** Runs in the studio's page. */
function pause() {
  window.held = window.__freshet.pc.getSenders().map((sender) => ({ sender, track: sender.track }));
  return Promise.all(window.held.map(({ sender }) => sender.replaceTrack(null)));
}

/** Runs in the studio's page. */
function goOn() {
  return Promise.all(window.held.map(({ sender, track }) => sender.replaceTrack(track)));
}

/** In how many looks in a row a counter stood still: at most, and up to the last of them. */
function standing(looks, counter) {
  let [most, now] = [0, 0];
  looks.slice(1).forEach((look, at) => {
    now = look[counter] === looks[at][counter] ? now + 1 : 0;
    most = Math.max(most, now);
  });
  return { most, now };
}

/** The node of each session that a page makes from now on. */
function sessionsOf(page, kind) {
  const sessions = [];
  page.on('response', (response) => {
    if (response.status() !== 201 || response.request().method() !== 'POST' || !response.url().includes(`/${kind}/`)) return;
    sessions.push(new URL(response.headers().location, response.url()).pathname.split('/')[2]);
  });
  return sessions;
}

const enter = (page, base, path, token) => page.goto(`${new URL(path, base).href}#token=${token}`);
const live = (page) => () => page.evaluate(() => window.__freshet?.state === 'Live');
const looks = (page) => page.evaluate(() => window.looks);
const frames = (page) => page.evaluate(async () => (await window.__freshet.stats()).find((stat) => stat.type === 'inbound-rtp' && stat.kind === 'video')?.framesDecoded ?? 0);

async function moves(page, what) {
  const before = await frames(page);
  await until(what, async () => (await frames(page)) > before + 10);
}

await run(
  'deadnode',
  async (result) => {
    must(NODE > 1, 'FRESHET_NODE_PID is not the id of a process');
    const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch()]);
    const [host, guest] = await Promise.all([hostBrowser.newPage(), guestBrowser.newPage()]);
    result.host = sessionsOf(host, 'whip');
    result.viewer = sessionsOf(guest, 'whep');
    await enter(host, serverUrl('FRESHET_PUBLISH_URL'), `studio?room=${room}&source=flash&autostart=1`, hostToken);
    await until('the host is live', live(host));
    await enter(guest, serverUrl('FRESHET_WATCH_URL'), `watch/${room}`, guestToken);
    await until('the viewer plays', live(guest));
    await moves(guest, 'the picture moves');
    must(result.viewer.length === 1 && result.viewer[0] !== result.host[0], `the host is at ${result.host}, the viewer at ${result.viewer}`);

    await guest.evaluate(watchOver, LOOK_MS);
    await host.evaluate(pause);
    const begun = await until('the last of the media has come', async () => {
      const seen = await looks(guest);
      return standing(seen, 'media').now >= 2 && seen.length;
    });
    const quiet = await until('the pause has been looked at', async () => {
      const seen = (await looks(guest)).slice(begun - 1);
      return seen.length > PAUSE_LOOKS && seen;
    });
    result.alive = Object.fromEntries(COUNTERS.map((counter) => [counter, standing(quiet, counter).most]));
    must(quiet.at(-1).media === quiet[0].media, `a host who sends nothing was heard: ${quiet.at(-1).media - quiet[0].media} packets of media`);
    for (const counter of COUNTERS) must(result.alive[counter] < ALIVE_LOOKS, `no new ${counter} in ${result.alive[counter]} looks in a row, of a node that lives`);

    const killed = Date.now();
    process.kill(NODE, 'SIGKILL');
    const told = await until(`nothing is new in ${DEAD_LOOKS} looks in a row`, async () => {
      const seen = await looks(guest);
      return COUNTERS.every((counter) => standing(seen, counter).now >= DEAD_LOOKS) && seen.at(-1);
    }, { everyMs: 50 });
    result.toldMs = told.at - killed;
    // What the page itself goes by at that time.
    result.connection = await guest.evaluate(() => window.__freshet.pc?.connectionState);
    must(result.toldMs < TOLD_MS, `the viewer's statistics told of the node's end ${result.toldMs} ms after it`);
    await guest.evaluate(() => clearInterval(window.looking));

    await host.evaluate(goOn);
    const said = () => guest.evaluate(() => window.said);
    const words = async () => (await said()).find(({ text }) => /Reconnecting/.test(text));
    const noticed = await until('the page says that it reconnects', words, { timeoutMs: 30_000 });
    result.noticedMs = noticed.at - killed;
    must(noticed.at > killed, `the page reconnects while the node lives, ${-result.noticedMs} ms before its end`);
    await until('the viewer has another session', () => result.viewer.length === 2, { timeoutMs: 30_000 });
    must(result.viewer[1] !== result.viewer[0], `the new session is at ${result.viewer[1]}, which is dead`);
    await until('the page says that it plays', live(guest));
    await moves(guest, 'the picture moves again');
    result.playsMs = Date.now() - killed;
    result.said = (await said()).map(({ text }) => text);
    must(result.host.length === 1, `the host made ${result.host.length} sessions`);
  },
  90_000,
);
