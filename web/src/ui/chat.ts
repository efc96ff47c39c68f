/** The chat of a room: the last lines, what is on its way, and the box to write in. */
import { personName, postChat, randomId, setPersonName, type OutgoingMessage } from '../app';
import type { HttpProblem } from '../client/http';
import type { ChatLine } from '../events';
import { h, setText } from './dom';
import { icon } from './icons';
import { Outbox, type Delivery } from './outbox';

const SHOWN = 100;
const MAX_CHARS = 500;
/** Of one hue each, far enough apart for eyes, and readable on both grounds. */
const HUES = 8;

export class Chat {
  readonly element: HTMLElement;
  readonly #log: HTMLOListElement;
  readonly #pending: HTMLOListElement;
  readonly #empty: HTMLElement;
  readonly #note: HTMLElement;
  readonly #box: HTMLTextAreaElement;
  readonly #counter: HTMLElement;
  readonly #scroller: HTMLElement;
  readonly #newest: HTMLButtonElement;
  readonly #outbox: Outbox;
  readonly #seen = new Map<string, HTMLElement>();
  readonly #mine = new Map<string, HTMLElement>();
  #lastSeq = 0;

  constructor(room: string, named: boolean) {
    this.#outbox = new Outbox({
      post: (message) => postChat(room, message),
      onChange: (message, delivery, problem) => this.#delivered(message, delivery, problem),
    });
    this.#log = h('ol', { class: 'chat-log', role: 'log', 'aria-label': 'Chat messages', 'aria-live': 'polite', 'aria-relevant': 'additions' });
    this.#pending = h('ol', { class: 'chat-log chat-pending', 'aria-label': 'Messages on their way' });
    this.#empty = h('p', { class: 'chat-empty' }, 'No messages yet. Say hello.');
    this.#newest = h('button', { type: 'button', class: 'chat-newest', hidden: true, onclick: () => this.#toEnd() }, 'New messages');
    this.#scroller = h('div', { class: 'chat-scroll', tabindex: '0', role: 'region', 'aria-label': 'Chat, scrollable' }, this.#empty, this.#log, this.#pending);
    this.#scroller.addEventListener('scroll', () => {
      if (this.#atEnd()) this.#newest.hidden = true;
    });
    this.#note = h('p', { class: 'chat-note', role: 'status', hidden: true });
    this.#box = h('textarea', {
      id: 'chat-text',
      class: 'chat-box',
      rows: '1',
      maxlength: String(MAX_CHARS),
      placeholder: 'Say something',
      'aria-label': 'Message',
      enterkeyhint: 'send',
      autocomplete: 'off',
    });
    this.#counter = h('span', { class: 'chat-counter', hidden: true });
    const form = h(
      'form',
      { class: 'chat-form', onsubmit: (event: Event) => this.#submit(event) },
      h('div', { class: 'chat-field' }, this.#box, this.#counter),
      h('button', { type: 'submit', class: 'button primary square', 'aria-label': 'Send message' }, icon('send')),
    );
    this.#box.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.#box.addEventListener('input', () => this.#grow());
    this.element = h(
      'section',
      { class: 'chat', 'aria-labelledby': 'chat-title' },
      h('h2', { class: 'panel-title', id: 'chat-title' }, icon('chat'), 'Chat'),
      h('div', { class: 'chat-body' }, this.#scroller, this.#newest),
      this.#note,
      form,
      named ? null : this.#nameField(),
    );
  }

  add(line: ChatLine): void {
    const key = `${line.from}\n${line.id}`;
    if (this.#seen.has(key)) return;
    const own = this.#mine.get(line.id);
    own?.remove();
    this.#mine.delete(line.id);
    const stay = this.#atEnd() || own !== undefined;
    const item = lineOf(line.from, line.text, line.at_ms);
    this.#seen.set(key, item);
    // Sequence is the order of the room. A history that came late goes where it belongs.
    if (line.seq >= this.#lastSeq) this.#log.append(item);
    else this.#log.prepend(item);
    this.#lastSeq = Math.max(this.#lastSeq, line.seq);
    while (this.#seen.size > SHOWN) {
      const [oldest, element] = this.#seen.entries().next().value ?? [];
      if (oldest === undefined) break;
      element?.remove();
      this.#seen.delete(oldest);
    }
    this.#empty.hidden = true;
    if (stay) this.#toEnd();
    else this.#newest.hidden = false;
  }

  /** The room's history was wiped. */
  reset(): void {
    this.#log.replaceChildren();
    this.#seen.clear();
    this.#lastSeq = 0;
    setText(this.#empty, 'The earlier messages of this room are gone.');
    this.#empty.hidden = false;
  }

  /** Says what stands in the way; empty when nothing does. */
  say(note: string): void {
    setText(this.#note, note);
    this.#note.hidden = note === '';
    if (note === '') this.#outbox.retryNow();
  }

  close(): void {
    this.#outbox.close();
  }

  #nameField(): HTMLElement {
    const input = h('input', { id: 'chat-name', class: 'chat-name', maxlength: '40', autocomplete: 'nickname', value: personName() });
    input.addEventListener('change', () => {
      setPersonName(input.value);
      input.value = personName();
    });
    return h('div', { class: 'chat-as' }, h('label', { for: 'chat-name' }, 'Your name'), input);
  }

  #submit(event: Event): void {
    event.preventDefault();
    const text = this.#box.value.trim();
    if (text === '') return;
    if (this.#outbox.full) {
      this.say('Many messages wait already. Hold on until the room is back.');
      return;
    }
    this.#box.value = '';
    this.#grow();
    this.#outbox.send({ id: randomId(20), text, at_ms: Date.now() });
  }

  #grow(): void {
    const length = [...this.#box.value].length;
    this.#counter.hidden = length < MAX_CHARS - 100;
    setText(this.#counter, `${MAX_CHARS - length}`);
    this.#box.style.height = 'auto';
    this.#box.style.height = `${Math.min(this.#box.scrollHeight, 120)}px`;
  }

  #delivered(message: OutgoingMessage, delivery: Delivery, problem: HttpProblem | null): void {
    if (delivery === 'sending' && !this.#mine.has(message.id)) {
      const item = lineOf('You', message.text, message.at_ms);
      item.append(h('span', { class: 'chat-state' }));
      this.#mine.set(message.id, item);
      this.#pending.append(item);
      this.#empty.hidden = true;
      this.#toEnd();
    }
    const item = this.#mine.get(message.id);
    if (item === undefined) return;
    item.dataset['delivery'] = delivery;
    const state = item.querySelector('.chat-state');
    if (state === null) return;
    state.replaceChildren(deliveryWords(delivery, problem));
    if (delivery !== 'failed') return;
    const again = h('button', { type: 'button', class: 'link-button' }, 'Edit and send again');
    again.addEventListener('click', () => {
      item.remove();
      this.#mine.delete(message.id);
      this.#box.value = message.text;
      this.#grow();
      this.#box.focus();
    });
    state.append(' ', again);
    this.#toEnd();
  }

  #atEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < 48;
  }

  #toEnd(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#newest.hidden = true;
  }
}

function deliveryWords(delivery: Delivery, problem: HttpProblem | null): string {
  switch (delivery) {
    case 'sending':
      return 'Sending…';
    case 'sent':
      return 'Sent';
    case 'waiting':
      return problem?.status === 429 ? 'A little too fast: goes out in a moment.' : 'Not through yet: goes out by itself.';
    case 'failed':
      if (problem?.status === 409) return 'Waited too long to be sent.';
      if (problem?.status === 401 || problem?.status === 403) return 'Not sent: your link does not let you write here.';
      return `Not sent: ${problem?.message ?? 'the server refused it'}`;
  }
}

function lineOf(from: string, text: string, at: number): HTMLLIElement {
  let hash = 0;
  for (const char of from) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  const when = new Date(at);
  const time = Number.isNaN(when.getTime()) ? '' : when.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return h(
    'li',
    { class: 'chat-line' },
    h('span', { class: `chat-from hue-${hash % HUES}`, dir: 'auto' }, from),
    h('time', { class: 'chat-time' }, time),
    h('span', { class: 'chat-text', dir: 'auto' }, text),
  );
}
