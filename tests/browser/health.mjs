// What the studio shows of how its media arrives, beside what the server says of it at that time: rates, loss, jitter,
// round trip, pictures a second, keyframes, codecs and layers; and a warning, in words, when the bitrate collapses.
//
//   FRESHET_PUBLISH_URL=http://… [FRESHET_SHOTS=folder] node health.mjs
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, must, run, serverUrl, sleep, until, watchErrors } from './browser.mjs';

/** Runs in the page: what the panel says, as a person reads it. */
function panel() {
  const text = (element) => element?.textContent.trim() ?? null;
  const section = document.querySelector('.health');
  if (section === null || !section.checkVisibility()) return null;
  return {
    verdict: text(section.querySelector('.pill')),
    trip: text(section.querySelector('.health-trip span')),
    warnings: [...section.querySelectorAll('.health-warnings li')].map((each) => ({ reason: each.dataset.reason, text: text(each) })),
    tracks: [...section.querySelectorAll('.health-track')].map((track) => ({
      kind: track.dataset.kind,
      codec: text(track.querySelector('.health-codec')),
      layers: [...track.querySelectorAll('.health-layer')].map((layer) => ({
        rid: layer.dataset.rid ?? null,
        figures: Object.fromEntries([...layer.querySelectorAll('dl > div')].map((pair) => [text(pair.querySelector('dt')), text(pair.querySelector('dd'))])),
      })),
    })),
  };
}

const RATE = /^([\d.]+) ([kM])bit\/s$/;
const bits = (text) => {
  const [, value, unit] = RATE.exec(text) ?? [];
  return Number(value) * (unit === 'M' ? 1e6 : 1e3);
};

await run(
  'health',
  async (result) => {
    const base = serverUrl('FRESHET_PUBLISH_URL');
    const room = `health-${Date.now().toString(36)}`;
    const shots = process.env.FRESHET_SHOTS;
    if (shots) mkdirSync(shots, { recursive: true });
    const errors = [];
    const { browser } = await launch({ context: { viewport: { width: 1440, height: 1400 } } });
    const host = await browser.newPage();
    watchErrors(host, 'studio', errors);
    const shoot = (name) => shots && host.screenshot({ path: join(shots, `${name}.png`), fullPage: true });

    await host.goto(new URL(`studio?room=${room}&source=flash`, base).href);
    await until('the studio is ready', () => host.evaluate(() => window.__freshet?.state === 'Ready'));
    must((await host.evaluate(panel)) === null, 'figures are shown before anything is sent');
    await host.getByRole('button', { name: 'Go live' }).click();
    const of = (shown, kind) => shown?.tracks.find((track) => track.kind === kind);
    const first = (shown, kind) => of(shown, kind)?.layers[0].figures ?? {};
    // Keyframes that nobody asked for: viewers come and go.
    const viewer = await browser.newPage();
    await viewer.goto(new URL(`watch/${room}`, base).href);
    await until('the viewer plays', () => viewer.evaluate(() => window.__freshet?.state === 'Live'));
    await sleep(1_500);
    await viewer.goto('about:blank');
    await viewer.goto(new URL(`watch/${room}`, base).href);

    const { streams } = await (await fetch(new URL(`v1/rooms/${room}`, base))).json();
    const api = new URL(`v1/rooms/${room}/streams/${streams[0].stream}/health`, base);
    const shown = await until('the studio shows all figures of picture and sound', async () => {
      const now = await host.evaluate(panel);
      const [picture, sound] = [first(now, 'video'), first(now, 'audio')];
      return now?.verdict === 'All is well' && bits(picture['Bitrate']) > 50e3 && bits(sound['Bitrate']) > 5e3 && /^every [\d.]+ s$/.test(picture['Keyframes']) && Number.parseInt(picture['Frame rate'], 10) > 5 && now.trip !== '–' && now;
    }).catch(async (error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await host.evaluate(panel))}, and the server says ${await (await fetch(api)).text()}`);
    });
    result.shown = shown;
    const told = await (await fetch(api)).json();
    result.told = told;
    must(told.live === true, 'the server says that it is not live');
    for (const kind of ['video', 'audio']) {
      const [track, figures] = [told.tracks.find((each) => each.kind === kind), first(shown, kind)];
      const plain = (text) => text.toLowerCase().replace('.', '');
      must(plain(of(shown, kind).codec).startsWith(plain(track.codec)), `${kind}: the studio says ${of(shown, kind).codec}, the server ${track.codec}`);
      must(/^[\d.]+ %$/.test(figures['Loss']) && /^[\d.]+ ms$/.test(figures['Jitter']), `${kind}: ${JSON.stringify(figures)}`);
      // Moments apart, of media that changes: of the same size, not the same.
      const [theirs, ours] = [track.layers[0].bitrate_bps, bits(figures['Bitrate'])];
      must(ours > theirs / 3 && ours < theirs * 3, `${kind}: the studio shows ${ours} bit/s, the server says ${theirs}`);
    }
    must(/H\.264 .*\d\.\d|VP8|VP9 profile \d|AV1 profile \d/.test(of(shown, 'video').codec), `no codec with its profile: ${of(shown, 'video').codec}`);
    await shoot('health');
    const before = first(shown, 'video')['Bitrate'];
    await until('the figures are live', async () => first(await host.evaluate(panel), 'video')['Bitrate'] !== before);

    // A warning that is true: the encoder is held down to next to nothing.
    await host.evaluate(async () => {
      const sender = window.__freshet.pc.getSenders().find(({ track }) => track?.kind === 'video');
      const parameters = sender.getParameters();
      parameters.encodings[0].maxFramerate = 1;
      parameters.encodings[0].maxBitrate = 30_000;
      await sender.setParameters(parameters);
    });
    const warned = await until('the studio warns of the bitrate in words', async () => {
      const now = await host.evaluate(panel);
      return now.warnings.some(({ reason, text }) => reason === 'bitrate-collapse' && /^Video: \d+ kbit\/s come in where \d+ did/.test(text)) && now;
    }, { timeoutMs: 30_000 });
    result.warned = warned.warnings;
    must(/thing/.test(warned.verdict), `with a warning the verdict is "${warned.verdict}"`);
    await shoot('health-warning');

    await host.evaluate(() => Promise.all(window.__freshet.pc.getSenders().map((sender) => sender.replaceTrack(null))));
    await until('the studio says that nothing arrives', async () => /Nothing arrives|look at/.test((await host.evaluate(panel)).verdict) && bits(first(await host.evaluate(panel), 'audio')['Bitrate']) === 0);

    await host.getByRole('button', { name: 'Stop' }).click();
    await until('figures go with the stream', async () => (await host.evaluate(panel)) === null);
    await sleep(2_500);
    must((await host.evaluate(panel)) === null, 'figures of a stream that ended come back');

    const layered = await browser.newPage();
    watchErrors(layered, 'studio with layers', errors);
    await layered.goto(new URL(`studio?room=${room}-layers&source=camera&simulcast=1&autostart=1`, base).href);
    const layers = await until('the studio shows three layers', async () => {
      const now = await layered.evaluate(panel);
      const rates = Object.fromEntries((of(now, 'video')?.layers ?? []).map(({ rid, figures }) => [rid, bits(figures['Bitrate'])]));
      return rates.q > 0 && rates.h > rates.q && now;
    }, { timeoutMs: 30_000 });
    must(of(layers, 'video').layers.length === 3, `layers: ${JSON.stringify(of(layers, 'video'))}`);
    result.layers = of(layers, 'video').layers;
    if (shots) await layered.screenshot({ path: join(shots, 'health-layers.png'), fullPage: true });
    // A session that is ended may be asked after once more as it goes.
    result.errors = errors.filter((line) => !line.includes('/sessions/'));
    must(result.errors.length === 0, `the pages complained: ${result.errors.join('; ')}`);
  },
  120_000,
);
