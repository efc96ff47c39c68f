import { describe, expect, it } from 'vitest';
import { SseParser, type ServerEvent } from '../src/client/sse';

const all = (chunks: string[]): ServerEvent[] => {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.feed(chunk));
};

describe('the event stream parser', () => {
  it('joins data lines, takes names and ids, and leaves out comments', () => {
    expect(all([': keep-alive\n\nevent: chat\nid: 7\ndata: one\ndata:two\ndata\n\n'])).toEqual([{ event: 'chat', data: 'one\ntwo\n', id: '7' }]);
  });

  it('knows every line ending', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      expect(all([`event: a${end}data: 1${end}${end}data: 2${end}${end}`])).toEqual([
        { event: 'a', data: '1', id: '' },
        { event: 'message', data: '2', id: '' },
      ]);
    }
  });

  it('gives the same events wherever the stream is cut', () => {
    const text = '\uFEFFretry: 10\r\n: hi\r\nid: 1\r\nevent: chat\r\ndata: {"a":\r\ndata: 2}\r\n\r\nevent: x\r\n\r\ndata: ü — ok\r\n\r\n';
    const whole = all([text]);
    expect(whole).toEqual([
      { event: 'chat', data: '{"a":\n2}', id: '1' },
      { event: 'message', data: 'ü — ok', id: '1' },
    ]);
    for (let first = 0; first <= text.length; first += 1) {
      for (let second = first; second <= text.length; second += 3) {
        expect(all([text.slice(0, first), text.slice(first, second), text.slice(second)])).toEqual(whole);
      }
    }
    expect(all([...text])).toEqual(whole);
  });

  it('keeps the last id, and lets an empty one clear it', () => {
    expect(all(['id: 4\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0y\ndata: d\n\n']).map(({ id }) => id)).toEqual(['4', '4', '', '']);
  });

  it('takes off one space after the colon, and no more', () => {
    expect(all(['data:  two\n\ndata:none\n\n']).map(({ data }) => data)).toEqual([' two', 'none']);
  });

  it('does not emit what is not finished', () => expect(all(['data: half\n'])).toEqual([]));

  it('reads the time to wait', () => {
    const parser = new SseParser();
    parser.feed('retry: 2500\nretry: soon\n');
    expect(parser.retryMs).toBe(2500);
  });

  it('refuses a line without end', () => {
    const parser = new SseParser();
    expect(() => parser.feed('x'.repeat(300_000))).toThrow(/without end/);
  });
});
