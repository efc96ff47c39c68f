/**
 * Exponential back-off with jitter, and waits that can be called off. A room of thousands loses its
 * node at one instant; what they do next must not be at one instant.
 */

export interface BackoffOptions {
  /** First delay, in milliseconds. */
  baseMs?: number;
  /** No delay is longer, unless the server asks for more. */
  capMs?: number;
  /** A number in [0, 1); passed in by tests. */
  random?: () => number;
}

export class Backoff {
  readonly #baseMs: number;
  readonly #capMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#baseMs = options.baseMs ?? 500;
    this.#capMs = options.capMs ?? 15_000;
    this.#random = options.random ?? Math.random;
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * The next delay: between half of and the whole exponential step, and never before what the
   * server asked for (`Retry-After`), which gets jitter of its own on top.
   */
  next(atLeastMs = 0): number {
    const step = Math.min(this.#capMs, this.#baseMs * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    const own = step / 2 + (this.#random() * step) / 2;
    return atLeastMs > own ? jitterAbove(atLeastMs, this.#random) : own;
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** `ms` and up to a quarter more. */
export function jitterAbove(ms: number, random: () => number = Math.random): number {
  return ms + (random() * ms) / 4;
}

/** Waits; resolves early (never rejects) when `signal` aborts or when the network comes back. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      globalThis.removeEventListener?.('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
    globalThis.addEventListener?.('online', done, { once: true });
  });
}
