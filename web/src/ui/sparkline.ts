/** A small line of the last minute of one figure. Decoration: the number stands beside it. */
const NS = 'http://www.w3.org/2000/svg';
const POINTS = 60;
const WIDTH = 120;
const HEIGHT = 32;

export class Sparkline {
  readonly element: SVGSVGElement;
  readonly #line: SVGPathElement;
  readonly #area: SVGPathElement;
  readonly #floor: number;
  #values: number[] = [];

  /** `floor` is the least value that fills the height, so that noise near zero stays small. */
  constructor(floor: number) {
    this.#floor = floor;
    this.element = document.createElementNS(NS, 'svg');
    this.element.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute('preserveAspectRatio', 'none');
    this.element.setAttribute('class', 'spark');
    this.element.setAttribute('aria-hidden', 'true');
    this.#area = document.createElementNS(NS, 'path');
    this.#area.setAttribute('class', 'spark-area');
    this.#line = document.createElementNS(NS, 'path');
    this.#line.setAttribute('class', 'spark-line');
    this.element.append(this.#area, this.#line);
  }

  push(value: number): void {
    this.#values = [...this.#values, value].slice(-POINTS);
    const top = Math.max(this.#floor, ...this.#values) * 1.1;
    const step = WIDTH / (POINTS - 1);
    const start = WIDTH - (this.#values.length - 1) * step;
    const points = this.#values.map((each, at) => `${(start + at * step).toFixed(1)} ${(HEIGHT - 2 - (each / top) * (HEIGHT - 4)).toFixed(1)}`);
    const line = points.length > 1 ? `M${points.join('L')}` : '';
    this.#line.setAttribute('d', line);
    this.#area.setAttribute('d', line === '' ? '' : `${line}L${WIDTH} ${HEIGHT}L${start.toFixed(1)} ${HEIGHT}Z`);
  }

  clear(): void {
    this.#values = [];
    this.#line.setAttribute('d', '');
    this.#area.setAttribute('d', '');
  }
}
