// Looks at the pages: screenshots at a phone's and a desk's width, light and dark, and what can be
// checked of their making: no complaints, no sideways scrolling (nor with text of twice the size), a
// name of its own for every control, a keyboard that reaches them, a player that a phone held sideways
// shows whole, and words where a token is needed.
//
//   FRESHET_WATCH_URL=http://… FRESHET_SHOTS=folder node pages.mjs
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterFlash, launch, must, run, serverUrl, sleep, until, watchErrors } from './browser.mjs';

const WIDTHS = [
  { width: 360, height: 740 },
  { width: 1920, height: 1080 },
];
const CONTROLS = ['button', 'link', 'textbox', 'combobox', 'radio', 'slider', 'checkbox', 'searchbox', 'spinbutton', 'meter'];

await run(
  'pages',
  async (result) => {
    const shots = process.env.FRESHET_SHOTS;
    if (shots) mkdirSync(shots, { recursive: true });
    const base = serverUrl('FRESHET_WATCH_URL');
    const room = `harbour-${Date.now().toString(36)}`;
    const errors = [];
    result.pages = [];

    const { browser: hostBrowser } = await launch();
    const host = await hostBrowser.newPage();
    watchErrors(host, 'publisher', errors);
    await host.goto(new URL(`studio?room=${room}&source=flash&autostart=1`, base).href);
    await until('the publisher is live', () => host.evaluate(() => window.__freshet?.state === 'Live'));
    for (const text of ['Good evening from the harbour!', 'Doors are at eight, the talk is at nine. There is room for everybody, on this page as well.']) {
      await host.locator('#chat-text').fill(text);
      await host.locator('#chat-text').press('Enter');
      await host.locator('[role=log] .chat-text', { hasText: text }).waitFor();
    }

    for (const colorScheme of ['light', 'dark']) {
      for (const viewport of WIDTHS) {
        const { browser, close } = await launch({ context: { colorScheme, viewport } });
        const page = await browser.newPage();
        watchErrors(page, `${viewport.width} ${colorScheme}`, errors);
        for (const { name, path, ready, reach } of visits(room)) {
          await page.goto(new URL(path, base).href);
          await until(`${name} is ready`, () => page.evaluate(ready, room));
          await sleep(name === 'watch' ? 2_500 : 600);
          const label = `${name}-${viewport.width}-${colorScheme}`;
          if (shots && name === 'watch') await page.evaluate(afterFlash);
          if (shots) await page.screenshot({ path: join(shots, `${label}.png`), fullPage: viewport.width < 600 });
          await noneSticksOut(page, label);
          await namesOfTheirOwn(page, label);
          const faint = await page.evaluate(faintText);
          must(faint.length === 0, `${label}: text that is hard to read: ${faint.join('; ')}`);
          const reached = await tabThrough(page);
          const missed = reach.filter((wanted) => !reached.some((found) => found.includes(wanted)));
          must(missed.length === 0, `${label}: the keyboard does not reach ${missed.join(', ')} (it reaches ${reached.join(' | ')})`);
          if (viewport.width < 600 && colorScheme === 'light') {
            await page.evaluate(() => document.documentElement.style.setProperty('font-size', '200%'));
            await sleep(200);
            if (shots) await page.screenshot({ path: join(shots, `${label}-large.png`), fullPage: true });
            await noneSticksOut(page, `${label} with text of 200 %`);
            const cut = await page.evaluate(() => {
              const title = document.querySelector('.veil:not([hidden]) .veil-title')?.getBoundingClientRect();
              return title === undefined ? 0 : document.querySelector('.player').getBoundingClientRect().top - title.top;
            });
            must(cut <= 0, `${label} with text of 200 %: ${Math.round(cut)} px of the player's words are cut off`);
          }
          result.pages.push({ label, controls: reached.length });
        }
        await close();
      }
    }
    await sideways(base, room, errors, shots);
    await withoutToken(base, shots);
    result.errors = errors.filter((line) => !/409/.test(line));
    must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
  },
  240_000,
);

function visits(room) {
  return [
    { name: 'home', path: '', ready: (live) => document.querySelector('.rooms')?.textContent.includes(live), reach: ['Freshet, home', 'Go live', 'Room name or link', 'Join', room] },
    { name: 'watch', path: `watch/${room}`, ready: () => window.__freshet?.state === 'Live', reach: ['Go live', 'Mute', 'Volume', 'Full screen', 'Message', 'Send message', 'Your name'] },
    { name: 'waiting', path: 'watch/nobody-is-here', ready: () => window.__freshet?.state === 'Waiting for the host', reach: ['Message'] },
    {
      name: 'studio',
      path: 'studio?room=k7mn-p3xq-r9ha&source=camera',
      ready: () => window.__freshet?.state === 'Ready',
      reach: ['Camera', 'Microphone', 'Room', 'New random room', 'Link to share', 'Copy link', 'Go live', 'Message'],
    },
    {
      name: 'studio-live',
      path: `studio?room=${room}-live&source=flash&autostart=1`,
      // The figures of both tracks are there.
      ready: () => [...document.querySelectorAll('.health-track')].filter((track) => /bit\/s/.test(track.textContent)).length === 2 && document.querySelector('.health .pill[data-tone=good]') !== null,
      reach: ['Stop', 'Message'],
    },
    { name: 'lost', path: 'watch/%20', ready: () => document.querySelector('.lost h1') !== null, reach: ['See what is live'] },
  ];
}

async function noneSticksOut(page, label) {
  const { wide, widest } = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    const out = [...document.querySelectorAll('main *, header *')].filter((each) => each.getBoundingClientRect().right > clientWidth + 1);
    return { wide: scrollWidth - clientWidth, widest: out.slice(0, 6).map((each) => `${each.tagName}.${each.getAttribute('class') ?? ''}`) };
  });
  must(wide <= 0, `${label}: ${wide} px stick out to the side: ${widest.join(', ')}`);
}

async function namesOfTheirOwn(page, label) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  await session.detach();
  const controls = nodes.filter(({ ignored, role }) => !ignored && CONTROLS.includes(role?.value)).map(({ role, name }) => ({ role: role.value, name: name?.value?.trim() ?? '' }));
  const nameless = controls.filter(({ name }) => name === '').map(({ role }) => role);
  must(nameless.length === 0, `${label}: controls without a name: ${nameless.join(', ')}`);
  const buttons = controls.filter(({ role }) => role === 'button').map(({ name }) => name);
  const twice = buttons.filter((name, at) => buttons.indexOf(name) !== at);
  must(twice.length === 0, `${label}: two buttons have one name: ${twice.join(', ')}`);
}

/** A phone held sideways sees the whole player with its controls, without scrolling. */
async function sideways(base, room, errors, shots) {
  const viewport = { width: 640, height: 360 };
  const { browser, close } = await launch({ context: { viewport } });
  const page = await browser.newPage();
  watchErrors(page, 'sideways', errors);
  for (const { name, path, ready } of visits(room).filter((visit) => visit.name === 'watch' || visit.name === 'studio')) {
    await page.goto(new URL(path, base).href);
    await until(`${name} is ready`, () => page.evaluate(ready, room));
    await sleep(600);
    if (shots) await page.screenshot({ path: join(shots, `${name}-640x360.png`) });
    await noneSticksOut(page, `${name} held sideways`);
    const hidden = await page.evaluate(
      ({ width, height }) =>
        [...document.querySelectorAll('.player, .player .control, .player .volume')]
          .map((each) => ({ name: each.getAttribute('aria-label') ?? each.className, box: each.getBoundingClientRect() }))
          .filter(({ box }) => box.top < 0 || box.left < 0 || box.bottom > height || box.right > width)
          .map(({ name, box }) => `${name} (down to ${Math.round(box.bottom)})`),
      viewport,
    );
    must(hidden.length === 0, `${name} held sideways, ${viewport.width}×${viewport.height}: not whole in sight: ${hidden.join(', ')}`);
  }
  await close();
}

/** What a server that wants tokens answers, and what people then read. */
async function withoutToken(base, shots) {
  const { browser, close } = await launch({ context: { viewport: WIDTHS[0] } });
  const page = await browser.newPage();
  await page.route('**/v1/config', (route) => route.fulfill({ json: { open: false, ice_servers: [] } }));
  await page.route('**/v1/rooms', (route) => route.fulfill({ status: 401, contentType: 'application/problem+json', body: '{"title":"Unauthorized","detail":"send Authorization: Bearer"}' }));
  await page.goto(base);
  await until('home says that a token is needed', async () => /token is needed/.test((await page.locator('.rooms-summary').textContent()) ?? ''));
  await page.goto(new URL('studio?source=camera', base).href);
  await until('the studio says that viewers need a token', async () => (await page.locator('#share-hint').isVisible()) && /token/.test((await page.locator('#share-hint').textContent()) ?? ''));
  if (shots) await page.screenshot({ path: join(shots, 'studio-360-token.png'), fullPage: true });
  await noneSticksOut(page, 'the studio with a hint of tokens');
  await close();
}

/** Runs in the page: text whose contrast is below what WCAG asks for, where its ground is a plain colour. */
function faintText() {
  const canvas = new OffscreenCanvas(1, 1);
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true }) || element.closest('.visually-hidden, .skip, noscript, option, :disabled')) continue;
    let ground = null;
    for (let at = element; at && ground === null; at = at.parentElement) {
      const style = getComputedStyle(at);
      // Pictures and gradients have no one colour.
      if (style.backgroundImage !== 'none' && at.tagName !== 'SELECT') break;
      if (at.classList.contains('player') || at.classList.contains('hero')) break;
      const colour = rgba(style.backgroundColor);
      if (colour[3] === 255) ground = colour;
      else if (colour[3] > 0) break;
    }
    if (ground === null) continue;
    const style = getComputedStyle(element);
    const ink = rgba(style.color);
    const [dark, bright] = [light(ink), light(ground)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 600);
    if (ratio < (large ? 3 : 4.5)) found.add(`"${node.data.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return [...found];
}

/** The names of what Tab reaches, in order, until it comes round; each must be visibly focused, and in sight. */
async function tabThrough(page) {
  const names = [];
  await page.evaluate(() => document.activeElement?.blur());
  for (let at = 0; at < 60; at += 1) {
    await page.keyboard.press('Tab');
    const { name, ring, covered } = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === null || element === document.body) return { name: null, ring: true, covered: 0 };
      // A hidden radio shows its focus on its label.
      const shown = element.matches('[type=radio]') ? element.nextElementSibling : element;
      const style = getComputedStyle(shown);
      const own = element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent ?? '';
      const bar = document.querySelector('.go-bar');
      // The bar lies over what stands before it.
      const over = bar !== null && !bar.contains(element) && getComputedStyle(bar).position === 'sticky' && Boolean(bar.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_PRECEDING);
      const edge = over ? bar.getBoundingClientRect().top : innerHeight;
      // Browsers bring the line of the caret into sight, and leave a field's rim where it is.
      const { top, bottom, height } = shown.getBoundingClientRect();
      const covered = Math.max(bottom - edge, -top) / height;
      return { covered, name: own.trim() || element.id || element.tagName, ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 };
    });
    if (name === null) break;
    must(ring, `"${name}" has the focus, and nothing shows it`);
    must(covered < 0.4, `"${name}" has the focus, and ${Math.round(100 * covered)} % of it are out of sight`);
    names.push(name);
  }
  return names;
}
