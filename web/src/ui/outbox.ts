/**
 * Messages on their way. One at a time and in order; each keeps its id and its first time over all
 * attempts, so that a repetition is harmless. No DOM, no network: both are passed in.
 */
import { delay, Backoff } from '../client/backoff';
import { HttpProblem } from '../client/http';
import type { OutgoingMessage } from '../app';

export type Delivery = 'sending' | 'waiting' | 'sent' | 'failed';

export interface OutboxOptions {
  post: (message: OutgoingMessage) => Promise<{ seq: number }>;
  onChange: (message: OutgoingMessage, delivery: Delivery, problem: HttpProblem | null) => void;
  wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** More than anybody types while the room is away. */
const CAPACITY = 20;

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #queue: OutgoingMessage[] = [];
  /** When each message was written, by a clock that nobody sets. */
  readonly #written = new WeakMap<OutgoingMessage, number>();
  readonly #corrected = new WeakSet<OutgoingMessage>();
  readonly #abort = new AbortController();
  #wake = new AbortController();
  #busy = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get full(): boolean {
    return this.#queue.length >= CAPACITY;
  }

  send(message: OutgoingMessage): void {
    this.#queue.push(message);
    this.#written.set(message, performance.now());
    this.#options.onChange(message, 'sending', null);
    if (!this.#busy) void this.#drain();
  }

  /** The room is back: what waits is tried now. */
  retryNow(): void {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  close(): void {
    this.#abort.abort();
    this.#wake.abort();
    this.#queue.length = 0;
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    const backoff = new Backoff({ baseMs: 800, capMs: 10_000 });
    for (let message = this.#queue[0]; message !== undefined && !this.#abort.signal.aborted; message = this.#queue[0]) {
      try {
        await this.#options.post(message);
        backoff.reset();
        this.#queue.shift();
        this.#options.onChange(message, 'sent', null);
      } catch (error) {
        const problem = error instanceof HttpProblem ? error : new HttpProblem(0, 'No answer', String(error));
        if (this.#abort.signal.aborted) break;
        if (this.#setRight(message, problem)) continue;
        if (problem.passing) {
          this.#options.onChange(message, 'waiting', problem);
          await (this.#options.wait ?? delay)(backoff.next(problem.retryAfterMs ?? 0), this.#wake.signal);
        } else {
          this.#queue.shift();
          this.#options.onChange(message, 'failed', problem);
        }
      }
    }
    this.#busy = false;
  }

  /** A wrong clock here makes a new message look old, or not yet written. The server's own counts. */
  #setRight(message: OutgoingMessage, { nowMs }: HttpProblem): boolean {
    if (nowMs === null || this.#corrected.has(message)) return false;
    this.#corrected.add(message);
    message.at_ms = Math.round(nowMs - (performance.now() - (this.#written.get(message) ?? 0)));
    return true;
  }
}
