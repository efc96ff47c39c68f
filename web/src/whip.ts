/**
 * A WHIP publisher (RFC 9725). It publishes a `MediaStream` and keeps it published until `stop`, or
 * until the server says that somebody else took the stream over, which is final.
 */
import { MediaClient, type ClientOptions } from './client/client';
import type { HttpProblem } from './client/http';

export interface WhipOptions extends ClientOptions {
  /** Upper bound of the video's bitrate, bits per second. */
  maxVideoBitrate?: number;
  /** Upper bound of the audio's bitrate, bits per second. */
  maxAudioBitrate?: number;
  /** Refuse (409) instead of taking over when the stream is live already. */
  exclusive?: boolean;
}

export class WhipClient extends MediaClient<WhipOptions> {
  #media: MediaStream;

  constructor(media: MediaStream, options: WhipOptions) {
    super(options);
    this.#media = media;
  }

  /**
   * Publishes other media. Tracks of kinds that the session carries are swapped in place; a kind
   * that it does not carry needs a new session, and viewers keep theirs meanwhile.
   */
  async replace(media: MediaStream): Promise<void> {
    this.#media = media;
    const transceivers = this.pc?.getTransceivers() ?? [];
    const kinds = new Set(transceivers.map(({ receiver }) => receiver.track.kind));
    if (media.getTracks().some(({ kind }) => !kinds.has(kind))) return this.reopen();
    await Promise.all(
      transceivers.map(({ sender, receiver }) => {
        const track = media.getTracks().find(({ kind }) => kind === receiver.track.kind) ?? null;
        return sender.replaceTrack(track);
      }),
    );
  }

  protected override prepare(pc: RTCPeerConnection): void {
    for (const track of this.#media.getTracks()) {
      const maxBitrate = track.kind === 'video' ? this.options.maxVideoBitrate : this.options.maxAudioBitrate;
      pc.addTransceiver(track, {
        direction: 'sendonly',
        streams: [this.#media],
        sendEncodings: [maxBitrate === undefined ? {} : { maxBitrate }],
      });
    }
  }

  protected override judge(problem: HttpProblem): 'retry' | 'final' {
    return problem.passing ? 'retry' : 'final';
  }

  protected override headers(): Record<string, string> {
    return this.options.exclusive === true ? { 'if-none-match': '*' } : {};
  }
}
