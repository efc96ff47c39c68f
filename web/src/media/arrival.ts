/**
 * Tells from the counters of what arrived whether there is a picture, sound alone, or nothing. Pure:
 * counters and times come from outside.
 */

export type Arriving =
  /** Nothing came yet, and it is too early to say that nothing comes. */
  | 'nothing yet'
  | 'picture'
  | 'sound'
  /** What came before has stopped. */
  | 'still';

/** How often to look. A stop is said at most `STILL_MS` and two looks after it. */
export const LOOK_MS = 300;
/** Without a frame for so long there is no picture: a screen that nothing moves on sends one a second. */
export const STILL_MS = 1_400;

export class Arrival {
  #frames = 0;
  #bytes = 0;
  #frameAt: number;
  #soundAt = -Infinity;
  #came = false;

  /** A new connection, or a host who came back: it has until `STILL_MS` from now. */
  constructor(now: number) {
    this.#frameAt = now;
  }

  /** Gives it `STILL_MS` from now once more. */
  expect(now: number): void {
    this.#frameAt = Math.max(this.#frameAt, now);
  }

  /** Takes the counters of decoded frames and of bytes of sound, which never fall within a connection. */
  take(frames: number, audioBytes: number, now: number): void {
    if (frames > this.#frames) {
      this.#frameAt = now;
      this.#came = true;
    }
    if (audioBytes > this.#bytes) this.#soundAt = now;
    this.#frames = frames;
    this.#bytes = audioBytes;
  }

  at(now: number): Arriving {
    const picture = now - this.#frameAt < STILL_MS;
    if (picture) return this.#came ? 'picture' : 'nothing yet';
    return now - this.#soundAt < STILL_MS ? 'sound' : 'still';
  }
}
