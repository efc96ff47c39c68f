/** What the connection does right now, as numbers with the last minute behind them. */
import type { Figures } from '../client/stats';
import { h, setText } from './dom';
import { Sparkline } from './sparkline';
import * as words from './words';

export class FiguresPanel {
  readonly element: HTMLElement;
  readonly #rows: Record<'bitrate' | 'loss' | 'rtt' | 'fps' | 'size', { value: HTMLElement; spark: Sparkline | null }>;

  constructor() {
    const rows: HTMLElement[] = [];
    const row = (name: string, floor: number | null): { value: HTMLElement; spark: Sparkline | null } => {
      const value = h('dd', {}, '–');
      const spark = floor === null ? null : new Sparkline(floor);
      rows.push(h('div', { class: 'figure' }, h('dt', {}, name), value, spark?.element));
      return { value, spark };
    };
    this.#rows = {
      bitrate: row('Bitrate', 500_000),
      loss: row('Loss', 0.05),
      rtt: row('Round trip', 50),
      fps: row('Frame rate', 30),
      size: row('Picture', null),
    };
    this.element = h('dl', { class: 'figures-panel', 'aria-label': 'Connection', hidden: true }, ...rows);
  }

  /** `picture`: whether one is sent at all; browsers go on counting the frames of one that is not. */
  show(figures: Figures, picture: boolean): void {
    this.element.hidden = false;
    const { bitrate, loss, rtt, fps, size } = this.#rows;
    setText(bitrate.value, words.bitrate(figures.bitrate));
    bitrate.spark?.push(figures.bitrate);
    setText(loss.value, words.share(figures.loss));
    loss.spark?.push(figures.loss);
    setText(rtt.value, figures.rttMs === null ? '–' : `${Math.round(figures.rttMs)} ms`);
    if (figures.rttMs !== null) rtt.spark?.push(figures.rttMs);
    const rate = picture ? (figures.fps ?? 0) : null;
    setText(fps.value, rate === null ? 'no picture' : `${Math.round(rate)} fps`);
    if (rate === null) fps.spark?.clear();
    else fps.spark?.push(rate);
    const codec = figures.videoCodec === null ? '' : ` ${figures.videoCodec}`;
    setText(size.value, !picture ? 'sound only' : figures.width > 0 ? `${figures.width}×${figures.height}${codec}` : '–');
  }

  clear(): void {
    this.element.hidden = true;
    for (const { value, spark } of Object.values(this.#rows)) {
      setText(value, '–');
      spark?.clear();
    }
  }
}
