import { afterEach, describe, expect, it, vi } from 'vitest';
import { RoomEvents, type EventsOptions } from '../src/events';

interface Call {
  lastId: string | null;
  authorization: string | null;
  send: (text: string) => void;
  end: () => void;
}

/** A room whose connections the test holds in its hand. */
function fakeRoom(options: Partial<EventsOptions> = {}) {
  const calls: Call[] = [];
  const encoder = new TextEncoder();
  const fake = (async (_url: string, init: RequestInit) => {
    const headers = new Headers(init.headers);
    let controller!: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({ start: (made) => void (controller = made) });
    init.signal?.addEventListener('abort', () => {
      try {
        controller.error(new DOMException('aborted', 'AbortError'));
      } catch {
        // Ended already.
      }
    });
    calls.push({
      lastId: headers.get('last-event-id'),
      authorization: headers.get('authorization'),
      send: (text) => controller.enqueue(encoder.encode(text)),
      end: () => controller.close(),
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  }) as typeof fetch;
  const events = new RoomEvents({ url: 'https://h.example/v1/rooms/r/events', token: () => 'tok', fetch: fake, backoff: { baseMs: 10, random: () => 0 }, ...options });
  return { events, calls };
}

const tick = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
afterEach(() => vi.useRealTimers());

describe('room events', () => {
  it('resume after the last stored event, by header', async () => {
    vi.useFakeTimers();
    const lines: string[] = [];
    const { events, calls } = fakeRoom({ onChat: ({ text }) => lines.push(text) });
    events.start();
    await tick();
    calls[0]?.send('event: snapshot\ndata: {"streams":[],"viewers":2,"spread_ms":0}\n\nevent: chat\nid: 41\ndata: {"id":"a","from":"x","text":"hi","seq":41,"at_ms":1}\n\n');
    calls[0]?.send('event: presence\ndata: {"viewers":3}\n\n');
    await tick();
    calls[0]?.end();
    await tick(50);
    expect(lines).toEqual(['hi']);
    expect(calls.map(({ lastId }) => lastId)).toEqual([null, '41']);
    expect(calls[1]?.authorization).toBe('Bearer tok');
    calls[1]?.send('event: reset\ndata: {}\n\n');
    await tick();
    calls[1]?.end();
    await tick(50);
    expect(calls[2]?.lastId).toBeNull();
    events.stop();
  });

  it('hand back an id as it came, though it is a large number', async () => {
    vi.useFakeTimers();
    const seqs: number[] = [];
    const { events, calls } = fakeRoom({ onChat: ({ seq }) => seqs.push(seq) });
    events.start();
    await tick();
    calls[0]?.send('event: chat\nid: 1795250000000041\ndata: {"id":"a","from":"x","text":"hi","seq":1795250000000041,"at_ms":1}\n\n');
    await tick();
    calls[0]?.end();
    await tick(50);
    expect(seqs).toEqual([1_795_250_000_000_041]);
    expect(calls[1]?.lastId).toBe('1795250000000041');
    events.stop();
  });

  it('take silence for a broken connection', async () => {
    vi.useFakeTimers();
    const { events, calls } = fakeRoom();
    events.start();
    await tick(40_000);
    calls[0]?.send(': keep-alive\n\n');
    await tick(40_000);
    expect(calls).toHaveLength(1);
    await tick(6_000);
    expect(calls).toHaveLength(2);
    events.stop();
  });

  it('wake who waits for the host when a stream starts, within the spread', async () => {
    vi.useFakeTimers();
    const { events, calls } = fakeRoom();
    events.start();
    await tick();
    calls[0]?.send('event: snapshot\ndata: {"streams":[],"viewers":0,"spread_ms":0}\n\n');
    await tick();
    const woken = vi.fn();
    void events.waitForHost(2_000, new AbortController().signal).then(woken);
    await tick(30_000);
    calls[0]?.send(': keep-alive\n\n');
    await tick(20_000);
    expect(woken).not.toHaveBeenCalled();
    calls[0]?.send('event: stream\ndata: {"stream":"main","state":"started","generation":5,"spread_ms":400}\n\n');
    await tick(401);
    expect(woken).toHaveBeenCalled();
    events.stop();
  });

  it('wait a random part of the spread that the event names', async () => {
    vi.useFakeTimers();
    const random = vi.spyOn(Math, 'random');
    for (const [part, spread] of [[0.25, 1_000], [0.9, 1_000], [0.5, 5_000]] as const) {
      const { events, calls } = fakeRoom();
      events.start();
      await tick();
      // What the snapshot named was for a smaller audience.
      calls[0]?.send('event: snapshot\ndata: {"streams":[],"viewers":0,"spread_ms":2}\n\n');
      await tick();
      const woken = vi.fn();
      random.mockReturnValue(0.5);
      void events.waitForHost(2_000, new AbortController().signal).then(woken);
      await tick(5_000);
      random.mockReturnValue(part);
      calls[0]?.send(`event: stream\ndata: {"stream":"main","state":"started","generation":5,"spread_ms":${spread}}\n\n`);
      await tick(part * spread - 2);
      expect(woken).not.toHaveBeenCalled();
      await tick(4);
      expect(woken).toHaveBeenCalled();
      events.stop();
    }
    random.mockRestore();
  });

  it('leave it to Retry-After when the room is not heard', async () => {
    vi.useFakeTimers();
    const { events } = fakeRoom();
    const woken = vi.fn();
    void events.waitForHost(2_000, new AbortController().signal).then(woken);
    await tick(1_999);
    expect(woken).not.toHaveBeenCalled();
    await tick(600);
    expect(woken).toHaveBeenCalled();
  });

  it('keep a stream live when an older generation of it ends', async () => {
    vi.useFakeTimers();
    const { events, calls } = fakeRoom();
    events.start();
    await tick();
    calls[0]?.send('event: snapshot\ndata: {"streams":[{"stream":"main","generation":5,"live":true}],"viewers":0}\n\n');
    calls[0]?.send('event: stream\ndata: {"stream":"main","state":"started","generation":6}\n\nevent: stream\ndata: {"stream":"main","state":"ended","generation":5,"reason":"taken-over"}\n\n');
    await tick();
    expect(events.live.get('main')?.generation).toBe(6);
    calls[0]?.send('event: stream\ndata: {"stream":"main","state":"ended","generation":6}\n\n');
    await tick();
    expect(events.live.size).toBe(0);
    events.stop();
  });

  it('say paused until they are resumed, and stop at a refusal', async () => {
    vi.useFakeTimers();
    const links: string[] = [];
    const { events, calls } = fakeRoom({ onLink: (link) => links.push(link) });
    events.start();
    await tick();
    calls[0]?.send('event: snapshot\ndata: {}\n\nevent: paused\ndata: {}\n\nevent: presence\ndata: {"viewers":1}\n\nevent: resumed\ndata: {}\n\n');
    await tick();
    expect(links).toEqual(['open', 'paused', 'open']);
    events.stop();
    const refused: string[] = [];
    const closed = new RoomEvents({ url: 'https://h.example/', fetch: (async () => new Response(null, { status: 403 })) as typeof fetch, onLink: (link) => refused.push(link) });
    closed.start();
    await tick(60_000);
    expect(refused).toEqual(['refused']);
  });
});
