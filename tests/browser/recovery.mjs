// What people live through, against the real server: a viewer who comes before the host, a browser that
// keeps the sound off, a session that is lost, a stream that another page takes over, sound alone, and a
// server without a free place. The viewer's page stays open and finds its way each time.
//
//   FRESHET_PUBLISH_URL=http://… FRESHET_WATCH_URL=http://… node recovery.mjs
//
// The server has room for three sessions in all.
import { launch, must, run, serverUrl, sleep, until } from './browser.mjs';

/** What a person hears as sound, on the browser's scale of 0 to 1. */
const AUDIBLE = 0.01;

/**
 * Looks into a page as nobody's hand: what playwright evaluates counts as a press of a key, after which a
 * browser forbids no sound any more.
 */
async function look(page, code) {
  if (!lookers.has(page)) lookers.set(page, await page.context().newCDPSession(page));
  const { result, exceptionDetails } = await lookers.get(page).send('Runtime.evaluate', { expression: code, awaitPromise: true, returnByValue: true, userGesture: false });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
const lookers = new WeakMap();

const state = (page) => look(page, 'window.__freshet?.state');
const words = (page) => look(page, "document.querySelector('.player .veil').textContent");
const figure = (page, name) => page.locator(`.figure:has(> dt:text-is("${name}")) dd`).textContent();

async function shows(page, wanted, timeoutMs = 20_000) {
  let last;
  await until(`a page says "${wanted}"`, async () => (last = await state(page)) === wanted, { timeoutMs, everyMs: 50 }).catch((error) => {
    throw new Error(`${error.message}; it says "${last}"`);
  });
}

const inbound = (page, kind, what) =>
  look(page, `(async () => ((await window.__freshet?.stats()) ?? []).find((stat) => stat.type === 'inbound-rtp' && stat.kind === '${kind}')?.['${what}'] ?? 0)()`);

const moves = (page, what) =>
  until(what, async () => {
    const before = await inbound(page, 'video', 'framesDecoded');
    await sleep(300);
    return (await inbound(page, 'video', 'framesDecoded')) > before;
  });

/** Runs in the page: keeps every word that the state says from now on. */
function listen() {
  const pill = document.querySelector('.under .pill');
  window.said = [];
  new MutationObserver(() => window.said.push(pill.textContent)).observe(pill, { childList: true, characterData: true, subtree: true });
}

await run(
  'recovery',
  async (result) => {
    const publishAt = serverUrl('FRESHET_PUBLISH_URL');
    const watchUrl = (room) => new URL(`watch/${room}`, serverUrl('FRESHET_WATCH_URL')).href;
    const room = `recover-${Date.now().toString(36)}`;
    const permissions = ['camera', 'microphone', 'clipboard-read', 'clipboard-write'];
    const [{ browser: hostBrowser }, { browser: guestBrowser }] = await Promise.all([launch({ context: { permissions } }), launch({ autoplay: false })]);
    result.steps = [];
    const step = (text) => result.steps.push(text);

    const guest = await guestBrowser.newPage();
    const sessions = [];
    guest.on('response', (response) => {
      if (response.status() === 201 && response.request().method() === 'POST' && response.url().includes('/whep/')) sessions.push(new URL(response.headers().location, response.url()).href);
    });
    await guest.goto(watchUrl(room));
    await shows(guest, 'Waiting for the host');
    must(/Waiting for the host.*starts by itself/.test(await words(guest)), `a viewer before the host reads "${await words(guest)}"`);
    const host = await hostBrowser.newPage();
    await host.goto(new URL(`studio?room=${room}&source=camera&autostart=1`, publishAt).href);
    await shows(host, 'Live');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves');
    step('the waiting viewer starts by itself');

    must(await look(guest, "document.querySelector('video').muted && !document.querySelector('video').paused"), 'a browser that forbids sound does not play muted');
    const loud = guest.getByRole('button', { name: 'Turn sound on', exact: true });
    await loud.waitFor({ timeout: 5_000 });
    must((await loud.count()) === 1, 'two controls have one name: "Turn sound on"');
    await loud.click();
    must(await guest.evaluate(() => !document.querySelector('video').muted && !document.querySelector('video').paused), 'the press did not turn the sound on');
    await loud.waitFor({ state: 'hidden' });
    result.audioLevel = await until(`sound louder than ${AUDIBLE}`, async () => {
      const level = await inbound(guest, 'audio', 'audioLevel');
      return level > AUDIBLE && level;
    }, { everyMs: 40 });
    step('where sound is forbidden, one press turns it on');

    const devices = (id) => host.locator(`#${id} option`).allTextContents();
    const named = async (id, name) => (await devices(id)).filter((text) => name.test(text)).length;
    await until('the fake devices can be chosen', async () => (await named('camera', /fake_device/)) > 0 && (await named('microphone', /^Fake /)) > 0).catch(async (error) => {
      throw new Error(`${error.message}; there are ${[...(await devices('camera')), ...(await devices('microphone'))].join(', ')}`);
    });
    await host.getByRole('button', { name: 'Copy link' }).click();
    const link = new URL(`watch/${room}`, publishAt).href;
    await until('the link is copied', async () => (await host.evaluate(() => navigator.clipboard.readText())) === link, { timeoutMs: 5_000 });
    must((await host.getByLabel('Link to share').inputValue()) === link, 'another link is shown than is copied');
    const rates = new Set();
    await until('the bitrate is shown and changes', async () => rates.add(await figure(host, 'Bitrate')) && [...rates].filter((text) => /^[1-9][\d.]* [kM]bit\/s$/.test(text)).length > 1);
    must(/^[\d.]+ %$/.test(await figure(host, 'Loss')), `the studio shows no loss: "${await figure(host, 'Loss')}"`);
    must(/^[1-9]\d* fps$/.test(await figure(host, 'Frame rate')), `the studio shows no frame rate: "${await figure(host, 'Frame rate')}"`);
    result.figures = [...rates];
    step('the studio names devices, copies the link and shows live figures');

    await guest.evaluate(listen);
    must(sessions.length === 1, `the viewer opened ${sessions.length} sessions, not one`);
    const gone = await fetch(sessions[0], { method: 'DELETE' });
    must(gone.status === 200, `DELETE of the viewer's session answered ${gone.status}`);
    await until('the viewer opens another session', () => sessions.length === 2);
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves after the session was lost');
    result.said = await guest.evaluate(() => window.said);
    must(result.said.includes('Reconnecting'), `a viewer who lost the session read only ${JSON.stringify(result.said)}`);
    must(!(await guest.evaluate(() => document.querySelector('video').muted)), 'the sound went off with the session');
    step('a lost session is replaced, and the page says so');

    await host.getByRole('button', { name: 'Stop' }).click();
    await shows(host, 'Ready');
    await shows(guest, 'Waiting for the host');
    must((await guest.locator('.figures').textContent()) === '', 'figures of a stream that ended stay');
    await host.getByRole('button', { name: 'Go live' }).click();
    await shows(host, 'Live');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves again after the host came back');
    step('the viewer hears that the host left, and goes on when they are back');

    await guest.evaluate(() => {
      window.kept = window.__freshet.pc;
    });
    const other = await hostBrowser.newPage();
    await other.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, publishAt).href);
    await shows(other, 'Live');
    await shows(host, 'Taken over');
    must(/live from somewhere else/.test(await host.locator('.notice').textContent()), 'the page that was taken over does not say so');
    await sleep(3_000);
    must((await state(host)) === 'Taken over', 'the page that was taken over came back by itself');
    must((await state(other)) === 'Live', 'the page that took over is not live any more');
    await shows(guest, 'Live');
    await moves(guest, 'the picture moves after the takeover');
    must(await guest.evaluate(() => window.kept !== null && window.kept === window.__freshet.pc), 'the viewer had to open another session for a takeover');
    step('a takeover is final for one page and nothing for viewers');

    await other.locator('label[for=source-audio]').click();
    await guest.locator('.player[data-picture=voice]').waitFor({ timeout: 15_000 });
    await shows(guest, 'Live, sound only');
    must(await guest.locator('.voice-tag').isVisible(), 'the player does not say that there is sound only');
    await until('the studio says that there is no picture', async () => (await figure(other, 'Frame rate')) === 'no picture' && (await figure(other, 'Picture')) === 'sound only');
    await other.locator('label[for=source-flash]').click();
    await guest.locator('.player[data-picture=picture]').waitFor({ timeout: 15_000 });
    await shows(guest, 'Live');
    step('sound alone is said to be that, and the picture comes back');

    const seen = async () => (await other.locator('.side .viewers').textContent()) ?? '';
    await until('the studio counts its viewer', async () => (await seen()) === '1 viewer');
    const second = await guestBrowser.newPage();
    const authorized = [];
    second.on('request', (request) => {
      if (request.url().includes('secret-abc') || (request.headers().referer ?? '').includes('secret-abc')) authorized.push(`in the open: ${request.url()}`);
      if (request.headers().authorization === 'Bearer secret-abc') authorized.push(`${request.method()} ${new URL(request.url()).pathname.split('/')[1]}`);
    });
    await second.goto(`${watchUrl(room)}#token=secret-abc`);
    await until('the studio counts two viewers', async () => (await seen()) === '2 viewers');
    const wanted = ['GET v1', 'POST whep', 'PATCH sessions'];
    await until(`the token is sent with ${wanted.join(', ')}`, () => wanted.every((kind) => authorized.includes(kind)));
    must(!authorized.some((line) => line.startsWith('in the open')), `a token stood in a URL: ${authorized.join(', ')}`);
    must(!second.url().includes('secret-abc'), 'the token stays in the address');
    step('a token travels in headers alone');

    const third = await guestBrowser.newPage();
    await third.goto(watchUrl(room));
    await shows(third, 'Waiting for a place');
    must(/full right now.*keep trying/.test(await words(third)), `a viewer without a place reads "${await words(third)}"`);
    await second.goto('about:blank');
    await until('the studio sees a viewer leave', async () => (await seen()) === '1 viewer', { timeoutMs: 8_000 });
    await shows(third, 'Live', 30_000);
    step('whoever leaves is gone at once, and a viewer who waited for a place has it');
  },
  150_000,
);
