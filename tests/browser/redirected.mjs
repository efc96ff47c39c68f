// A coordinator that sends joins on to a node, as the browser's own network tells of it: studio and watch page have a token;
// their POST is answered with 307, what follows goes to the node, which is another origin, without the token, and is answered
// with 201. The session is held and ended there, with the token again.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… FRESHET_NODES=http://… FRESHET_ROOM=… FRESHET_HOST_TOKEN=… \
//     FRESHET_GUEST_TOKEN=… node redirected.mjs
//
// The tokens are for the room, to publish and to subscribe. FRESHET_NODES are all nodes' URLs, by spaces.
import { launch, must, run, serverUrl, until, watchErrors } from './browser.mjs';

const { FRESHET_ROOM: room, FRESHET_HOST_TOKEN: hostToken, FRESHET_GUEST_TOKEN: guestToken } = process.env;
const nodes = (process.env.FRESHET_NODES ?? '').split(' ');

/**
 * Returns what tells all that a page has asked for: each request is a list of its hops, with the headers as they were sent.
 * The renderer's word for headers is given before the network takes some away, so it is not asked.
 */
async function listen(page) {
  const devtools = await page.context().newCDPSession(page);
  const [asked, sent] = [new Map(), new Map()];
  const last = (id) => asked.get(id)?.at(-1) ?? {};
  devtools.on('Network.requestWillBeSent', ({ requestId, request: { method, url }, redirectResponse }) => {
    if (redirectResponse) last(requestId).status = redirectResponse.status;
    const { origin, host, pathname } = new URL(url);
    asked.set(requestId, [...(asked.get(requestId) ?? []), { method, url, origin, host, pathname }]);
  });
  devtools.on('Network.requestWillBeSentExtraInfo', ({ requestId, headers }) => {
    const names = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    sent.set(requestId, [...(sent.get(requestId) ?? []), Object.fromEntries(names)]);
  });
  devtools.on('Network.responseReceived', ({ requestId, response }) => (last(requestId).status = response.status));
  devtools.on('Network.loadingFailed', ({ requestId, errorText, corsErrorStatus, blockedReason }) => {
    last(requestId).failed = corsErrorStatus?.corsError ?? blockedReason ?? errorText;
  });
  await devtools.send('Network.enable');
  return () => [...asked].map(([id, hops]) => hops.map((hop) => ({ ...hop, headers: sent.get(id)?.find(({ host }) => host === hop.host) })));
}

/** How the join that led to a session went, hop by hop. */
async function join(kind, heard, token, coordinator) {
  const joins = () => heard().filter(([first]) => first.method === 'POST' && first.pathname === `/${kind}/${room}`);
  const told = (hops) => hops.map(({ origin, method, status, failed }) => [origin, method, status ?? failed ?? 'no answer']);
  const hops = await until(`the browser tells of a POST to ${kind} that made a session`, () =>
    joins().find((hops) => hops.at(-1).status === 201 && hops.every(({ headers }) => headers !== undefined)),
  ).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(joins().map(told))}`);
  });
  const [first, second] = hops;
  must(hops.length === 2 && first.status === 307 && second.method === 'POST', `${kind}: ${JSON.stringify(told(hops))}`);
  must(first.origin === coordinator && second.origin !== coordinator && nodes.includes(second.origin), `${kind} went from ${first.origin} to ${second.origin}`);
  must(first.headers.authorization === `Bearer ${token}`, `${kind}: the coordinator was not sent the token`);
  must(!('authorization' in second.headers), `${kind}: the token followed the redirect to another origin`);
  must(/[?&]ticket=[\w.-]+$/.test(second.url) && !first.url.includes('ticket='), `${kind}: the ticket is not where it belongs`);
  return told(hops);
}

/** The session's own requests: a candidate was taken, and nothing of it goes anywhere but to the node. */
async function held(kind, heard) {
  const all = () => heard().flat().filter(({ method, pathname }) => method !== 'OPTIONS' && pathname.startsWith('/sessions/'));
  const { url } = await until(`${kind}: the node takes candidates`, () => all().find(({ method, status }) => method === 'PATCH' && status === 204));
  const strays = all().filter(({ origin }) => !nodes.includes(origin));
  must(strays.length === 0, `${kind}: asked elsewhere than at the node: ${strays.map(({ method, origin }) => `${method} ${origin}`)}`);
  return { url, ended: () => all().find((hop) => hop.method === 'DELETE' && hop.url === url && (hop.status ?? hop.failed)) };
}

/** The page's DELETE has reached the node, with the token: without one it would be 401. */
async function left(kind, { url, ended }, token) {
  const { status, failed } = await until(`${kind}: the page ends its session`, ended);
  // A connection that the page closes says so itself, and may be the first to be heard.
  must(status === 200 || status === 404, `${kind}: DELETE of the session: ${status ?? failed}`);
  await until(`${kind}: the session is over`, async () => (await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status === 404);
  return status;
}

const enter = (page, base, path, token) => page.goto(`${new URL(path, base).href}#token=${token}`);
const frames = (page) => page.evaluate(async () => (await window.__freshet.stats()).find((stat) => stat.type === 'inbound-rtp' && stat.kind === 'video')?.framesDecoded ?? 0);

await run(
  'redirected',
  async (result) => {
    const [publishAt, watchAt] = [serverUrl('FRESHET_PUBLISH_URL'), serverUrl('FRESHET_WATCH_URL')];
    const errors = [];
    const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch(), launch()]);
    const [host, guest] = await Promise.all([hostBrowser.newPage(), guestBrowser.newPage()]);
    const [ofHost, ofGuest] = await Promise.all([listen(host), listen(guest)]);
    watchErrors(host, 'studio', errors);
    watchErrors(guest, 'watch', errors);

    const live = (page) => () => page.evaluate(() => window.__freshet?.state === 'Live');
    await enter(host, publishAt, `studio?room=${room}&source=flash&autostart=1`, hostToken);
    result.whip = await join('whip', ofHost, hostToken, new URL(publishAt).origin);
    await until('the studio is live', live(host));
    await enter(guest, watchAt, `watch/${room}`, guestToken);
    result.whep = await join('whep', ofGuest, guestToken, new URL(watchAt).origin);
    await until('the viewer plays', live(guest));
    const before = await frames(guest);
    result.frames = await until('the picture moves', async () => (await frames(guest)) > before + 10 && frames(guest));

    const [published, watched] = [await held('whip', ofHost), await held('whep', ofGuest)];
    // Away from the picture within the page, and by the button.
    await guest.getByRole('link', { name: 'Freshet, home' }).click();
    result.viewerLeft = await left('whep', watched, guestToken);
    await host.getByRole('button', { name: 'Stop' }).click();
    result.hostLeft = await left('whip', published, hostToken);
    // To be early is refused, and sessions that are over may be asked after once more.
    result.errors = errors.filter((line) => !/409/.test(line) && !line.includes('/sessions/'));
    must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
  },
  60_000,
);
