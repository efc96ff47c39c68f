import { describe, expect, it } from 'vitest';
import { HttpProblem } from '../src/client/http';
import { bitrate, clock, codec, explain, explainList, millis, seconds, share, since, viewers } from '../src/ui/words';

describe('words', () => {
  it('say numbers shortly', () => {
    expect([bitrate(0), bitrate(96_400), bitrate(2_540_000), bitrate(12_300_000)]).toEqual(['0 kbit/s', '96 kbit/s', '2.5 Mbit/s', '12 Mbit/s']);
    expect([share(0), share(0.0123), share(0.25)]).toEqual(['0.0 %', '1.2 %', '25 %']);
    expect([viewers(0), viewers(1), viewers(1284)]).toEqual(['0 viewers', '1 viewer', '1,284 viewers']);
    expect([clock(-5), clock(65_000), clock(3_845_000)]).toEqual(['0:00', '1:05', '1:04:05']);
    expect([since(20_000), since(720_000), since(4_440_000)]).toEqual(['just started', 'live for 12 min', 'live for 1 h 14 min']);
  });

  it('name codecs and their profiles as people do', () => {
    expect([codec(null, null), codec('VP8', null), codec('opus', null), codec('VP9', '0')]).toEqual(['', 'VP8', 'Opus', 'VP9 profile 0']);
    expect(['42e01f', '42001e', '4d0028', '64001f', '640c1f', 'ffffff', 'odd'].map((profile) => codec('H264', profile))).toEqual([
      'H.264 Constrained Baseline 3.1',
      'H.264 Baseline 3.0',
      'H.264 Main 4.0',
      'H.264 High 3.1',
      'H.264 Constrained High 3.1',
      'H.264 profile ffffff',
      'H.264 profile odd',
    ]);
    expect([millis(0.04), millis(18.2), seconds(2_000), seconds(123_456)]).toEqual(['0.0 ms', '18 ms', '2.0 s', '123 s']);
  });

  it.each([0, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503])('say of a refusal with %i what it is, once', (status) => {
    const { title, detail } = explain(new HttpProblem(status, 'Title', ''));
    expect(title).not.toBe('');
    expect(detail).not.toBe(title);
    expect(explain(new HttpProblem(status, 'Title', 'Title')).detail).not.toBe('Title');
  });

  it('keep talk of tokens from people', () => {
    for (const status of [401, 403]) expect(explain(new HttpProblem(status, 't', 'send Authorization: Bearer')).detail).not.toContain('Bearer');
  });

  it('say of a list that is closed that a token is needed, not that it is away', () => {
    for (const status of [401, 403]) {
      const text = explainList(new HttpProblem(status, 't', 'send Authorization: Bearer'));
      expect(text).toContain('token is needed');
      expect(text).not.toMatch(/away|Bearer/);
    }
    expect(explainList(new HttpProblem(0, 't', ''))).toContain('is away');
  });
});
