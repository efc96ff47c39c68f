/**
 * A room's events: chat, streams that start and end, how many watch. One reader per page, kept open
 * with back-off; stored events carry an id and are asked for again from the last one seen, so a
 * break loses nothing and shows nothing twice.
 */
import { Backoff, delay, jitterAbove, type BackoffOptions } from './client/backoff';
import { HttpProblem, readProblem, request, type HttpContext } from './client/http';
import { SseParser, type ServerEvent } from './client/sse';

export interface LiveStream {
  stream: string;
  generation: number;
  identity?: string;
  started_at_ms?: number;
}

export interface ChatLine {
  /** The sender's own message id. */
  id: string;
  from: string;
  text: string;
  at_ms: number;
  seq: number;
}

export interface StreamChange {
  stream: string;
  state: 'started' | 'ended';
  generation: number;
  reason?: string;
}

export type Link = 'connecting' | 'open' | 'paused' | 'broken' | 'refused';

export interface EventsOptions extends HttpContext {
  /** `/v1/rooms/{room}/events`, absolute or relative to the page. */
  url: string;
  onChat?: (line: ChatLine) => void;
  onStreams?: (live: ReadonlyMap<string, LiveStream>, change: StreamChange | null) => void;
  onViewers?: (viewers: number) => void;
  /** The history was wiped: what was shown stands for nothing any more. */
  onReset?: () => void;
  onLink?: (link: Link, problem: HttpProblem | null) => void;
  backoff?: BackoffOptions;
}

/** The server sends a comment every 15 s; thrice that in silence is a dead connection. */
const SILENCE_MS = 45_000;
/** While waiting for a host on events, look once in a while all the same. */
const SAFETY_MS = 60_000;

export class RoomEvents {
  readonly #options: EventsOptions;
  readonly #backoff: Backoff;
  readonly #live = new Map<string, LiveStream>();
  #run: AbortController | null = null;
  #lastId = '';
  #link: Link = 'connecting';
  #known = false;
  #spreadMs = 0;
  #waiters = new Set<() => void>();

  constructor(options: EventsOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.backoff);
  }

  get link(): Link {
    return this.#link;
  }

  get live(): ReadonlyMap<string, LiveStream> {
    return this.#live;
  }

  start(): void {
    if (this.#run !== null) return;
    this.#run = new AbortController();
    void this.#loop(this.#run.signal);
  }

  stop(): void {
    this.#run?.abort();
    this.#run = null;
  }

  /**
   * Resolves when it makes sense to ask for media again: a stream starts, spread over the time the
   * server asks for so that a full room does not arrive at once. Without events, or when the room
   * says that it is live and only the join came too early, `retryAfterMs` decides.
   */
  async waitForHost(retryAfterMs: number, signal: AbortSignal): Promise<void> {
    const listening = this.#known && (this.#link === 'open' || this.#link === 'paused');
    if (!listening || this.#live.size > 0) return delay(jitterAbove(Math.max(retryAfterMs, 500)), signal);
    let started = false;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(host);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const host = (): void => {
        started = true;
        done();
      };
      const timer = setTimeout(done, jitterAbove(Math.max(retryAfterMs, SAFETY_MS)));
      this.#waiters.add(host);
      signal.addEventListener('abort', done, { once: true });
    });
    if (started && this.#spreadMs > 0) await delay(Math.random() * this.#spreadMs, signal);
  }

  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let problem: HttpProblem | null = null;
      try {
        await this.#read(signal);
      } catch (error) {
        if (signal.aborted) return;
        problem = error instanceof HttpProblem ? error : new HttpProblem(0, 'The room does not answer', 'The connection to the room broke.');
        if (problem.status === 401 || problem.status === 403) {
          this.#setLink('refused', problem);
          return;
        }
      }
      if (signal.aborted) return;
      this.#setLink('broken', problem);
      await delay(this.#backoff.next(problem?.retryAfterMs ?? 0), signal);
    }
  }

  /** Reads one connection to its end. */
  async #read(signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const stop = (): void => own.abort();
    signal.addEventListener('abort', stop, { once: true });
    let silence = setTimeout(stop, SILENCE_MS);
    try {
      const headers: Record<string, string> = { accept: 'text/event-stream' };
      if (this.#lastId !== '') headers['last-event-id'] = this.#lastId;
      const response = await request(this.#options, this.#options.url, { headers, signal: own.signal }, null);
      if (!response.ok || response.body === null) throw await readProblem(response);
      if (!/^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')) {
        throw new HttpProblem(502, 'The room does not answer', 'Something between this page and the server answered in its place.');
      }
      const parser = new SseParser();
      const text = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE_MS);
        for (const event of parser.feed(text.decode(value, { stream: true }))) this.#take(event);
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener('abort', stop);
      own.abort();
    }
  }

  #setLink(link: Link, problem: HttpProblem | null = null): void {
    this.#link = link;
    if (link === 'broken' || link === 'refused') this.#known = false;
    this.#options.onLink?.(link, problem);
  }

  #take({ event, data, id }: ServerEvent): void {
    const value = parse(data);
    if (value === null) return;
    if (id !== '') this.#lastId = id;
    if (this.#link !== 'open' && event !== 'paused' && !(this.#link === 'paused' && event !== 'resumed')) {
      this.#backoff.reset();
      this.#setLink('open');
    }
    switch (event) {
      case 'snapshot':
        this.#snapshot(value);
        break;
      case 'chat':
        if (typeof value['text'] === 'string') this.#options.onChat?.(value as unknown as ChatLine);
        break;
      case 'stream':
        this.#change(value as unknown as StreamChange & { spread_ms?: number });
        break;
      case 'presence':
        if (typeof value['viewers'] === 'number') this.#options.onViewers?.(value['viewers']);
        break;
      case 'reset':
        this.#lastId = '';
        this.#options.onReset?.();
        break;
      case 'paused':
        this.#setLink('paused');
        break;
      default:
        break;
    }
  }

  #snapshot(value: Record<string, unknown>): void {
    this.#live.clear();
    for (const stream of Array.isArray(value['streams']) ? (value['streams'] as (LiveStream & { live?: boolean })[]) : []) {
      if (stream.live !== false) this.#live.set(stream.stream, stream);
    }
    this.#known = true;
    this.#spread(value['spread_ms']);
    if (typeof value['viewers'] === 'number') this.#options.onViewers?.(value['viewers']);
    this.#options.onStreams?.(this.#live, null);
    if (this.#live.size > 0) this.#wake();
  }

  #change(change: StreamChange & { spread_ms?: number }): void {
    this.#spread(change.spread_ms);
    const now = this.#live.get(change.stream);
    if (change.state === 'started') {
      if (now === undefined || now.generation <= change.generation) this.#live.set(change.stream, { ...change });
    } else if (now === undefined || now.generation <= change.generation) {
      // The end of an older generation says nothing about the one that took over.
      this.#live.delete(change.stream);
    }
    this.#options.onStreams?.(this.#live, change);
    if (change.state === 'started') this.#wake();
  }

  #spread(value: unknown): void {
    if (typeof value === 'number' && value >= 0) this.#spreadMs = Math.min(value, 30_000);
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }
}

function parse(data: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(data);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
