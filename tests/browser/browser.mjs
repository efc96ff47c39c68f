// Starts the installed Chromium with a fake camera and a profile of its own, and tells how a test
// went: one JSON object on standard output, and the exit code.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

const closers = [];

/** What is done at the end of a test, however it goes. */
export function onEnd(close) {
  closers.push(async () => close());
}

/** A browser process of its own; `autoplay: true` lets pages play sound untouched. */
export async function launch({ autoplay = true, context = {}, flags = [] } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'freshet-browser-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.FRESHET_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1280, height: 800 },
    permissions: ['camera', 'microphone'],
    args: [...FLAGS, ...flags, ...(process.env.FRESHET_ANY_CERTIFICATE ? ['--ignore-certificate-errors'] : []), ...(autoplay ? ['--autoplay-policy=no-user-gesture-required'] : [])],
    ...context,
  });
  // A studio that is live asks before it is left; nobody is there to answer.
  browser.on('page', (page) => page.on('dialog', (dialog) => dialog.accept().catch(() => {})));
  const close = async () => {
    // Pages are left as people leave them, so that their sessions end now and not by a time-out.
    await Promise.all(browser.pages().map((page) => page.goto('about:blank', { timeout: 3_000 }).catch(() => {})));
    await sleep(200);
    await browser.close().catch(() => {});
    await rm(profile, { recursive: true, force: true, maxRetries: 5 }).catch(() => {});
  };
  closers.push(close);
  return { browser, close };
}

/** Addresses may hold a token or a ticket, and what is printed ends in logs. */
const masked = (text) => text.replace(/\b(ticket|token)=[\w.-]+/g, '$1=…');

/** Collects what a page complains about. */
export function watchErrors(page, name, into) {
  page.on('console', (message) => {
    if (message.type() === 'error') into.push(masked(`${name}: ${message.text()} (${message.location().url})`));
  });
  page.on('pageerror', (error) => into.push(masked(`${name}: ${error.message}`)));
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks again until the answer is truthy, or fails with what the last one was. */
export async function until(what, ask, { timeoutMs = 20_000, everyMs = 200 } = {}) {
  const end = Date.now() + timeoutMs;
  let last;
  for (;;) {
    last = await ask();
    if (last) return last;
    if (Date.now() > end) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    await sleep(everyMs);
  }
}

export function serverUrl(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the server's URL, such as http://127.0.0.1:8080`);
  return value.endsWith('/') ? value : `${value}/`;
}

/** Runs a test to its end: a limit of time, browsers closed, JSON printed, an exit code. */
export async function run(name, test, limitMs = 120_000) {
  const result = { test: name, ok: false };
  let timer;
  const limit = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    await Promise.race([test(result), limit]);
    result.ok = true;
  } catch (error) {
    result.error = masked(error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(timer);
    await Promise.all(closers.map((close) => Promise.race([close(), sleep(10_000)])));
  }
  console.log(JSON.stringify(result, null, 2));
  process.exit(result.ok ? 0 : 1);
}

export function must(condition, text) {
  if (!condition) throw new Error(text);
}

/** Runs in the page: a picture of the test pattern should not be of its white frame. */
export async function afterFlash() {
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
