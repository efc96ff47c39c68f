/**
 * A WHIP publisher (RFC 9725). It publishes a `MediaStream` and keeps it published until `stop`, or
 * until the server says that somebody else took the stream over, which is final.
 */
import { MediaClient, type ClientOptions } from './client/client';
import type { HttpProblem } from './client/http';
import { hasTwoChannels } from './client/opus';
import type { MediaSession } from './client/session';
import { HealthReader, type StreamHealth } from './health';

export interface WhipOptions extends ClientOptions {
  /** Upper bound of the video's bitrate, bits per second. */
  maxVideoBitrate?: number;
  /** Upper bound of the audio's bitrate, bits per second. */
  maxAudioBitrate?: number;
  /**
   * Send the picture in three sizes at once (RFC 8853): a quarter, a half and the whole of its width and height.
   * Viewers get the best that is sent, and may pick a smaller one.
   */
  simulcast?: boolean;
  /**
   * Called every two seconds while live with how the media arrives at the server; null where it cannot be told just
   * now. A server that tells no health calls nothing.
   */
  onHealth?: (health: StreamHealth | null) => void;
  /** Refuse (409) instead of taking over when the stream is live already. */
  exclusive?: boolean;
}

export class WhipClient extends MediaClient<WhipOptions> {
  #media: MediaStream;
  /** Whether the session in use was offered in stereo. */
  #stereo = false;
  #reading: AbortController | null = null;

  constructor(media: MediaStream, options: WhipOptions) {
    super(options);
    this.#media = media;
  }

  /**
   * Publishes other media. Tracks of kinds that the session carries are swapped in place; a kind
   * that it does not carry needs a new session, as does stereo where it was offered without, and viewers
   * keep theirs meanwhile.
   */
  async replace(media: MediaStream): Promise<void> {
    this.#media = media;
    const transceivers = this.pc?.getTransceivers() ?? [];
    const kinds = new Set(transceivers.map(({ receiver }) => receiver.track.kind));
    if (media.getTracks().some(({ kind }) => !kinds.has(kind)) || (hasTwoChannels(media) && !this.#stereo)) return this.reopen();
    await Promise.all(
      transceivers.map(({ sender, receiver }) => {
        const track = media.getTracks().find(({ kind }) => kind === receiver.track.kind) ?? null;
        return sender.replaceTrack(track);
      }),
    );
  }

  protected override connected(session: MediaSession): void {
    this.#reading?.abort();
    const { onHealth } = this.options;
    if (onHealth === undefined) return;
    const reading = new AbortController();
    this.#reading = reading;
    const reader = new HealthReader(this.options, session.link, session.url);
    const { pc } = session;
    void reader.follow((health) => (pc.connectionState === 'closed' ? reading.abort() : onHealth(health)), reading.signal).catch(() => undefined);
  }

  override async stop(): Promise<void> {
    this.#reading?.abort();
    await super.stop();
  }

  protected override prepare(pc: RTCPeerConnection): void {
    this.#stereo = hasTwoChannels(this.#media);
    for (const track of this.#media.getTracks()) {
      const video = track.kind === 'video';
      const maxBitrate = video ? this.options.maxVideoBitrate : this.options.maxAudioBitrate;
      pc.addTransceiver(track, {
        direction: 'sendonly',
        streams: [this.#media],
        sendEncodings: video && this.options.simulcast === true ? layers(maxBitrate) : [bounded({}, maxBitrate)],
      });
    }
  }

  /** Where there are two channels to send: one alone is not to be sent twice. */
  protected override stereo(): boolean {
    return this.#stereo;
  }

  protected override judge(problem: HttpProblem): 'retry' | 'final' {
    return problem.passing ? 'retry' : 'final';
  }

  protected override headers(): Record<string, string> {
    return this.options.exclusive === true ? { 'if-none-match': '*' } : {};
  }
}

/** Smallest first, as browsers begin with it. Bits go with the area, and a small picture needs more of them for each dot. */
function layers(maxBitrate: number | undefined): RTCRtpEncodingParameters[] {
  const sizes: [rid: string, scaleResolutionDownBy: number, share: number][] = [
    ['q', 4, 0.1],
    ['h', 2, 0.3],
    ['f', 1, 1],
  ];
  return sizes.map(([rid, scaleResolutionDownBy, share]) =>
    bounded({ rid, scaleResolutionDownBy }, maxBitrate === undefined ? undefined : Math.round(maxBitrate * share)),
  );
}

function bounded(encoding: RTCRtpEncodingParameters, maxBitrate: number | undefined): RTCRtpEncodingParameters {
  return maxBitrate === undefined ? encoding : { ...encoding, maxBitrate };
}
