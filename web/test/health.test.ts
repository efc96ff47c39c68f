import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HealthReader, readHealth, type StreamHealth } from '../src/health';

const ANSWER = {
  room: 'lecture',
  stream: 'main',
  generation: 7,
  live: true,
  tracks: [
    {
      kind: 'video',
      codec: 'H264',
      profile: '64001f',
      round_trip_us: 18_200,
      layers: [{ rid: 'f', bitrate_bps: 2_513_000, fps: 29.97, packets: 81_233, lost_packets: 4, loss_permille: 25, jitter_us: 2_100, keyframe_interval_ms: 2_000, keyframe_age_ms: 730, bframes: true, oversized_packets: 0 }],
    },
    { kind: 'audio', codec: 'opus', layers: [{ bitrate_bps: 64_000, packets: 100, lost_packets: 0, loss_permille: 0, jitter_us: 300, bframes: false, oversized_packets: 0 }] },
  ],
  warnings: [{ reason: 'bframes', text: 'video: it has B-frames' }],
};
const LINK = '<stun:s.example>; rel="ice-server", </v1/rooms/lecture/streams/main/health>; rel="urn:freshet:whip:ext:health"';
const SESSION = 'https://h.example/sessions/n/i/s';

describe('a health answer', () => {
  it('is read in the units of the page', () => {
    const health = readHealth(ANSWER);
    expect(health).toMatchObject({ live: true, warnings: [{ reason: 'bframes', text: 'video: it has B-frames' }] });
    const [video, audio] = health?.tracks ?? [];
    expect(video).toMatchObject({ kind: 'video', codec: 'H264', profile: '64001f', rttMs: 18.2 });
    expect(video?.layers).toEqual([{ rid: 'f', bitrate: 2_513_000, fps: 29.97, packets: 81_233, lostPackets: 4, loss: 0.025, jitterMs: 2.1, keyframeIntervalMs: 2_000, keyframeAgeMs: 730 }]);
    expect(audio).toMatchObject({ kind: 'audio', profile: null, rttMs: null, layers: [{ rid: null, fps: null, keyframeIntervalMs: null }] });
  });

  it.each([null, 7, 'text', [], {}, { tracks: 'none' }])('that is none is none: %j', (value) => expect(readHealth(value)).toBeNull());

  it('with odd fields neither throws nor grows without bound', () => {
    const health = readHealth({ live: 'yes', tracks: [null, { kind: 3, layers: [{ bitrate_bps: 'x', fps: Number.NaN, loss_permille: 9_000 }] }, ...Array.from({ length: 100 }, () => ({}))], warnings: [{ reason: 'loss' }, 'x', { text: 'look' }] });
    expect(health?.tracks.length).toBe(7);
    expect(health?.tracks[0]).toMatchObject({ kind: 'video', codec: null, layers: [{ bitrate: 0, fps: null, loss: 1 }] });
    expect(health?.warnings).toEqual([{ reason: '', text: 'look' }]);
  });

  it('says that a stream is not live yet', () => expect(readHealth({ live: false, tracks: [] })?.live).toBe(false));
});

describe('a reader of health', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Answers one after another; the last one stays. */
  function reader(link: string | null, ...answers: (() => Response)[]) {
    const seen: { url: string; auth: string | null }[] = [];
    const fake = (async (url: string, init: RequestInit) => {
      seen.push({ url, auth: new Headers(init.headers).get('authorization') });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer === undefined) throw new TypeError('no network');
      return answer();
    }) as typeof fetch;
    return { seen, reader: new HealthReader({ token: () => 'tok', fetch: fake }, link, SESSION) };
  }
  const fine = (): Response => Response.json(ANSWER);
  const refused = (status: number) => (): Response => Response.json({ title: 't' }, { status });

  it('asks where the answer to the publish says, with the token, every two seconds', async () => {
    const { seen, reader: health } = reader(LINK, fine);
    const stop = new AbortController();
    const told: (StreamHealth | null)[] = [];
    void health.follow((now) => told.push(now), stop.signal);
    await vi.advanceTimersByTimeAsync(4_100);
    expect(seen).toEqual(Array.from({ length: 3 }, () => ({ url: 'https://h.example/v1/rooms/lecture/streams/main/health', auth: 'Bearer tok' })));
    expect(told.map((each) => each?.tracks.length)).toEqual([2, 2, 2]);
    stop.abort();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(seen.length).toBe(3);
  });

  it('tells nothing of old figures while nobody answers, asks less often, and goes on', async () => {
    const { seen, reader: health } = reader(LINK, fine, refused(502), refused(502), refused(404), fine);
    const stop = new AbortController();
    const told: (StreamHealth | null)[] = [];
    void health.follow((now) => told.push(now), stop.signal);
    await vi.advanceTimersByTimeAsync(4_500);
    expect(told.map((each) => each !== null)).toEqual([true, false]);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(seen.length).toBeLessThan(10);
    expect(told.slice(0, 4).map((each) => each !== null)).toEqual([true, false, false, false]);
    expect(told.at(-1)).not.toBeNull();
    stop.abort();
  });

  it('asks nobody where the server names no place', async () => {
    const { seen, reader: health } = reader('<stun:s.example>; rel="ice-server"', fine);
    const told: unknown[] = [];
    await health.follow((now) => told.push(now), new AbortController().signal);
    expect([health.offered, seen, told]).toEqual([false, [], []]);
  });

  it('takes a place that is not safe for none', () => {
    expect(new HealthReader({}, '<http://h.example/x>; rel="urn:freshet:whip:ext:health"', SESSION).offered).toBe(false);
    expect(new HealthReader({}, LINK, SESSION).offered).toBe(true);
  });
});
