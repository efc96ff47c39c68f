/** The frame around every page: skip link, header, main. */
import { at } from '../app';
import { h } from './dom';
import { icon, logo } from './icons';

export interface Shell {
  root: HTMLElement;
  main: HTMLElement;
  /** The place in the header for what belongs to one page. */
  aside: HTMLElement;
}

export function buildShell(): Shell {
  const main = h('main', { id: 'main', tabindex: '-1' });
  const aside = h('div', { class: 'top-aside' });
  // A plain "#main" would do, were it not for clicks that the router watches.
  const skip = h('a', { class: 'skip', href: '#main' }, 'Skip to content');
  skip.addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  const root = h(
    'div',
    { class: 'shell' },
    skip,
    h('header', { class: 'top' }, h('a', { class: 'brand', href: at(''), 'aria-label': 'Freshet, home' }, logo(), h('span', { class: 'brand-name' }, 'freshet')), aside),
    main,
  );
  return { root, main, aside };
}

export function goLiveLink(label = 'Go live'): HTMLAnchorElement {
  return h('a', { class: 'button primary', href: at('studio') }, icon('camera'), label);
}

/** A pill that says a state in one or two words, with a colour and a shape of its own. */
export type Tone = 'live' | 'calm' | 'busy' | 'bad' | 'good' | 'look';

export function pill(): { element: HTMLElement; set: (text: string, tone: Tone) => void } {
  const label = h('span', {}, '');
  const element = h('p', { class: 'pill', role: 'status' }, h('span', { class: 'pill-dot', 'aria-hidden': 'true' }), label);
  return {
    element,
    set: (text, tone) => {
      if (label.textContent !== text) label.textContent = text;
      element.dataset['tone'] = tone;
    },
  };
}
