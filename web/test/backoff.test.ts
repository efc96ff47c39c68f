import { describe, expect, it, vi } from 'vitest';
import { Backoff, delay, jitterAbove } from '../src/client/backoff';

describe('back-off', () => {
  it('stays between half a step and a step, and under its cap', () => {
    for (const random of [0, 0.5, 0.999999]) {
      const backoff = new Backoff({ baseMs: 500, capMs: 15_000, random: () => random });
      let step = 500;
      for (let failure = 0; failure < 2_000; failure += 1) {
        const ms = backoff.next();
        expect(ms).toBeGreaterThanOrEqual(step / 2);
        expect(ms).toBeLessThanOrEqual(step);
        step = Math.min(15_000, step * 2);
      }
    }
  });

  it('never comes before Retry-After, and not all at once after it', () => {
    expect(new Backoff({ baseMs: 100, random: () => 0 }).next(9_000)).toBe(9_000);
    expect(new Backoff({ baseMs: 100, random: () => 0.8 }).next(10_000)).toBe(12_000);
    expect(new Backoff({ baseMs: 100_000, capMs: 100_000, random: () => 1 }).next(10)).toBe(100_000);
    expect(jitterAbove(1_000, () => 0)).toBe(1_000);
    expect(jitterAbove(1_000, () => 1)).toBe(1_250);
  });

  it('starts over after a success', () => {
    const backoff = new Backoff({ baseMs: 400, random: () => 1 });
    backoff.next();
    backoff.next();
    expect(backoff.failures).toBe(2);
    backoff.reset();
    expect(backoff.next()).toBe(400);
  });

  it('waits no longer than its signal', async () => {
    vi.useFakeTimers();
    const abort = new AbortController();
    const done = vi.fn();
    void delay(60_000, abort.signal).then(done);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(done).not.toHaveBeenCalled();
    abort.abort();
    await vi.advanceTimersByTimeAsync(0);
    expect(done).toHaveBeenCalled();
    await delay(60_000, abort.signal);
    vi.useRealTimers();
  });
});
