// Looks at the pages: screenshots at a phone's and a desk's width, light and dark, and what can be
// checked of their making: no complaints, no sideways scrolling, a name for every control, and a
// keyboard that reaches them.
//
//   FRESHET_WATCH_URL=http://… FRESHET_SHOTS=folder node pages.mjs
//
// Without FRESHET_WATCH_URL the mock server stands in.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, must, run, serverUrl, sleep, until, watchErrors } from './browser.mjs';
import { startMock, startSfu } from './mock-server.mjs';

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
    const base = process.env.FRESHET_WATCH_URL ? serverUrl('FRESHET_WATCH_URL') : `${await mock()}/`;
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
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          must(wide <= 0, `${label}: ${wide} px stick out to the side`);
          const nameless = await namelessControls(page);
          must(nameless.length === 0, `${label}: controls without a name: ${nameless.join(', ')}`);
          const faint = await page.evaluate(faintText);
          must(faint.length === 0, `${label}: text that is hard to read: ${faint.join('; ')}`);
          const reached = await tabThrough(page);
          const missed = reach.filter((wanted) => !reached.some((found) => found.includes(wanted)));
          must(missed.length === 0, `${label}: the keyboard does not reach ${missed.join(', ')} (it reaches ${reached.join(' | ')})`);
          result.pages.push({ label, controls: reached.length });
        }
        await close();
      }
    }
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
    { name: 'lost', path: 'watch/%20', ready: () => document.querySelector('.lost h1') !== null, reach: ['See what is live'] },
  ];
}

/** Runs in the page: a picture of the test pattern should not be of its white frame. */
async function afterFlash() {
  const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const bright = () => {
    pen.drawImage(document.querySelector('video'), 0, 0, 1, 1);
    return pen.getImageData(0, 0, 1, 1).data[0] > 180;
  };
  const end = performance.now() + 3_000;
  for (const wanted of [true, false]) {
    while (bright() !== wanted && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function namelessControls(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  await session.detach();
  return nodes.filter(({ ignored, role, name }) => !ignored && CONTROLS.includes(role?.value) && !name?.value?.trim()).map(({ role }) => role.value);
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

/** The names of what Tab reaches, in order, until it comes round; each must be visibly focused. */
async function tabThrough(page) {
  const names = [];
  await page.evaluate(() => document.activeElement?.blur());
  for (let at = 0; at < 60; at += 1) {
    await page.keyboard.press('Tab');
    const { name, ring } = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === null || element === document.body) return { name: null, ring: true };
      // A hidden radio shows its focus on its label.
      const shown = element.matches('[type=radio]') ? element.nextElementSibling : element;
      const style = getComputedStyle(shown);
      const own = element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent ?? '';
      return { name: own.trim() || element.id || element.tagName, ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 };
    });
    if (name === null) break;
    must(ring, `"${name}" has the focus, and nothing shows it`);
    names.push(name);
  }
  return names;
}

async function mock() {
  const { browser } = await launch();
  const rooms = [
    ['sunday-session', 37, 74],
    ['late-night-vinyl', 1284, 190],
    ['board-demo', 1, 0],
  ].map(([room, viewers, minutes]) => ({ room, viewers, minutes }));
  return (await startMock({ sfu: await startSfu(browser), rooms, prefix: '/some/where' })).url;
}
