/**
 * What a person wants of `getStats`: rates and shares over the last interval, from the counters of
 * two samples. Pure apart from the call itself.
 */

export interface Sample {
  atMs: number;
  bytes: number;
  packets: number;
  lost: number;
  frames: number;
}

export interface Figures {
  /** Bits per second, audio and video together. */
  bitrate: number;
  /** Lost share of the packets, 0–1, as the receiving end reports it. */
  loss: number;
  /** Round-trip time in milliseconds, where known. */
  rttMs: number | null;
  fps: number | null;
  width: number;
  height: number;
  /** Level of the audio, 0–1, where the browser knows it. */
  audioLevel: number | null;
  framesDecoded: number;
  audioBytes: number;
  videoCodec: string | null;
  cipher: string | null;
}

type Stat = Record<string, unknown> & { type: string; kind?: string };

const num = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

/** Sums a report and compares it with the sample before; `direction` is the side of the media. */
export function digest(report: Iterable<Stat>, direction: 'inbound' | 'outbound', before: Sample | null): { sample: Sample; figures: Figures } {
  const sample: Sample = { atMs: 0, bytes: 0, packets: 0, lost: 0, frames: 0 };
  const codecs = new Map<string, string>();
  let rttMs: number | null = null;
  let fps: number | null = null;
  let width = 0;
  let height = 0;
  let audioLevel: number | null = null;
  let framesDecoded = 0;
  let audioBytes = 0;
  let videoCodecId = '';
  let cipher: string | null = null;

  for (const stat of report) {
    if (stat.type === `${direction}-rtp`) {
      const bytes = num(stat[direction === 'inbound' ? 'bytesReceived' : 'bytesSent']);
      sample.atMs = Math.max(sample.atMs, num(stat['timestamp']));
      sample.bytes += bytes;
      sample.packets += num(stat[direction === 'inbound' ? 'packetsReceived' : 'packetsSent']);
      if (direction === 'inbound') sample.lost += num(stat['packetsLost']);
      if (stat.kind === 'video') {
        sample.frames += num(stat[direction === 'inbound' ? 'framesDecoded' : 'framesEncoded']);
        framesDecoded += num(stat['framesDecoded']);
        if (typeof stat['framesPerSecond'] === 'number') fps = Math.max(fps ?? 0, stat['framesPerSecond']);
        width = Math.max(width, num(stat['frameWidth']));
        height = Math.max(height, num(stat['frameHeight']));
        videoCodecId = String(stat['codecId'] ?? videoCodecId);
      } else {
        audioBytes += bytes;
        if (typeof stat['audioLevel'] === 'number') audioLevel = stat['audioLevel'];
      }
    } else if (stat.type === 'remote-inbound-rtp' && direction === 'outbound') {
      sample.lost += num(stat['packetsLost']);
      if (typeof stat['roundTripTime'] === 'number') rttMs = stat['roundTripTime'] * 1000;
    } else if (stat.type === 'candidate-pair' && stat['nominated'] === true && typeof stat['currentRoundTripTime'] === 'number') {
      rttMs ??= stat['currentRoundTripTime'] * 1000;
    } else if (stat.type === 'media-source' && direction === 'outbound' && stat.kind === 'audio' && typeof stat['audioLevel'] === 'number') {
      audioLevel = stat['audioLevel'];
    } else if (stat.type === 'codec') {
      codecs.set(String(stat['id']), String(stat['mimeType'] ?? '').replace(/^\w+\//, ''));
    } else if (stat.type === 'transport' && typeof stat['srtpCipher'] === 'string') {
      cipher = stat['srtpCipher'];
    }
  }

  const seconds = before === null ? 0 : (sample.atMs - before.atMs) / 1000;
  const packets = before === null ? 0 : sample.packets - before.packets;
  const lost = before === null ? 0 : Math.max(0, sample.lost - before.lost);
  // Inbound counts what arrived, outbound what was sent, lost ones among them.
  const all = direction === 'inbound' ? packets + lost : packets;
  return {
    sample,
    figures: {
      bitrate: seconds > 0 && before !== null ? Math.max(0, ((sample.bytes - before.bytes) * 8) / seconds) : 0,
      loss: all > 0 ? Math.min(1, lost / all) : 0,
      rttMs,
      fps: fps ?? (seconds > 0 && before !== null && sample.frames > 0 ? (sample.frames - before.frames) / seconds : null),
      width,
      height,
      audioLevel,
      framesDecoded,
      audioBytes,
      videoCodec: codecs.get(videoCodecId) ?? null,
      cipher,
    },
  };
}

/** Reads a connection's figures again and again; forgets its past when the connection changes. */
export class StatsReader {
  #pc: RTCPeerConnection | null = null;
  #before: Sample | null = null;

  async read(pc: RTCPeerConnection, direction: 'inbound' | 'outbound'): Promise<Figures> {
    if (pc !== this.#pc) this.#before = null;
    this.#pc = pc;
    const report = await pc.getStats();
    const { sample, figures } = digest(report.values() as Iterable<Stat>, direction, this.#before);
    this.#before = sample;
    return figures;
  }
}
