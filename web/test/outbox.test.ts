import { describe, expect, it, vi } from 'vitest';
import { HttpProblem } from '../src/client/http';
import { Outbox, type Delivery } from '../src/ui/outbox';

const message = (id: string) => ({ id, text: id, at_ms: 1 });
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe('the outbox', () => {
  it('sends in order, and repeats the same message until it is through', async () => {
    const log: string[] = [];
    let failures = 2;
    const waits: number[] = [];
    const outbox = new Outbox({
      post: async ({ id, at_ms }) => {
        log.push(`${id}@${at_ms}`);
        if (failures-- > 0) throw new HttpProblem(429, 'fast', '', null, 3_000);
        return { seq: 1 };
      },
      onChange: ({ id }, delivery) => log.push(`${id} ${delivery}`),
      wait: async (ms) => void waits.push(ms),
    });
    outbox.send(message('a'));
    outbox.send(message('b'));
    await later();
    expect(log).toEqual(['a sending', 'a@1', 'b sending', 'a waiting', 'a@1', 'a waiting', 'a@1', 'a sent', 'b@1', 'b sent']);
    expect(waits.every((ms) => ms >= 3_000)).toBe(true);
  });

  it('gives up on what can never go through, and goes on with the next', async () => {
    const states: [string, Delivery, number | undefined][] = [];
    const outbox = new Outbox({
      post: async ({ id }) => {
        if (id === 'a') throw new HttpProblem(409, 'old', '');
        return { seq: 1 };
      },
      onChange: ({ id }, delivery, problem) => states.push([id, delivery, problem?.status]),
    });
    outbox.send(message('a'));
    outbox.send(message('b'));
    await later();
    expect(states.filter(([, delivery]) => delivery !== 'sending')).toEqual([
      ['a', 'failed', 409],
      ['b', 'sent', undefined],
    ]);
  });

  it('sets its time right by the server, once', async () => {
    const times: number[] = [];
    const states: Delivery[] = [];
    const outbox = new Outbox({
      post: async ({ at_ms }) => {
        times.push(at_ms);
        throw new HttpProblem(409, 'old', '', 'too-old', null, 1_000_000);
      },
      onChange: (_message, delivery) => states.push(delivery),
    });
    outbox.send(message('a'));
    await later();
    expect(times).toHaveLength(2);
    expect(times[0]).toBe(1);
    expect(Math.abs((times[1] ?? 0) - 1_000_000)).toBeLessThan(1_000);
    expect(states).toEqual(['sending', 'failed']);
  });

  it('stops trying when the page is left, and holds no more than it can', async () => {
    const post = vi.fn(async () => Promise.reject(new HttpProblem(503, '', '')));
    const outbox = new Outbox({ post, onChange: () => undefined });
    for (let at = 0; !outbox.full; at += 1) outbox.send(message(String(at)));
    await later();
    outbox.close();
    await later();
    expect(post).toHaveBeenCalledTimes(1);
  });
});
