/** How what is sent arrives at the server: a verdict, what should be looked at, and the figures of each track. */
import type { LayerHealth, StreamHealth, TrackHealth } from '../health';
import { h, replace, setText } from './dom';
import { icon } from './icons';
import { pill } from './shell';
import * as words from './words';

/** What the layers that this library sends are called; others go by their own names. */
const LAYERS: Record<string, string> = { f: 'Full size', h: 'Half size', q: 'Quarter size' };

type Cell = [name: string, value: (layer: LayerHealth) => string];
const SOUND: Cell[] = [
  ['Bitrate', ({ bitrate }) => words.bitrate(bitrate)],
  ['Loss', ({ loss }) => words.share(loss)],
  ['Jitter', ({ jitterMs }) => words.millis(jitterMs)],
];
const PICTURE: Cell[] = [
  ...SOUND,
  ['Frame rate', ({ fps }) => (fps === null ? '–' : `${Math.round(fps)} fps`)],
  ['Keyframes', ({ keyframeIntervalMs }) => (keyframeIntervalMs === null ? '–' : `every ${words.seconds(keyframeIntervalMs)}`)],
];

export class HealthPanel {
  readonly element: HTMLElement;
  readonly #verdict = pill();
  readonly #roundTrip = h('span', {}, '–');
  readonly #warnings = h('ul', { class: 'health-warnings', hidden: true });
  readonly #tracks = h('ul', { class: 'health-tracks' });
  #shape = '';
  #cells: HTMLElement[] = [];
  /** Figures of a whole two seconds were there since it went live: before, zero says nothing. */
  #flowed = false;

  constructor() {
    this.element = h(
      'section',
      { class: 'health', 'aria-labelledby': 'health-title', hidden: true },
      h(
        'div',
        { class: 'health-head' },
        h('h2', { id: 'health-title' }, 'How it arrives'),
        this.#verdict.element,
        h('p', { class: 'health-trip' }, 'Round trip ', this.#roundTrip),
      ),
      this.#warnings,
      this.#tracks,
    );
  }

  /** Null: the server cannot tell just now, and old figures would say that it could. */
  show(health: StreamHealth | null): void {
    this.element.hidden = false;
    this.#flowed ||= health !== null && flows(health);
    const { text, tone } = verdict(health, this.#flowed);
    this.#verdict.set(text, tone);
    const warnings = health?.warnings ?? [];
    const said = [...this.#warnings.children].map(({ textContent }) => textContent);
    if (warnings.length !== said.length || warnings.some(({ text }, at) => sentence(text) !== said[at])) {
      replace(this.#warnings, ...warnings.map(({ reason, text }) => h('li', { 'data-reason': reason }, icon('alert'), h('span', {}, sentence(text)))));
    }
    this.#warnings.hidden = warnings.length === 0;
    // The picture first, whatever the order of the offer.
    const tracks = (health?.tracks ?? []).toSorted((a, b) => Number(b.kind === 'video') - Number(a.kind === 'video'));
    const trips = tracks.flatMap(({ rttMs }) => (rttMs === null ? [] : [rttMs]));
    setText(this.#roundTrip, trips.length === 0 ? '–' : words.millis(Math.max(...trips)));
    this.#figures(tracks);
  }

  clear(): void {
    this.element.hidden = true;
    this.#flowed = false;
    this.#verdict.set('', 'calm');
    replace(this.#warnings);
    this.#figures([]);
  }

  /** Cards stay as long as there are the same tracks and layers: only their numbers change. */
  #figures(tracks: TrackHealth[]): void {
    const shape = JSON.stringify(tracks.map(({ kind, layers }) => [kind, layers.map(({ rid }) => rid)]));
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#cells = [];
      replace(this.#tracks, ...tracks.map((track) => this.#card(track)));
    }
    const values = tracks.flatMap((track) => [
      [words.codec(track.codec, track.profile)],
      ...track.layers.map((layer) => cellsOf(track).map(([, value]) => (layer.packets === 0 || !this.#flowed ? '–' : value(layer)))),
    ]);
    values.flat().forEach((value, at) => this.#cells[at] && setText(this.#cells[at], value));
  }

  #card(track: TrackHealth): HTMLElement {
    const cell = <K extends 'span' | 'dd'>(tag: K, className: string): HTMLElement => {
      const element = h(tag, { class: className });
      this.#cells.push(element);
      return element;
    };
    const video = track.kind === 'video';
    return h(
      'li',
      { class: 'health-track', 'data-kind': track.kind },
      h('p', { class: 'health-name' }, icon(video ? 'camera' : 'mic'), h('span', {}, video ? 'Picture' : 'Sound'), cell('span', 'health-codec')),
      ...track.layers.map(({ rid }) =>
        h(
          'div',
          { class: 'health-layer', 'data-rid': rid },
          rid === null ? null : h('p', { class: 'health-rid' }, LAYERS[rid] ?? `Layer ${rid}`),
          h('dl', {}, ...cellsOf(track).map(([name]) => h('div', {}, h('dt', {}, name), cell('dd', '')))),
        ),
      ),
    );
  }
}

const cellsOf = ({ kind }: TrackHealth): Cell[] => (kind === 'video' ? PICTURE : SOUND);

const flows = ({ tracks }: StreamHealth): boolean => tracks.some(({ layers }) => layers.some(({ bitrate }) => bitrate > 0));

function verdict(health: StreamHealth | null, flowed: boolean): { text: string; tone: 'good' | 'look' | 'calm' } {
  if (health === null) return { text: 'The server does not say', tone: 'calm' };
  const count = health.warnings.length;
  if (count > 0) return { text: count === 1 ? 'One thing to look at' : `${count} things to look at`, tone: 'look' };
  if (!health.live || !flowed) return { text: 'Waiting for figures', tone: 'calm' };
  return flows(health) ? { text: 'All is well', tone: 'good' } : { text: 'Nothing arrives just now', tone: 'look' };
}

/** As the server's words begin with the track's name, they begin like a sentence here. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
