// Who waits for a host comes when the event says, not all at once. So many listen to the room that the time over which the
// audience is to spread is long, and some of them are real pages. When the host starts, each of these begins to join at a
// time of its own, within that time, and is taken the first time that it asks.
//
//   FRESHET_WATCH_URL=http://… node waiting.mjs
import http from 'node:http';
import { launch, must, run, serverUrl, until } from './browser.mjs';

const PAGES = 4;
const LISTENERS = 600;
/** 2 ms for each of them. */
const SPREAD_MS = 2 * LISTENERS;
/** Chance has all pages begin so soon after the event in one of (1200 / 80) ** 4 = 50,000 runs. */
const AT_ONCE_MS = 80;
/** A busy machine's timers. */
const LATE_MS = 1_000;
/** Who is told to come again comes after 2.5 s at most, where so few are told. Who has not come after this waits for the event. */
const PATIENT_MS = 5_000;

/** A browser has six connections for all pages of one name, and each page holds one: each has a name of its own. */
const NAMES = 'localhost';

/** Listens as a page does, until this process ends. */
const listens = (url) =>
  new Promise((resolve, reject) => {
    const asked = http.get(url, { agent: false, headers: { accept: 'text/event-stream' } }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`events are answered ${response.statusCode}`));
      response.once('data', resolve);
      response.on('error', reject);
    });
    asked.on('error', reject);
  });

/** Runs in each page before its own scripts: notes when it hears of the room and of the host, and when it asks for media. */
function watchful(patientMs) {
  /** When a page hears it and when this does may differ by so much. */
  const slackMs = 50;
  const seen = { known: null, started: null, began: [], asked: [] };
  window.seen = seen;

  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...options) {
      super(...options);
      seen.began.push(performance.now());
    }
  };

  const plainly = window.fetch.bind(window);
  window.fetch = async (input, init) => {
    const { pathname } = new URL(String(input?.url ?? input), location.href);
    const join = init?.method === 'POST' && pathname.startsWith('/whep/') ? { at: performance.now(), answered: null, status: null } : null;
    if (join !== null) seen.asked.push(join);
    const response = await plainly(input, init);
    if (join !== null) Object.assign(join, { answered: performance.now(), status: response.status });
    if (!pathname.endsWith('/events') || response.body === null) return response;
    const [theirs, ours] = response.body.tee();
    void hear(ours).catch(() => undefined);
    return new Response(theirs, response);
  };

  async function hear(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (text + value).split('\n\n');
      text = events.pop();
      for (const event of events) {
        if (event.includes('event: snapshot')) seen.known ??= performance.now();
        if (!event.includes('event: stream')) continue;
        const { state, spread_ms: spreadMs } = JSON.parse(event.split('data: ')[1]);
        if (state === 'started') seen.started ??= { at: performance.now(), spreadMs };
      }
    }
  }

  /**
   * It was told last that nobody publishes, and hears of who will. Whether it asked before it heard of the room does not matter;
   * but then it may have been answered before, too, and come again.
   */
  window.waits = () => {
    const last = seen.asked.at(-1);
    if (seen.known === null || last?.status !== 409) return false;
    return last.at > seen.known || performance.now() - last.answered > patientMs;
  };
  /** How it came, once it has: times from the event on. */
  window.came = () => {
    if (seen.started === null) return null;
    const { at, spreadMs } = seen.started;
    const asked = seen.asked.filter((join) => join.at > at - slackMs);
    const began = seen.began.find((time) => time > at - slackMs);
    if (began === undefined || asked.length === 0 || asked.some(({ status }) => status === null)) return null;
    return { spreadMs, beganMs: Math.round(began - at), askedMs: Math.round(asked[0].at - at), statuses: asked.map(({ status }) => status) };
  };
}

await run(
  'waiting',
  async (result) => {
    const base = serverUrl('FRESHET_WATCH_URL');
    const room = `premiere-${Date.now().toString(36)}`;
    const watchUrl = (name) => {
      const url = new URL(`watch/${room}`, base);
      url.hostname = `${name}.${NAMES}`;
      return url.href;
    };
    const { browser } = await launch({ flags: [`--host-resolver-rules=MAP *.${NAMES} ${new URL(base).hostname}`] });
    const events = new URL(`v1/rooms/${room}/events`, base);
    await Promise.all(Array.from({ length: LISTENERS }, () => listens(events)));
    const pages = await Promise.all(
      Array.from({ length: PAGES }, async (_none, n) => {
        const page = await browser.newPage();
        await page.addInitScript(watchful, PATIENT_MS);
        await page.goto(watchUrl(`page-${n}`));
        return page;
      }),
    );
    const each = (what, ask) =>
      Promise.all(pages.map((page) => until(what, () => page.evaluate(ask)))).catch(async (error) => {
        result.seen = await Promise.all(pages.map((page) => page.evaluate(() => window.seen)));
        throw error;
      });
    await each('each page waits for the host', () => window.waits());

    const host = await browser.newPage();
    await host.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, base).href);
    result.pages = await each('each page hears of the host and is answered', () => window.came());

    for (const { spreadMs, beganMs, statuses } of result.pages) {
      must(spreadMs >= SPREAD_MS, `${LISTENERS} listen, and they are to spread over ${spreadMs} ms`);
      must(beganMs <= spreadMs + LATE_MS, `a page began to join ${beganMs} ms after the event, not within ${spreadMs}`);
      must(statuses.length === 1 && statuses[0] === 201, `a page that came as it was told was answered ${statuses.join(', ')}`);
    }
    must(Math.max(...result.pages.map(({ beganMs }) => beganMs)) > AT_ONCE_MS, `all pages came at once: ${JSON.stringify(result.pages)}`);
  },
  90_000,
);
