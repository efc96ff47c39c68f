/**
 * How what is published arrives at the server: rates, holes, keyframes, and what should be looked at. The 201 of a
 * publish names where it is told (`Link`).
 */
import { Backoff, delay } from './client/backoff';
import { parseLinkHeader, readProblem, request, resolveLocation, type HttpContext } from './client/http';

const REL = 'urn:freshet:whip:ext:health';
/** The server's figures are of two seconds. */
const EVERY_MS = 2_000;
/** What is shown is about now: a slow answer is none. */
const PATIENCE_MS = 5_000;
const MAX_TRACKS = 8;
const MAX_LAYERS = 8;
const MAX_WARNINGS = 32;

export interface LayerHealth {
  /** Its name among simulcast layers; null where there is one encoding. */
  rid: string | null;
  /** Bits per second over the last two seconds. */
  bitrate: number;
  /** Pictures per second; null for sound. */
  fps: number | null;
  packets: number;
  /** Packets that never came. */
  lostPackets: number;
  /** Lost share of the last two seconds' packets, 0–1. */
  loss: number;
  jitterMs: number;
  /** Between the last two keyframes, where there were two. */
  keyframeIntervalMs: number | null;
  keyframeAgeMs: number | null;
}

export interface TrackHealth {
  kind: 'audio' | 'video';
  codec: string | null;
  profile: string | null;
  rttMs: number | null;
  layers: LayerHealth[];
}

export interface Warning {
  /** A word for programs: `loss`, `bframes`, … */
  reason: string;
  /** What is wrong and what to do, in words. */
  text: string;
}

export interface StreamHealth {
  /** False until media can flow. */
  live: boolean;
  tracks: TrackHealth[];
  warnings: Warning[];
}

type Fields = Record<string, unknown>;

const isFields = (value: unknown): value is Fields => value !== null && typeof value === 'object' && !Array.isArray(value);
const fieldsOf = (value: unknown, most: number): Fields[] => (Array.isArray(value) ? value.slice(0, most).filter(isFields) : []);
const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
const count = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0);
const known = (value: unknown, unit = 1): number | null => (typeof value === 'number' && Number.isFinite(value) ? value / unit : null);

/** Reads the server's answer; null where it is none. What is missing is as nothing, what is new is passed over. */
export function readHealth(value: unknown): StreamHealth | null {
  if (!isFields(value) || !Array.isArray(value['tracks'])) return null;
  return {
    live: value['live'] !== false,
    tracks: fieldsOf(value['tracks'], MAX_TRACKS).map((track) => ({
      kind: track['kind'] === 'audio' ? 'audio' : 'video',
      codec: text(track['codec']),
      profile: text(track['profile']),
      rttMs: known(track['round_trip_us'], 1_000),
      layers: fieldsOf(track['layers'], MAX_LAYERS).map((layer) => ({
        rid: text(layer['rid']),
        bitrate: count(layer['bitrate_bps']),
        fps: known(layer['fps']),
        packets: count(layer['packets']),
        lostPackets: count(layer['lost_packets']),
        loss: Math.min(1, count(layer['loss_permille']) / 1_000),
        jitterMs: count(layer['jitter_us']) / 1_000,
        keyframeIntervalMs: known(layer['keyframe_interval_ms']),
        keyframeAgeMs: known(layer['keyframe_age_ms']),
      })),
    })),
    warnings: fieldsOf(value['warnings'], MAX_WARNINGS).flatMap((warning) => {
      const words = text(warning['text']);
      return words === null ? [] : [{ reason: text(warning['reason']) ?? '', text: words }];
    }),
  };
}

/** Null for a place that the token must not go to: to publish matters more than to be told of it. */
function safe(uri: string, base: string): string | null {
  try {
    return resolveLocation(uri, base);
  } catch {
    return null;
  }
}

export class HealthReader {
  readonly #context: HttpContext;
  readonly #url: string | null;

  /** From the `Link` header of the answer that opened the session. */
  constructor(context: HttpContext, link: string | null, base: string) {
    const found = parseLinkHeader(link).find(({ params }) => params.get('rel') === REL);
    this.#context = context;
    this.#url = found === undefined ? null : safe(found.uri, base);
  }

  /** Whether the server tells it. */
  get offered(): boolean {
    return this.#url !== null;
  }

  /** Asks once; a refusal, or no answer, is thrown. */
  async read(signal: AbortSignal): Promise<StreamHealth | null> {
    if (this.#url === null) return null;
    const response = await request(this.#context, this.#url, { headers: { accept: 'application/json' }, signal }, PATIENCE_MS);
    if (!response.ok) throw await readProblem(response);
    return readHealth(await response.json());
  }

  /** Tells it every two seconds until the signal; null while nobody answers, who is then asked less often. */
  async follow(onHealth: (health: StreamHealth | null) => void, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ baseMs: EVERY_MS, capMs: 30_000 });
    while (this.offered && !signal.aborted) {
      let pause = EVERY_MS;
      let health: StreamHealth | null = null;
      try {
        health = await this.read(signal);
        backoff.reset();
      } catch {
        pause = EVERY_MS + backoff.next();
      }
      if (signal.aborted) return;
      onHealth(health);
      await delay(pause, signal);
    }
  }
}
