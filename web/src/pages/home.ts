/** Home: what is live, and the two things to do: go live, or join by name. */
import { at, listRooms, watchUrl, type RoomSummary } from '../app';
import { ID_PATTERN } from '../base';
import { Backoff, delay } from '../client/backoff';
import { HttpProblem } from '../client/http';
import { h, replace, setText } from '../ui/dom';
import { icon, water } from '../ui/icons';
import { goLiveLink } from '../ui/shell';
import * as words from '../ui/words';
import type { PageContext } from './page';

const REFRESH_MS = 4_000;

export function home({ shell, cleanup }: PageContext): void {
  document.title = 'Freshet: live now';
  const list = h('ul', { class: 'rooms' });
  const summary = h('p', { class: 'rooms-summary', role: 'status' }, 'Looking for live rooms…');
  const cards = new Map<string, Card>();

  shell.main.className = 'home';
  replace(
    shell.main,
    h(
      'section',
      { class: 'hero' },
      water('freshet', 'hero-water'),
      h(
        'div',
        { class: 'hero-text' },
        h('h1', {}, 'Live, as it happens.'),
        h('p', { class: 'lead' }, 'Send your camera, screen or voice from this browser. Everyone with the link sees it within a blink.'),
        h('div', { class: 'hero-actions' }, goLiveLink(), joinForm()),
      ),
    ),
    h('section', { class: 'live-now', 'aria-labelledby': 'live-now' }, h('div', { class: 'section-head' }, h('h2', { id: 'live-now' }, 'Live now'), summary), list),
  );

  const show = (rooms: RoomSummary[]): void => {
    const live = rooms.filter(({ streams }) => streams.some(({ live }) => live !== false)).sort((a, b) => b.viewers - a.viewers || a.room.localeCompare(b.room));
    const now = Date.now();
    for (const room of live) {
      const card = cards.get(room.room) ?? newCard(room.room);
      cards.set(room.room, card);
      setText(card.viewers, words.viewers(room.viewers));
      setText(card.since, room.started_at_ms ? words.since(now - room.started_at_ms) : '');
    }
    const names = new Set(live.map(({ room }) => room));
    for (const [name, card] of cards) {
      if (names.has(name)) continue;
      card.element.remove();
      cards.delete(name);
    }
    // Only cards that stand elsewhere move: a focused link must not lose its place for nothing.
    live.forEach(({ room }, place) => {
      const element = cards.get(room)?.element;
      if (element && list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    });
    list.hidden = live.length === 0;
    setText(summary, live.length === 0 ? 'Quiet water: nobody is live right now. Be the first.' : live.length === 1 ? 'One room' : `${live.length} rooms`);
  };

  const backoff = new Backoff({ baseMs: 2_000, capMs: 30_000 });
  const refresh = async (): Promise<void> => {
    while (!cleanup.signal.aborted) {
      let pause = REFRESH_MS + Math.random() * 1_000;
      try {
        show(await listRooms(cleanup.signal));
        backoff.reset();
      } catch (error) {
        if (cleanup.signal.aborted) return;
        const problem = error instanceof HttpProblem ? error : new HttpProblem(0, 'The list of rooms did not arrive', 'This page goes on trying.');
        setText(summary, words.explainList(problem));
        pause = backoff.next(problem.retryAfterMs ?? 0);
      }
      await delay(pause, cleanup.signal);
      // Nobody looks: wait until somebody does.
      if (document.hidden) {
        await new Promise<void>((resolve) => {
          cleanup.on(document, 'visibilitychange', () => resolve(), { once: true });
          cleanup.signal.addEventListener('abort', () => resolve(), { once: true });
        });
      }
    }
  };
  void refresh();
}

interface Card {
  element: HTMLElement;
  viewers: HTMLElement;
  since: HTMLElement;
}

function newCard(room: string): Card {
  const viewers = h('span', {});
  const since = h('span', { class: 'card-since' });
  const element = h(
    'li',
    {},
    h(
      'a',
      { class: 'card', href: watchUrl(room) },
      h('span', { class: 'card-picture' }, water(room, 'card-water'), h('span', { class: 'tag-live' }, 'Live')),
      h('span', { class: 'card-name' }, room),
      h('span', { class: 'card-facts' }, h('span', { class: 'viewers' }, icon('eye'), viewers), since),
    ),
  );
  return { element, viewers, since };
}

function joinForm(): HTMLElement {
  const input = h('input', {
    id: 'join-room',
    name: 'room',
    placeholder: 'Room or its link',
    autocomplete: 'off',
    autocapitalize: 'none',
    spellcheck: 'false',
    'aria-describedby': 'join-error',
  });
  const error = h('p', { class: 'field-error', id: 'join-error', role: 'alert' });
  const form = h(
    'form',
    { class: 'join', 'aria-label': 'Join a room' },
    h('label', { for: 'join-room', class: 'visually-hidden' }, 'Room name or link'),
    h('div', { class: 'join-row' }, input, h('button', { class: 'button', type: 'submit' }, 'Join', icon('arrow'))),
    error,
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const room = roomOf(input.value);
    if (room !== null) {
      history.pushState(null, '', at(`watch/${room}`));
      dispatchEvent(new PopStateEvent('popstate'));
      return;
    }
    setText(error, input.value.trim() === '' ? 'Type the name of a room, or paste its link.' : 'Room names are letters, digits, - and _, at most 64.');
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  });
  input.addEventListener('input', () => {
    setText(error, '');
    input.removeAttribute('aria-invalid');
  });
  return form;
}

/** People paste whole links as often as they type names. */
function roomOf(value: string): string | null {
  const name = /\/watch\/([^/?#]+)/.exec(value)?.[1] ?? value.trim();
  return ID_PATTERN.test(name) ? name : null;
}
