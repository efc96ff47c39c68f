// The load harness's report, opened from its file as whoever was sent it does: on a phone and on a desk, in light and dark.
// It says first how the run went, every plot shows something, nothing lies over anything else, and nothing is fetched.
//
//   FRESHET_REPORT=/path/to/report.html [FRESHET_SHOTS=/folder] node report.mjs
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { launch, must, run, watchErrors } from './browser.mjs';

const { FRESHET_REPORT: file, FRESHET_SHOTS: shots } = process.env;

await run('report', async (result) => {
  must(file, 'FRESHET_REPORT names no file');
  const address = pathToFileURL(file).href;
  result.seen = [];
  for (const width of [360, 1280]) {
    for (const colorScheme of ['light', 'dark']) {
      const { browser, close } = await launch({ context: { viewport: { width, height: 800 }, colorScheme } });
      const page = await browser.newPage();
      const [errors, asked] = [[], []];
      const label = `${width} px, ${colorScheme}`;
      watchErrors(page, label, errors);
      page.on('request', (request) => asked.push(request.url()));
      await page.goto(address);
      if (shots) await page.screenshot({ path: join(shots, `report-${width}-${colorScheme}.png`), fullPage: true });
      const seen = await page.evaluate(look);
      must(errors.length === 0, errors.join('; '));
      must(asked.every((url) => url === address), `${label}: it asked for ${asked.join(', ')}`);
      must(seen.verdict !== null && seen.verdict.top >= 0 && seen.verdict.bottom <= 800, `${label}: how it went is not seen at first: ${JSON.stringify(seen.verdict)}`);
      must(seen.wide <= 0, `${label}: ${seen.wide} px stick out to the side`);
      must(seen.plots.length >= 8, `${label}: ${seen.plots.length} plots`);
      for (const plot of seen.plots) {
        must(plot.width >= 250 && plot.height >= 150, `${label}: ${plot.name} is ${plot.width}×${plot.height}`);
        must(plot.drawn, `${label}: ${plot.name} is empty`);
        must(plot.over.length === 0, `${label}: in ${plot.name} words lie over each other: ${plot.over.join('; ')}`);
      }
      result.seen.push({ label, plots: seen.plots.length });
      await close();
    }
  }
});

/** Runs in the page. */
function look() {
  const box = (each) => {
    const { top, bottom, left, right, width, height } = each.getBoundingClientRect();
    return { top, bottom, left, right, width, height };
  };
  const verdict = document.querySelector('.verdict h2');
  const { scrollWidth, clientWidth } = document.documentElement;
  const plots = [...document.querySelectorAll('svg.plot')].map((plot) => {
    const words = [...plot.querySelectorAll('text')].map((text) => ({ text: text.textContent, ...box(text) })).filter(({ width }) => width > 0);
    const over = [];
    for (const [at, one] of words.entries()) {
      for (const other of words.slice(at + 1)) {
        const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
        const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
        if (across > 2 && down > 4) over.push(`${one.text} / ${other.text}`);
      }
    }
    // A dot is a line of no length with a round end: its box is empty, though it is seen.
    const ink = [...plot.querySelectorAll('.line, .column')];
    const drawn = plot.querySelector('.dot') !== null || ink.some((each) => { const { width, height } = box(each); return width > 1 || height > 1; });
    return { name: plot.closest('figure')?.querySelector('figcaption')?.textContent.trim().slice(0, 40) ?? '', ...box(plot), drawn, over };
  });
  return { verdict: verdict && box(verdict), wide: scrollWidth - clientWidth, plots };
}
