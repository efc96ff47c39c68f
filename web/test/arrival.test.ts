import { describe, expect, it } from 'vitest';
import { Arrival, LOOK_MS, STILL_MS } from '../src/media/arrival';

describe('what arrives', () => {
  it('is a picture while frames come', () => {
    const arrival = new Arrival(0);
    expect(arrival.at(100)).toBe('nothing yet');
    arrival.take(1, 0, 300);
    expect(arrival.at(300 + STILL_MS - 1)).toBe('picture');
    // A screen on which nothing moves sends a frame a second.
    for (let at = 1_000; at < 10_000; at += 1_000) {
      expect(arrival.at(at)).toBe('picture');
      arrival.take(1 + at / 1_000, 0, at);
    }
  });

  it.each([0, 1, 150, LOOK_MS - 1])('is said to stand still within two seconds, when it stops %i ms after a look', (after) => {
    const arrival = new Arrival(0);
    let said = -1;
    const stop = 3 * LOOK_MS + after;
    for (let at = 0; said < 0 && at < 10_000; at += LOOK_MS) {
      arrival.take(1 + Math.floor(Math.min(at, stop) / 33), 0, at);
      if (arrival.at(at) === 'still') said = at;
    }
    expect(said - stop).toBeGreaterThan(STILL_MS / 2);
    expect(said - stop).toBeLessThanOrEqual(2_000);
  });

  it('is sound alone when frames stop and sound goes on, and nothing when both do', () => {
    const arrival = new Arrival(0);
    arrival.take(5, 100, 100);
    arrival.take(5, 200, 1_000);
    expect(arrival.at(1_000)).toBe('picture');
    arrival.take(5, 300, 100 + STILL_MS);
    expect(arrival.at(100 + STILL_MS)).toBe('sound');
    expect(arrival.at(100 + 2 * STILL_MS)).toBe('still');
    arrival.take(6, 300, 5_000);
    expect(arrival.at(5_000)).toBe('picture');
  });

  it('is sound from the start only when no frame comes for a while', () => {
    const arrival = new Arrival(0);
    arrival.take(0, 100, 300);
    expect(arrival.at(300)).toBe('nothing yet');
    arrival.take(0, 900, STILL_MS);
    expect(arrival.at(STILL_MS)).toBe('sound');
  });

  it('is given time again when a host came back', () => {
    const arrival = new Arrival(0);
    arrival.take(5, 100, 100);
    expect(arrival.at(9_000)).toBe('still');
    arrival.expect(9_000);
    expect(arrival.at(9_100)).not.toBe('still');
    expect(arrival.at(9_000 + STILL_MS)).toBe('still');
  });
});
