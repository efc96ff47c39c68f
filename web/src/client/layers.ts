/**
 * The sizes of a picture that a viewer may pick: WHEP's layer extension, and its event stream that
 * says which there are.
 */
import { delay, jitterAbove } from './backoff';
import { parseLinkHeader, readProblem, request, resolveLocation, type HttpContext } from './http';
import { SseParser } from './sse';

const EVENTS = 'urn:ietf:params:whep:ext:core:server-sent-events';
const LAYER = 'urn:ietf:params:whep:ext:core:layer';
/** An event stream that breaks is opened again after this. */
const AGAIN_MS = 5_000;
/** A picture of one size is not listened to: the next publisher may send several, so it is looked at again. */
const LOOK_AGAIN_MS = 30_000;
const MAX_LAYERS = 16;

export interface Layer {
  rid: string;
  /** Bits per second; 0 while it is not sent. */
  bitrate: number;
  /** The one that is being received. */
  current: boolean;
}

/** What a `layers` event says of the first m-line that has some, best first; nothing where it cannot be read. */
export function readLayers(data: string): Layer[] {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return [];
  }
  if (value === null || typeof value !== 'object') return [];
  const [first] = Object.values(value).filter((line) => Array.isArray(line)) as unknown[][];
  const layers: Layer[] = [];
  for (const item of (first ?? []).slice(0, MAX_LAYERS)) {
    if (item === null || typeof item !== 'object') continue;
    const { rid, bitrate, current } = item as Record<string, unknown>;
    if (typeof rid === 'string' && typeof bitrate === 'number') layers.push({ rid, bitrate, current: current === true });
  }
  return layers;
}

/** What people call the layers: by their place where there are few, else by their names. */
export function layerWords(layers: readonly Layer[]): string[] {
  const words = [[], ['High'], ['High', 'Low'], ['High', 'Medium', 'Low']][layers.length];
  return words ?? layers.map(({ rid }) => rid);
}

export class LayerControl {
  readonly #context: HttpContext;
  readonly #events: string | null;
  readonly #layer: string | null;

  /** From the `Link` header of the answer that opened the session. */
  constructor(context: HttpContext, link: string | null, base: string) {
    const links = parseLinkHeader(link);
    const target = (rel: string): string | null => {
      const found = links.find(({ params }) => params.get('rel') === rel);
      return found === undefined ? null : resolveLocation(found.uri, base);
    };
    this.#context = context;
    this.#events = target(EVENTS);
    this.#layer = target(LAYER);
  }

  /** Whether the server lets a viewer pick. */
  get offered(): boolean {
    return this.#layer !== null;
  }

  /** Picks a layer, or with null leaves the choice to the server. */
  async pick(rid: string | null): Promise<void> {
    if (this.#layer === null) return;
    const response = await request(this.#context, this.#layer, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(rid === null ? {} : { rid }),
    });
    if (!response.ok) throw await readProblem(response);
    await response.body?.cancel();
  }

  /** Tells the layers as they change, until the signal; a server without the extension tells nothing. */
  async follow(onLayers: (layers: Layer[]) => void, signal: AbortSignal): Promise<void> {
    while (this.#events !== null && this.offered && !signal.aborted) {
      let single = false;
      try {
        single = await this.#read(this.#events, onLayers, signal);
      } catch {
        // The picture goes on without: it is asked for again.
      }
      await delay(single ? jitterAbove(LOOK_AGAIN_MS) : AGAIN_MS, signal);
    }
  }

  /** Reads one event stream; true where there is nothing to pick, so that nobody need listen. */
  async #read(url: string, onLayers: (layers: Layer[]) => void, signal: AbortSignal): Promise<boolean> {
    const opened = await request(this.#context, url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '["layers"]',
      signal,
    });
    if (opened.status !== 201) throw await readProblem(opened);
    const stream = resolveLocation(opened.headers.get('location'), opened.url || url);
    const response = await request(this.#context, stream, { headers: { accept: 'text/event-stream' }, signal }, null);
    if (!response.ok || response.body === null) throw await readProblem(response);
    const parser = new SseParser();
    const text = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      for (const { event, data } of parser.feed(text.decode(value, { stream: true }))) {
        if (event !== 'layers') continue;
        const layers = readLayers(data);
        onLayers(layers);
        if (layers.length > 1) continue;
        await reader.cancel();
        await request(this.#context, stream, { method: 'DELETE', signal });
        return true;
      }
    }
  }
}
