// A host who pauses (nothing is sent) and one who mutes (black and silence are sent) for a minute: their viewers' pages
// open no other session, hear from the node all the time, and go on when the host does.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node paused.mjs
import { launch, must, run, serverUrl, sleep, until, watchErrors } from './browser.mjs';

const PAUSE_MS = 60_000;
const LOOK_MS = 500;
/** A node that is quiet too would be taken for dead: it reports at least this often. */
const REPORT_MS = 300;
/** Reports of a pause begin so long after the last packet, at the latest. */
const ONSET_MS = 500;

/** What a host does, and how it is undone. Run in the studio's page. */
const QUIET = {
  paused: {
    begin: () => {
      window.held = window.__freshet.pc.getSenders().map((sender) => ({ sender, track: sender.track }));
      return Promise.all(window.held.map(({ sender }) => sender.replaceTrack(null)));
    },
    end: () => Promise.all(window.held.map(({ sender, track }) => sender.replaceTrack(track))),
  },
  muted: {
    begin: () => window.__freshet.pc.getSenders().forEach(({ track }) => (track.enabled = false)),
    end: () => window.__freshet.pc.getSenders().forEach(({ track }) => (track.enabled = true)),
  },
};

/** Runs in the viewer's page: looks at what comes, twice a second, until told to stop; keeps every word of the state. */
function watchOver(lookMs) {
  const pill = document.querySelector('.under .pill');
  window.said = [];
  new MutationObserver(() => window.said.push(pill.textContent)).observe(pill, { childList: true, characterData: true, subtree: true });
  window.kept = window.__freshet.pc;
  window.looks = [];
  const look = async () => {
    const at = performance.now();
    const stats = await window.__freshet.stats();
    const of = (type) => stats.filter((stat) => stat.type === type);
    const sum = (list, name) => list.reduce((total, stat) => total + (stat[name] ?? 0), 0);
    window.looks.push({
      at,
      packets: sum(of('transport'), 'packetsReceived'),
      bytes: sum(of('transport'), 'bytesReceived'),
      media: sum(of('inbound-rtp'), 'packetsReceived'),
      reports: sum(of('remote-outbound-rtp'), 'reportsSent'),
    });
  };
  window.looking = setInterval(() => void look(), lookMs);
}

const frames = (page) => page.evaluate(async () => (await window.__freshet.stats()).find((stat) => stat.type === 'inbound-rtp' && stat.kind === 'video')?.framesDecoded ?? 0);

async function moves(page, what) {
  const before = await frames(page);
  await until(what, async () => (await frames(page)) > before + 10);
}

async function scene(name, result, errors) {
  const room = `${name}-${Date.now().toString(36)}`;
  const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch()]);
  const [host, guest] = await Promise.all([hostBrowser.newPage(), guestBrowser.newPage()]);
  const posts = [];
  const restarts = [];
  for (const [page, kind] of [[host, 'whip'], [guest, 'whep']]) {
    watchErrors(page, `${name} ${kind}`, errors);
    page.on('response', (response) => {
      const request = response.request();
      if (request.method() === 'POST' && response.status() === 201 && response.url().includes(`/${kind}/`)) posts.push(kind);
      if (request.method() === 'PATCH' && response.status() === 200) restarts.push(kind);
    });
  }
  await host.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
  await until(`the ${name} host is live`, () => host.evaluate(() => window.__freshet?.state === 'Live'));
  await guest.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
  await until(`the viewer of the ${name} host plays`, () => guest.evaluate(() => window.__freshet?.state === 'Live'));
  await moves(guest, `${name}: the picture moves`);
  must(posts.join() === 'whip,whep', `${name}: sessions at the start: ${posts}`);
  await guest.evaluate(watchOver, LOOK_MS);
  await host.evaluate(QUIET[name].begin);
  await sleep(PAUSE_MS);
  const looks = await guest.evaluate(() => window.looks);
  await host.evaluate(QUIET[name].end);
  await moves(guest, `${name}: the picture goes on after the pause`);
  await until(`${name}: the page says that it plays`, () => guest.evaluate(() => window.__freshet.state === 'Live'));

  const quiet = looks.filter(({ at }) => at - looks[0].at >= ONSET_MS);
  const steps = quiet.slice(1).map((look, at) => ({ ms: look.at - quiet[at].at, packets: look.packets - quiet[at].packets, bytes: look.bytes - quiet[at].bytes }));
  const first = quiet[0];
  const last = quiet.at(-1);
  const said = await guest.evaluate(() => window.said);
  const told = {
    seconds: Math.round((last.at - first.at) / 1000),
    looks: steps.length,
    media: last.media - first.media,
    packets: last.packets - first.packets,
    reports: last.reports - first.reports,
    still: steps.filter(({ packets }) => packets === 0).length,
    reconnects: posts.length - 2 + restarts.length,
    said,
  };
  result[name] = told;
  must(told.seconds >= 55, `${name}: only ${told.seconds} s were looked at`);
  must(told.reconnects === 0, `${name}: sessions ${posts}, restarts of ICE ${restarts}`);
  must(!said.some((text) => /Reconnecting|Waiting|Ended/.test(text)), `${name}: the viewer read ${said.join(', ')}`);
  must(await guest.evaluate(() => window.kept === window.__freshet.pc), `${name}: the viewer has another connection than before`);
  // A busy machine may be late with one of them, and catches up; it leaves none out.
  const due = (last.at - first.at) / REPORT_MS;
  must(told.packets >= 0.9 * due, `${name}: ${told.packets} packets came in ${told.seconds} s`);
  const silent = steps.findIndex((step, at) => at > 0 && step.packets === 0 && steps[at - 1].packets === 0);
  must(silent < 0, `${name}: nothing came for two looks in a row, ${silent / 2} s into the pause`);
  return told;
}

await run(
  'paused',
  async (result) => {
    const errors = [];
    const [paused] = await Promise.all([scene('paused', result, errors), scene('muted', result, errors)]);
    must(paused.media === 0, `a host who sends nothing was heard: ${paused.media} packets of media`);
    must(paused.reports >= (0.9 * paused.seconds * 1000) / REPORT_MS, `${paused.reports} sender reports came in ${paused.seconds} s of the pause`);
    result.errors = errors.filter((line) => !/409/.test(line));
    must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
  },
  150_000,
);
