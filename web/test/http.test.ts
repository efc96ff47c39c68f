import { describe, expect, it } from 'vitest';
import { HttpProblem, iceServersOf, parseLinkHeader, parseProblem, parseRetryAfter, readProblem, request, resolveLocation } from '../src/client/http';

describe('Link', () => {
  it('reads ICE servers, with commas and quotes inside values', () => {
    const links = parseLinkHeader(
      '<stun:stun.example.net>; rel="ice-server", <turn:turn.example.net?transport=udp>; rel="ice-server"; username="1700:me, you; \\"x\\""; credential="a=b"; credential-type="password",</next>;rel=next',
    );
    expect(links.map(({ uri }) => uri)).toEqual(['stun:stun.example.net', 'turn:turn.example.net?transport=udp', '/next']);
    expect(iceServersOf(links)).toEqual([
      { urls: 'stun:stun.example.net' },
      { urls: 'turn:turn.example.net?transport=udp', username: '1700:me, you; "x"', credential: 'a=b' },
    ]);
  });

  it('leaves out TURN without credentials and URIs that are no ICE servers', () => {
    expect(iceServersOf(parseLinkHeader('<turns:t.example>; rel=ice-server, <https://x.example>; rel=ice-server'))).toEqual([]);
  });

  it.each([null, '', 'nonsense', '<unclosed', ',,,', '<a'])('makes nothing of %j', (value) => expect(parseLinkHeader(value)).toEqual([]));

  it('goes on after a parameter that it does not understand', () => {
    expect(parseLinkHeader('<a>; "odd", <b>; rel=x').map(({ uri }) => uri)).toEqual(['a', 'b']);
  });
});

describe('Location', () => {
  it.each([
    ['/sessions/n/1/s', 'https://h.example/whip/r', 'https://h.example/sessions/n/1/s'],
    ['/pre/sessions/n/1/s', 'https://h.example/pre/whip/r', 'https://h.example/pre/sessions/n/1/s'],
    ['../sessions/n/1/s', 'https://h.example/pre/whip/r', 'https://h.example/pre/sessions/n/1/s'],
    ['sessions/1', 'http://h.example:8080/pre/whip/r?identity=a', 'http://h.example:8080/pre/whip/sessions/1'],
    ['https://other.example/s', 'http://h.example/whip/r', 'https://other.example/s'],
    ['//other.example/s', 'https://h.example/whip/r', 'https://other.example/s'],
  ])('%s of %s is %s', (location, requested, expected) => expect(resolveLocation(location, requested)).toBe(expected));

  it.each([null, '', '  '])('must be there (%j)', (value) => expect(() => resolveLocation(value, 'https://h.example/')).toThrow(/Location/));
  it.each(['http://h.example/s', 'ftp://h.example/s', 'javascript:alert(1)'])('does not lead from https to %s', (value) => {
    expect(() => resolveLocation(value, 'https://h.example/')).toThrow(HttpProblem);
  });
});

describe('Retry-After', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  it.each([
    ['3', 3_000],
    [' 0 ', 0],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Thu, 01 Jan 2025 00:00:30 GMT', 0],
    ['99999999', 600_000],
    ['soon', null],
    ['-4', null],
    [null, null],
  ])('%j is %j ms', (value, expected) => {
    const ms = parseRetryAfter(value, now);
    // Engines differ on what they take for a date; a past one is no wait.
    if (value === '-4') expect(ms === null || ms === 0).toBe(true);
    else expect(ms).toBe(expected);
  });
});

describe('problems', () => {
  it('carry title, detail and reason of RFC 9457', () => {
    const problem = parseProblem(503, 'application/problem+json; charset=utf-8', '{"title":"Full","detail":"Come back later.","reason":"over-capacity","status":503}', 2000);
    expect(problem).toMatchObject({ status: 503, title: 'Full', message: 'Come back later.', reason: 'over-capacity', retryAfterMs: 2000, passing: true });
  });

  it.each([
    ['application/problem+json', '{"title":'],
    ['application/problem+json', 'null'],
    ['application/json', '{"title":7}'],
    ['text/html', '<h1>Bad gateway</h1>'],
    ['', ''],
  ])('have words all the same for %s %j', (type, body) => {
    const problem = parseProblem(502, type, body);
    expect(problem.title).toBe('The server answered 502');
    expect(problem.message).not.toContain('<');
  });

  it('take plain text as detail', () => expect(parseProblem(400, 'text/plain', ' no \n').message).toBe('no'));
  it.each([
    [401, false],
    [403, false],
    [409, false],
    [422, false],
    [429, true],
    [500, true],
    [0, true],
  ])('of status %i pass by themselves: %j', (status, passing) => expect(parseProblem(status, '', '').passing).toBe(passing));

  it('send who came with a ticket that was refused back for another, and nobody else', () => {
    const refused = (reason: string) => parseProblem(401, 'application/problem+json', JSON.stringify({ reason }));
    expect([refused('ticket-refused').passing, refused('token-invalid').passing]).toEqual([true, false]);
  });

  it('are read from a response with its Retry-After', async () => {
    const response = new Response('{"detail":"Slow down."}', { status: 429, headers: { 'content-type': 'application/problem+json', 'retry-after': '4' } });
    expect(await readProblem(response)).toMatchObject({ message: 'Slow down.', retryAfterMs: 4000 });
  });
});

describe('requests', () => {
  it('carry the token in a header and nowhere else', async () => {
    const seen: { url: string; headers: Headers }[] = [];
    const fake = (async (url: string, init: RequestInit) => {
      seen.push({ url, headers: new Headers(init.headers) });
      return new Response(null, { status: 204 });
    }) as typeof fetch;
    await request({ token: () => 'abc', fetch: fake }, 'https://h.example/x');
    await request({ token: () => null, fetch: fake }, 'https://h.example/x');
    expect(seen.map(({ url }) => url)).toEqual(['https://h.example/x', 'https://h.example/x']);
    expect(seen.map(({ headers }) => headers.get('authorization'))).toEqual(['Bearer abc', null]);
  });

  it('do not wait for ever, and tell a caller who gave up from a server that did not answer', async () => {
    const fake = ((_url: string, { signal }: RequestInit) =>
      new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))) as unknown as typeof fetch;
    await expect(request({ fetch: fake }, 'https://h.example/', {}, 20)).rejects.toMatchObject({ status: 0 });
    const abort = new AbortController();
    const left = request({ fetch: fake }, 'https://h.example/', { signal: abort.signal });
    abort.abort();
    await expect(left).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('that do not get through are problems of status 0', async () => {
    const fake = (async () => Promise.reject(new TypeError('failed'))) as unknown as typeof fetch;
    await expect(request({ fetch: fake }, 'https://h.example/')).rejects.toMatchObject({ status: 0, passing: true });
  });
});
