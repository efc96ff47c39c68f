/** The living side of a room, as studio and watch page show it: its events, chat and viewers. */
import { eventsUrl, hasToken, http } from '../app';
import type { HttpProblem } from '../client/http';
import { RoomEvents, type Link, type LiveStream, type StreamChange } from '../events';
import { Chat } from './chat';
import { h, setText } from './dom';
import { icon } from './icons';
import * as words from './words';

export class Room {
  readonly chat: Chat;
  readonly events: RoomEvents;
  readonly viewers: HTMLElement;
  readonly #count: HTMLElement;

  constructor(room: string, onStreams: (live: ReadonlyMap<string, LiveStream>, change: StreamChange | null) => void) {
    this.chat = new Chat(room, hasToken);
    this.#count = h('span', {}, '');
    this.viewers = h('p', { class: 'viewers', hidden: true }, icon('eye'), this.#count);
    this.events = new RoomEvents({
      ...http,
      url: eventsUrl(room),
      onChat: (line) => this.chat.add(line),
      onReset: () => this.chat.reset(),
      onViewers: (viewers) => {
        this.viewers.hidden = false;
        setText(this.#count, words.viewers(viewers));
      },
      onStreams,
      onLink: (link, problem) => this.chat.say(linkWords(link, problem)),
    });
    this.events.start();
  }

  close(): void {
    this.events.stop();
    this.chat.close();
  }
}

function linkWords(link: Link, problem: HttpProblem | null): string {
  switch (link) {
    case 'open':
    case 'connecting':
      return '';
    case 'paused':
      return 'Chat is paused. What you write goes out when it is back.';
    case 'broken':
      return 'Chat is away. It comes back by itself.';
    case 'refused':
      return problem === null ? 'Chat is not open to you.' : words.explain(problem).detail;
  }
}
