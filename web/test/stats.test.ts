import { describe, expect, it } from 'vitest';
import { digest } from '../src/client/stats';

describe('figures', () => {
  it('are rates between two samples of what is received', () => {
    const at = (timestamp: number, bytesReceived: number, packetsReceived: number, packetsLost: number) => [
      { type: 'inbound-rtp', kind: 'video', timestamp, bytesReceived, packetsReceived, packetsLost, framesDecoded: timestamp / 40, frameWidth: 640, frameHeight: 360, codecId: 'c' },
      { type: 'inbound-rtp', kind: 'audio', timestamp, bytesReceived: 0, packetsReceived: 0, packetsLost: 0, audioLevel: 0.25 },
      { type: 'codec', id: 'c', mimeType: 'video/VP8' },
      { type: 'transport', srtpCipher: 'AEAD_AES_128_GCM' },
      { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.02 },
    ];
    const first = digest(at(1000, 0, 0, 0), 'inbound', null);
    expect(first.figures).toMatchObject({ bitrate: 0, loss: 0 });
    const { figures } = digest(at(3000, 250_000, 90, 10), 'inbound', first.sample);
    expect(figures).toMatchObject({ bitrate: 1_000_000, loss: 0.1, fps: 25, width: 640, height: 360, videoCodec: 'VP8', cipher: 'AEAD_AES_128_GCM', audioLevel: 0.25, rttMs: 20 });
  });

  it('take loss and round trip of what is sent from the other end', () => {
    const at = (timestamp: number, packetsSent: number, packetsLost: number) => [
      { type: 'outbound-rtp', kind: 'video', timestamp, bytesSent: packetsSent * 1000, packetsSent, framesPerSecond: 30 },
      { type: 'remote-inbound-rtp', kind: 'video', packetsLost, roundTripTime: 0.045 },
    ];
    const first = digest(at(0, 100, 2), 'outbound', null);
    const { figures } = digest(at(1000, 300, 12), 'outbound', first.sample);
    expect(figures).toMatchObject({ bitrate: 1_600_000, loss: 0.05, rttMs: 45, fps: 30 });
  });

  it('do not go below zero when counters start over', () => {
    const stat = (timestamp: number, value: number) => [{ type: 'inbound-rtp', kind: 'audio', timestamp, bytesReceived: value, packetsReceived: value, packetsLost: value }];
    const { figures } = digest(stat(2000, 1), 'inbound', digest(stat(1000, 500), 'inbound', null).sample);
    expect(figures.bitrate).toBe(0);
    expect(figures.loss).toBe(0);
  });
});
