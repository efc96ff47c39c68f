// A host who pauses (nothing is sent) and one who mutes (black and silence are sent) for a minute: their viewers' pages, at
// the host's node and at another one, open no other session, hear from the node all the time, and go on when the host does.
//
// A node takes two sessions, and there are four of them: a host and its first viewer fill one, the second viewer is at another.
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
    const at = Date.now();
    const stats = await window.__freshet.stats();
    const of = (type) => stats.filter((stat) => stat.type === type);
    const sum = (list, name) => list.reduce((total, stat) => total + (stat[name] ?? 0), 0);
    window.looks.push({
      at,
      packets: sum(of('transport'), 'packetsReceived'),
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

/** What a page's sessions are: the node of each that it makes from now on, and restarts of ICE. */
function sessionsOf(page) {
  const made = { nodes: [], restarts: 0 };
  page.on('response', (response) => {
    const method = response.request().method();
    if (method === 'PATCH' && response.status() === 200) made.restarts += 1;
    if (method !== 'POST' || response.status() !== 201 || !/\/wh[ie]p\//.test(new URL(response.url()).pathname)) return;
    made.nodes.push(new URL(response.headers().location, response.url()).pathname.split('/')[2]);
  });
  return made;
}

/** What a viewer was sent while its host was quiet. */
function heard(looks) {
  const steps = looks.slice(1).map((look, at) => look.packets - looks[at].packets);
  const [first, last] = [looks[0], looks.at(-1)];
  return {
    seconds: Math.round((last.at - first.at) / 1000),
    // A busy machine may be late with one of them, and catches up; it leaves none out.
    due: Math.floor((0.9 * (last.at - first.at)) / REPORT_MS),
    packets: last.packets - first.packets,
    reports: last.reports - first.reports,
    media: last.media - first.media,
    silentAt: steps.findIndex((packets, at) => at > 0 && packets === 0 && steps[at - 1] === 0),
  };
}

async function scene(name, result, errors) {
  const room = `${name}-${Date.now().toString(36)}`;
  const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch()]);
  const host = await hostBrowser.newPage();
  watchErrors(host, `${name} host`, errors);
  const hosting = sessionsOf(host);
  await host.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, serverUrl('FRESHET_PUBLISH_URL')).href);
  await until(`the ${name} host is live`, () => host.evaluate(() => window.__freshet?.state === 'Live'));

  const guests = [];
  for (const which of ['first', 'second']) {
    const page = await guestBrowser.newPage();
    const guest = { which: `${name}, ${which} viewer`, page, sessions: sessionsOf(page) };
    watchErrors(page, guest.which, errors);
    await page.goto(new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href);
    await until(`${guest.which}: the page says that it plays`, () => page.evaluate(() => window.__freshet?.state === 'Live'));
    await moves(page, `${guest.which}: the picture moves`);
    guests.push(guest);
  }
  const told = { host: hosting.nodes.join(), viewers: [] };
  result[name] = told;
  const nodes = guests.map(({ sessions }) => sessions.nodes.join());
  must(nodes.includes(told.host) && nodes.some((node) => node !== told.host), `${name}: the host is at ${told.host}, its viewers at ${nodes.join(' and ')}`);

  for (const { page } of guests) await page.evaluate(watchOver, LOOK_MS);
  await host.evaluate(QUIET[name].begin);
  const begun = Date.now();
  await sleep(PAUSE_MS);
  for (const guest of guests) guest.looks = await guest.page.evaluate(() => window.looks);
  await host.evaluate(QUIET[name].end);

  for (const { which, page, sessions, looks } of guests) {
    await moves(page, `${which}: the picture goes on after the pause`);
    await until(`${which}: the page says that it plays`, () => page.evaluate(() => window.__freshet.state === 'Live'));
    const got = heard(looks.filter(({ at }) => at - begun >= ONSET_MS));
    const said = await page.evaluate(() => window.said);
    const reconnects = sessions.nodes.length - 1 + sessions.restarts;
    told.viewers.push({ node: sessions.nodes.join(), reconnects, ...got, said });
    must(got.seconds >= 55, `${which}: only ${got.seconds} s were looked at`);
    must(reconnects === 0, `${which}: sessions at ${sessions.nodes}, ${sessions.restarts} restarts of ICE`);
    must(!said.some((text) => /Reconnecting|Waiting|Ended/.test(text)), `${which} read ${said.join(', ')}`);
    must(await page.evaluate(() => window.kept === window.__freshet.pc), `${which} has another connection than before`);
    must(got.packets >= got.due, `${which}: ${got.packets} packets came in ${got.seconds} s`);
    must(got.silentAt < 0, `${which}: nothing came for two looks in a row, ${(got.silentAt * LOOK_MS) / 1000} s into the pause`);
    if (name !== 'paused') continue;
    must(got.media === 0, `${which} heard a host who sends nothing: ${got.media} packets of media`);
    must(got.reports >= got.due, `${which}: ${got.reports} sender reports came in ${got.seconds} s`);
  }
  must(hosting.nodes.length === 1 && hosting.restarts === 0, `${name}: the host's sessions are at ${hosting.nodes}, ${hosting.restarts} restarts of ICE`);
}

await run(
  'paused',
  async (result) => {
    const errors = [];
    await Promise.all([scene('paused', result, errors), scene('muted', result, errors)]);
    result.errors = errors.filter((line) => !/409/.test(line));
    must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
  },
  150_000,
);
