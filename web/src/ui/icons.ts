/** The icons and the mark of Freshet, drawn for it, as inline SVG. All are decoration: aria-hidden. */

const NS = 'http://www.w3.org/2000/svg';

const PATHS = {
  camera: 'M3 7.5A1.5 1.5 0 0 1 4.5 6h9A1.5 1.5 0 0 1 15 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5zM15 10.5l6-3.5v10l-6-3.5',
  screen: 'M4 5h16a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM8.5 20h7M12 16v4',
  mic: 'M12 3.5a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3',
  micOff: 'M9 6.5a3 3 0 0 1 6 0v5l-.2 1M12.6 14.4A3 3 0 0 1 9 11.5V9M5.5 11.5a6.5 6.5 0 0 0 10.6 5M18.5 11.5a6.4 6.4 0 0 1-.5 2.5M12 18v3M4 4l16 16',
  pattern: 'M4 4h16v16H4zM4 12h16M9.3 4v8M14.6 4v8M12 12v8',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6z',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11',
  muted: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5',
  full: 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5',
  unfull: 'M9 4v5H4M20 9h-5V4M15 20v-5h5M4 15h5v5',
  copy: 'M9 9h10v11H9zM15 9V4.5H5V15h4',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  send: 'M4 12l16-7.5L15.5 20l-3.8-6.2zM11.7 13.8L20 4.5',
  play: 'M7.5 5v14l11-7z',
  stop: 'M6.5 6.5h11v11h-11z',
  alert: 'M12 4l9 16H3zM12 10v4.5M12 17.2v.3',
  dice: 'M5 5h14v14H5zM9 9v.01M15 15v.01M15 9v.01M9 15v.01M12 12v.01',
  arrow: 'M5 12h14M13 6l6 6-6 6',
  chat: 'M4 5h16v11H10l-4.5 4v-4H4z',
  spinner: 'M12 3.5a8.5 8.5 0 1 1-8.5 8.5',
} as const;

export type IconName = keyof typeof PATHS;

function svg(viewBox: string, className: string): SVGSVGElement {
  const element = document.createElementNS(NS, 'svg');
  element.setAttribute('viewBox', viewBox);
  element.setAttribute('class', className);
  element.setAttribute('aria-hidden', 'true');
  element.setAttribute('focusable', 'false');
  return element;
}

function path(d: string, className = ''): SVGPathElement {
  const element = document.createElementNS(NS, 'path');
  element.setAttribute('d', d);
  if (className !== '') element.setAttribute('class', className);
  return element;
}

export function icon(name: IconName): SVGSVGElement {
  const element = svg('0 0 24 24', `icon icon-${name}`);
  element.append(path(PATHS[name]));
  return element;
}

/** The mark: one line of water that becomes three, running faster than it did. */
export function logo(): SVGSVGElement {
  const element = svg('0 0 32 32', 'logo');
  element.append(
    path('M2 21c5.5 0 6.5-11 13-11s6 6.5 15 6.5', 'logo-a'),
    path('M2 21c6.5 0 8-5.5 13.5-5.5S22 21.5 30 21.5', 'logo-b'),
    path('M2 21c7.5 0 8.5 0 13 1.5S23 26 30 26', 'logo-c'),
  );
  return element;
}

/** A drawing of calm water for places without a picture; `seed` makes it a room's own. */
export function water(seed: string, className: string): SVGSVGElement {
  const element = svg('0 0 400 225', className);
  element.setAttribute('preserveAspectRatio', 'none');
  let state = 2166136261;
  for (const char of seed) state = Math.imul(state ^ char.charCodeAt(0), 16777619) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (let line = 0; line < 7; line += 1) {
    const y = 74 + line * 21;
    const rise = 10 + next() * 26;
    const crest = 120 + next() * 160;
    const left = (y + next() * 14).toFixed(0);
    const middle = (y - 6 + next() * 20).toFixed(0);
    const right = (y + next() * 18).toFixed(0);
    // Both control points of a crest share its height: the line stays smooth, and never folds.
    const d = `M-10 ${left}C${(crest * 0.4).toFixed(0)} ${(y - rise).toFixed(0)} ${(crest * 0.7).toFixed(0)} ${middle} ${crest.toFixed(0)} ${middle}S${(crest + (410 - crest) * 0.6).toFixed(0)} ${(y - rise).toFixed(0)} 410 ${right}V235H-10z`;
    element.append(path(d, `water-${line}`));
  }
  return element;
}
