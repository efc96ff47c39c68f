/**
 * A WHEP viewer (draft 04). It plays a room, or one stream of it, and keeps playing: it waits while
 * nobody publishes, and opens a new session when its own is lost. The session outlives the
 * publisher: when the host comes back, media goes on by itself.
 */
import { jitterAbove, delay } from './client/backoff';
import { MediaClient, type ClientOptions } from './client/client';
import type { HttpProblem } from './client/http';
import { LayerControl, type Layer } from './client/layers';
import type { MediaSession } from './client/session';

export interface WhepOptions extends ClientOptions {
  /** Called with the media of each new session, once it is connected. */
  onMedia?: (media: MediaStream) => void;
  /** Called with the sizes of the picture that there are, best first; none where there is one. */
  onLayers?: (layers: Layer[]) => void;
  /**
   * Resolves when a host is worth trying for again. Room events know (`RoomEvents.waitForHost`);
   * without it the server's `Retry-After` decides.
   */
  waitForHost?: (retryAfterMs: number, signal: AbortSignal) => Promise<void>;
}

export class WhepClient extends MediaClient<WhepOptions> {
  #layers: LayerControl | null = null;
  #following: AbortController | null = null;
  #picked: string | null = null;

  protected override prepare(pc: RTCPeerConnection): void {
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
  }

  protected override connected(session: MediaSession): void {
    this.options.onMedia?.(new MediaStream(session.pc.getReceivers().map(({ track }) => track)));
    this.#following?.abort();
    const { onLayers } = this.options;
    if (onLayers === undefined) return;
    const following = new AbortController();
    this.#following = following;
    session.pc.addEventListener('connectionstatechange', () => {
      if (session.pc.connectionState === 'closed') following.abort();
    });
    this.#layers = new LayerControl(this.options, session.link, session.url);
    // Another session of the same viewer: what was picked holds.
    if (this.#picked !== null) void this.#layers.pick(this.#picked).catch(() => undefined);
    void this.#layers.follow(onLayers, following.signal).catch(() => undefined);
  }

  /** Picks one of the layers that `onLayers` told of, or with null leaves the choice to the server. */
  async pick(rid: string | null): Promise<void> {
    this.#picked = rid;
    await this.#layers?.pick(rid);
  }

  override async stop(): Promise<void> {
    this.#following?.abort();
    await super.stop();
  }

  /** Always: what is sent in one channel sounds the same. */
  protected override stereo(): boolean {
    return true;
  }

  protected override judge(problem: HttpProblem): 'retry' | 'wait' | 'final' {
    if (problem.status === 409) return 'wait';
    return problem.passing ? 'retry' : 'final';
  }

  protected override async awaitChange(retryAfterMs: number, signal: AbortSignal): Promise<void> {
    if (this.options.waitForHost) await this.options.waitForHost(retryAfterMs, signal);
    else await delay(jitterAbove(retryAfterMs), signal);
  }
}
