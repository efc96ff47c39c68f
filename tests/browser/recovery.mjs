// What people live through: the host leaves and comes back, another page takes the stream over, the
// host changes from camera to sound alone. The viewer's page stays open and finds its way each time.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node recovery.mjs
//
// Without the URLs the mock server stands in, and a session that the server drops is tried as well.
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';
import { startMock, startSfu } from './mock-server.mjs';

const state = (page) => page.evaluate(() => window.__freshet?.state);
const shows = (page, wanted, timeoutMs = 20_000) => until(`a page says "${wanted}"`, async () => (await state(page)) === wanted, { timeoutMs });
const frames = (page) => page.evaluate(async () => ((await window.__freshet?.stats()) ?? []).find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')?.framesDecoded ?? 0);
const moves = (page, what) =>
  until(what, async () => {
    const before = await frames(page);
    await sleep(700);
    return (await frames(page)) > before;
  });

await run(
  'recovery',
  async (result) => {
    const real = Boolean(process.env.FRESHET_WATCH_URL);
    const mock = real ? null : await startMock({ sfu: await startSfu((await launch()).browser) });
    const publishAt = real ? serverUrl('FRESHET_PUBLISH_URL') : `${mock.url}/`;
    const watchAt = real ? serverUrl('FRESHET_WATCH_URL') : `${mock.url}/`;
    const room = `recover-${Date.now().toString(36)}`;
    const studio = new URL(`studio?room=${room}&source=flash&autostart=1`, publishAt).href;
    const { browser: hostBrowser } = await launch();
    const { browser: guestBrowser } = await launch();
    const guest = await guestBrowser.newPage();
    result.steps = [];
    const step = (text) => result.steps.push(text);

    await guest.goto(new URL(`watch/${room}`, watchAt).href);
    await shows(guest, 'Waiting for the host');
    const host = await hostBrowser.newPage();
    await host.goto(studio);
    await shows(host, 'Live');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves');
    step('the waiting viewer starts by itself');

    await host.getByRole('button', { name: 'Stop' }).click();
    await shows(host, 'Ready');
    await shows(guest, 'Waiting for the host');
    step('the viewer hears that the host left');
    await host.getByRole('button', { name: 'Go live' }).click();
    await shows(host, 'Live');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves again after the host came back');
    step('the viewer goes on when the host comes back');

    const before = await guest.evaluate(() => (window.kept = window.__freshet.pc) && true);
    must(before, 'the viewer has no connection');
    const other = await hostBrowser.newPage();
    await other.goto(studio);
    await shows(other, 'Live');
    await shows(host, 'Taken over');
    must(/live from somewhere else/.test(await host.locator('.notice').textContent()), 'the page that was taken over does not say so');
    await sleep(4_000);
    must((await state(host)) === 'Taken over', 'the page that was taken over came back by itself');
    must((await state(other)) === 'Live', 'the page that took over is not live any more');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves after the takeover');
    result.keptSession = await guest.evaluate(() => window.kept === window.__freshet.pc);
    if (real) must(result.keptSession, 'the viewer had to open another session for a takeover');
    step('a takeover is final for one page and nothing for viewers');

    await other.locator('label[for=source-audio]').click();
    await guest.locator('.player[data-picture=voice]').waitFor({ timeout: 15_000 });
    step('sound alone shows moving water');
    await other.locator('label[for=source-flash]').click();
    await guest.locator('.player[data-picture=picture]').waitFor({ timeout: 15_000 });
    step('the picture comes back');

    const seen = async () => (await other.locator('.side .viewers').textContent()) ?? '';
    await until('the studio counts its viewer', async () => (await seen()) === '1 viewer');
    const guest2 = await guestBrowser.newPage();
    await guest2.goto(new URL(`watch/${room}`, watchAt).href);
    await until('the studio counts two viewers', async () => (await seen()) === '2 viewers');
    await guest2.goto('about:blank');
    await until('the studio sees a viewer leave', async () => (await seen()) === '1 viewer', { timeoutMs: 8_000 });
    step('whoever leaves is gone at once');

    if (mock !== null) {
      const whep = mock.requests.filter(({ method, path }) => method === 'POST' && path.startsWith('/whep/')).length;
      const session = await guest.evaluate(() => performance.getEntriesByType('resource').findLast(({ name }) => name.includes('/sessions/'))?.name);
      await mock.endSession(session.split('/').pop(), 'drained');
      await until('the viewer opens another session', () => mock.requests.filter(({ method, path }) => method === 'POST' && path.startsWith('/whep/')).length > whep);
      await shows(guest, 'Live');
      await moves(guest, 'the picture moves after the session was dropped');
      step('a dropped session is replaced');

      mock.requests.length = 0;
      const bearer = await guestBrowser.newPage();
      await bearer.goto(`${new URL(`watch/${room}`, watchAt).href}#token=secret-abc`);
      await shows(bearer, 'Live');
      await bearer.locator('#chat-text').fill('with a token');
      await bearer.locator('#chat-text').press('Enter');
      const kinds = ['GET v1', 'POST v1', 'POST whep', 'PATCH sessions'];
      const own = () => mock.requests.filter(({ headers }) => headers.authorization === 'Bearer secret-abc').map(({ method, path }) => `${method} ${path.split('/')[1]}`);
      await until(`the token is sent with ${kinds.join(', ')}`, () => kinds.every((kind) => own().includes(kind)));
      const bare = mock.requests.filter(({ path, query, headers }) => `${path}${query}${headers.referer}`.includes('secret-abc'));
      must(bare.length === 0, `a token stood in a URL: ${JSON.stringify(bare)}`);
      must(!(await bearer.evaluate(() => location.href)).includes('secret-abc'), 'the token stays in the address');
      step('a token travels in headers alone');
    }
  },
  180_000,
);
