/**
 * The event stream format of HTML ("server-sent events"), parsed piece by piece as bytes arrive.
 * `EventSource` is not used: it cannot send a bearer token in a header, and a token never stands in
 * a URL.
 */

export interface ServerEvent {
  event: string;
  data: string;
  /** The last id the stream has named so far; empty when it has named none. */
  id: string;
}

/** A line may not grow without end. */
const MAX_LINE_CHARS = 262_144;

export class SseParser {
  #rest = '';
  #started = false;
  #afterCr = false;
  #event = '';
  #data: string[] = [];
  #id = '';
  #idSeen = '';
  /** The reconnection time that the server asked for, in milliseconds. */
  retryMs: number | null = null;

  /** Takes the next piece of text and returns the events that it completes. */
  feed(chunk: string): ServerEvent[] {
    let text = chunk;
    if (!this.#started && text !== '') {
      this.#started = true;
      if (text.startsWith('\uFEFF')) text = text.slice(1);
    }
    // A CR and its LF may arrive in two pieces; together they end one line.
    if (this.#afterCr && text.startsWith('\n')) text = text.slice(1);
    if (text !== '') this.#afterCr = false;
    text = this.#rest + text;

    const events: ServerEvent[] = [];
    const ends = /\r\n|\r|\n/g;
    let from = 0;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      this.#line(text.slice(from, end.index), events);
      from = ends.lastIndex;
      if (end[0] === '\r' && from === text.length) this.#afterCr = true;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length > MAX_LINE_CHARS) throw new Error('the event stream sent a line without end');
    return events;
  }

  #line(line: string, events: ServerEvent[]): void {
    if (line === '') {
      this.#idSeen = this.#id;
      if (this.#data.length > 0) {
        events.push({ event: this.#event || 'message', data: this.#data.join('\n'), id: this.#idSeen });
      }
      this.#event = '';
      this.#data = [];
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
  }
}
