/**
 * A WHEP viewer (draft 04). It plays a room, or one stream of it, and keeps playing: it waits while
 * nobody publishes, and opens a new session when its own is lost. The session outlives the
 * publisher: when the host comes back, media goes on by itself.
 */
import { jitterAbove, delay } from './client/backoff';
import { MediaClient, type ClientOptions } from './client/client';
import type { HttpProblem } from './client/http';

export interface WhepOptions extends ClientOptions {
  /** Called with the media of each new session, once it is connected. */
  onMedia?: (media: MediaStream) => void;
  /**
   * Resolves when a host is worth trying for again. Room events know (`RoomEvents.waitForHost`);
   * without it the server's `Retry-After` decides.
   */
  waitForHost?: (retryAfterMs: number, signal: AbortSignal) => Promise<void>;
}

export class WhepClient extends MediaClient<WhepOptions> {
  protected override prepare(pc: RTCPeerConnection): void {
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
  }

  protected override connected(pc: RTCPeerConnection): void {
    this.options.onMedia?.(new MediaStream(pc.getReceivers().map(({ track }) => track)));
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
