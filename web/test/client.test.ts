import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClientState, Status } from '../src/client/client';
import { WhepClient, type WhepOptions } from '../src/whep';
import { WhipClient } from '../src/whip';

/** As much of a connection as the client touches. ICE and DTLS do what the test says. */
class FakePeer extends EventTarget {
  static all: FakePeer[] = [];
  connectionState = 'new';
  localDescription: { sdp: string } | null = null;
  currentRemoteDescription: { sdp: string } | null = null;
  configuration: RTCConfiguration;
  restarts = 0;
  readonly dtls = Object.assign(new EventTarget(), { state: 'connected' });

  constructor(configuration: RTCConfiguration) {
    super();
    this.configuration = configuration;
    FakePeer.all.push(this);
  }
  addTransceiver(): void {}
  getTransceivers() {
    return [{ sender: { transport: this.dtls, replaceTrack: async () => {} }, receiver: { transport: this.dtls, track: { kind: 'audio' } } }];
  }
  getReceivers() {
    return [{ track: {} }];
  }
  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }
  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }
  async createOffer(options?: RTCOfferOptions) {
    if (options?.iceRestart) this.restarts += 1;
    return { type: 'offer', sdp: OFFER.replace('UFRAG', `u${this.restarts}`) };
  }
  async setLocalDescription(value: { sdp: string }) {
    this.localDescription = value;
  }
  async setRemoteDescription(value: { sdp: string }) {
    this.currentRemoteDescription = value;
    if (autoConnect) this.become('connected');
  }
  become(state: string): void {
    this.connectionState = state;
    this.dispatchEvent(new Event('connectionstatechange'));
  }
  candidate(candidate: string | null, usernameFragment = 'u0'): void {
    this.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate: candidate === null ? null : { candidate, sdpMid: '0', usernameFragment } }));
  }
  close(): void {
    this.connectionState = 'closed';
  }
}

const OFFER = 'v=0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=ice-ufrag:UFRAG\r\na=ice-pwd:pwdpwdpwdpwdpwdpwdpwdpwd\r\n';
const ANSWER = 'v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:srv\r\na=ice-pwd:srvsrvsrvsrvsrvsrvsrvsrv\r\n';
let autoConnect = true;

interface Seen {
  method: string;
  url: string;
  headers: Headers;
  body: string;
}

/** Answers each request with the next answer kept for its method; the last one stays. */
function server(answers: Record<string, (() => Response)[]>) {
  const seen: Seen[] = [];
  const fake = (async (url: string, init: RequestInit) => {
    const method = init.method ?? 'GET';
    seen.push({ method, url, headers: new Headers(init.headers), body: String(init.body ?? '') });
    const list = answers[method] ?? [];
    const answer = list.length > 1 ? list.shift() : list[0];
    if (answer === undefined) throw new TypeError('no network');
    const response = answer();
    Object.defineProperty(response, 'url', { value: url });
    return response;
  }) as typeof fetch;
  return { seen, fake, of: (method: string) => seen.filter((each) => each.method === method) };
}

const created = (headers: Record<string, string> = {}) => (): Response =>
  new Response(ANSWER, { status: 201, headers: { 'content-type': 'application/sdp', location: '/pre/sessions/n/i/s', etag: '"e1"', ...headers } });
const problem = (status: number, reason = '', headers: Record<string, string> = {}) => (): Response =>
  new Response(JSON.stringify({ title: 't', detail: 'd', reason }), { status, headers: { 'content-type': 'application/problem+json', ...headers } });
const empty = (status: number) => (): Response => new Response(null, { status });

const tick = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
let client: WhepClient;

function viewer(answers: Record<string, (() => Response)[]>, more: Partial<WhepOptions> = {}) {
  const net = server(answers);
  const states: ClientState[] = [];
  let last: Status | null = null;
  client = new WhepClient({
    endpoint: 'https://h.example/pre/whep/r',
    token: () => 'tok',
    fetch: net.fake,
    backoff: { baseMs: 100, random: () => 0 },
    onStatus: (status) => {
      states.push(status.state);
      last = status;
    },
    ...more,
  });
  return { ...net, states, last: () => last as Status | null };
}

beforeEach(() => {
  vi.useFakeTimers();
  autoConnect = true;
  FakePeer.all = [];
  vi.stubGlobal('RTCPeerConnection', FakePeer);
  vi.stubGlobal('MediaStream', class {});
});
afterEach(async () => {
  await client?.stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('a session', () => {
  it('opens, uses the ICE servers that the answer names, and ends with DELETE', async () => {
    const net = viewer({ POST: [created({ link: '<stun:s.example>; rel="ice-server"' })], DELETE: [empty(200)] });
    client.start();
    await tick();
    expect(net.states).toEqual(['connecting', 'live']);
    expect(FakePeer.all[0]?.configuration.iceServers).toEqual([{ urls: 'stun:s.example' }]);
    expect(net.of('POST')[0]?.headers.get('content-type')).toBe('application/sdp');
    await client.stop();
    expect(net.of('DELETE')[0]).toMatchObject({ url: 'https://h.example/pre/sessions/n/i/s' });
    expect(net.seen.every(({ headers, url }) => headers.get('authorization') === 'Bearer tok' && !url.includes('tok'))).toBe(true);
    expect(client.status).toMatchObject({ state: 'ended', reason: 'stopped' });
  });

  it('of a viewer is offered in stereo, and described here as it was offered', async () => {
    const net = viewer({ POST: [created()] });
    client.start();
    await tick();
    expect(net.of('POST')[0]?.body).toContain('a=fmtp:111 minptime=10;stereo=1\r\n');
    expect(FakePeer.all[0]?.localDescription?.sdp).toBe(net.of('POST')[0]?.body);
  });

  it('trickles a burst of candidates in one PATCH with its ETag, and none of an older generation', async () => {
    const net = viewer({ POST: [created()], PATCH: [empty(204)] });
    client.start();
    await tick();
    FakePeer.all[0]?.candidate('candidate:1 1 udp 1 192.0.2.1 9 typ host');
    FakePeer.all[0]?.candidate('candidate:2 1 udp 1 192.0.2.1 9 typ host', 'other');
    FakePeer.all[0]?.candidate(null);
    await tick(100);
    const [patch, ...others] = net.of('PATCH');
    expect(others).toHaveLength(0);
    expect(patch?.headers.get('if-match')).toBe('"e1"');
    expect(patch?.headers.get('content-type')).toBe('application/trickle-ice-sdpfrag');
    expect(patch?.body).toContain('a=candidate:1');
    expect(patch?.body).not.toContain('a=candidate:2');
    expect(patch?.body).toContain('a=end-of-candidates');
  });

  it('stops to trickle where the server does not', async () => {
    const net = viewer({ POST: [created()], PATCH: [empty(405)] });
    client.start();
    await tick();
    for (const number of [1, 2]) {
      FakePeer.all[0]?.candidate(`candidate:${number} 1 udp 1 192.0.2.1 9 typ host`);
      await tick(100);
    }
    expect(net.of('PATCH')).toHaveLength(1);
  });

  it('is given back when its answer cannot be used', async () => {
    const net = viewer({ POST: [created()], DELETE: [empty(200)] });
    vi.spyOn(FakePeer.prototype, 'setRemoteDescription').mockRejectedValueOnce(new Error('bad SDP'));
    client.start();
    await tick();
    expect(net.of('DELETE')).toHaveLength(1);
    expect(net.last()).toMatchObject({ state: 'ended', problem: { message: 'bad SDP' } });
  });

  it('that never carries media is given back and tried again', async () => {
    autoConnect = false;
    const net = viewer({ POST: [created()], DELETE: [empty(200)] });
    client.start();
    await tick(15_100);
    expect(net.of('DELETE')).toHaveLength(1);
    expect(net.last()?.problem?.message).toMatch(/UDP/);
    await tick(200);
    expect(net.of('POST')).toHaveLength(2);
  });
});

describe('a refused join', () => {
  it.each([401, 403, 404, 422])('with %i is final', async (status) => {
    const net = viewer({ POST: [problem(status)] });
    client.start();
    await tick(60_000);
    expect(net.states).toEqual(['connecting', 'ended']);
    expect(net.last()).toMatchObject({ reason: 'refused', problem: { status } });
  });

  it.each([
    ['over-capacity', 'waiting'],
    ['draining', 'reconnecting'],
  ])('with 503 for %s comes back after Retry-After, not before, and calls it %s', async (reason, state) => {
    const net = viewer({ POST: [problem(503, reason, { 'retry-after': '4' }), created()] });
    client.start();
    await tick(3_999);
    expect(net.of('POST')).toHaveLength(1);
    await tick(10);
    expect(net.states).toEqual(['connecting', state, state, 'live']);
  });

  it('with 409 waits for the host, and Retry-After decides where no room does', async () => {
    const net = viewer({ POST: [problem(409, 'no-publisher', { 'retry-after': '2' }), created()] });
    client.start();
    await tick(1_999);
    expect(net.states).toEqual(['connecting', 'waiting']);
    await tick(600);
    expect(net.states).toEqual(['connecting', 'waiting', 'connecting', 'live']);
  });

  it('with 409 asks again when the room says so', async () => {
    let wake = (): void => undefined;
    const net = viewer({ POST: [problem(409), created()] }, { waitForHost: () => new Promise<void>((resolve) => void (wake = resolve)) });
    client.start();
    await tick(600_000);
    expect(net.of('POST')).toHaveLength(1);
    wake();
    await tick(200);
    expect(net.last()?.state).toBe('live');
  });

  it('without a network tries again, ever slower', async () => {
    const net = viewer({});
    client.start();
    await tick(60_000);
    const tries = net.of('POST').length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(20);
  });
});

describe('a lost connection', () => {
  it('is left alone when it comes back by itself', async () => {
    const net = viewer({ POST: [created()] });
    client.start();
    await tick();
    FakePeer.all[0]?.become('disconnected');
    await tick(1_000);
    FakePeer.all[0]?.become('connected');
    await tick(10_000);
    expect(net.seen.map(({ method }) => method)).toEqual(['POST']);
  });

  it('restarts ICE on a session that lives', async () => {
    const fragment = (): Response => new Response('a=ice-ufrag:new\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n', { status: 200, headers: { etag: '"e2"' } });
    const net = viewer({ POST: [created()], GET: [empty(200)], PATCH: [fragment, empty(204)] });
    client.start();
    await tick();
    FakePeer.all[0]?.become('failed');
    await tick(10);
    expect(net.of('PATCH')[0]?.headers.get('if-match')).toBe('"*"');
    expect(net.of('PATCH')[0]?.body).toContain('a=ice-ufrag:u1');
    expect(FakePeer.all[0]?.currentRemoteDescription?.sdp).toContain('a=ice-ufrag:new');
    expect(net.states).toEqual(['connecting', 'live', 'reconnecting', 'live']);
    // A browser decodes by the description in force, which is the restart's.
    expect(FakePeer.all[0]?.localDescription?.sdp).toMatch(/a=fmtp:111 minptime=10;stereo=1\r\na=ice-ufrag:u1/);
    FakePeer.all[0]?.candidate('candidate:1 1 udp 1 192.0.2.1 9 typ host', 'u1');
    await tick(100);
    expect(net.of('PATCH')[1]?.headers.get('if-match')).toBe('"e2"');
  });

  it('opens another session when the server refuses the restart', async () => {
    const net = viewer({ POST: [created()], GET: [empty(204)], PATCH: [problem(412)], DELETE: [empty(200)] });
    client.start();
    await tick();
    FakePeer.all[0]?.become('failed');
    await tick(200);
    expect(net.of('POST')).toHaveLength(2);
    expect(net.of('DELETE')).toHaveLength(1);
    expect(net.last()?.state).toBe('live');
  });

  it('opens another session when the old one is gone', async () => {
    const net = viewer({ POST: [created()], GET: [problem(404, 'drained')] });
    client.start();
    await tick();
    FakePeer.all[0]?.become('failed');
    await tick(200);
    expect(net.of('POST')).toHaveLength(2);
    expect(net.of('DELETE')).toHaveLength(0);
    expect(net.last()?.state).toBe('live');
  });

  it.each(['taken-over', 'revoked'])('is final when the session was %s, and seen at once when DTLS closes', async (reason) => {
    const net = viewer({ POST: [created()], GET: [problem(404, reason)] });
    client.start();
    await tick();
    const peer = FakePeer.all[0];
    if (peer) peer.dtls.state = 'closed';
    peer?.dtls.dispatchEvent(new Event('statechange'));
    await tick(60_000);
    expect(net.last()).toMatchObject({ state: 'ended', reason });
    expect(net.of('POST')).toHaveLength(1);
  });

  it.each([
    ['refused', problem(404)],
    ['accepted, and leads nowhere', () => new Response('a=ice-ufrag:new\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n', { status: 200 })],
  ])('is final too when the takeover comes between the question and an ICE restart that is %s', async (_how, restart) => {
    const net = viewer({ POST: [created()], GET: [empty(204), problem(404, 'taken-over')], PATCH: [restart], DELETE: [empty(200)] });
    client.start();
    await tick();
    autoConnect = false;
    FakePeer.all[0]?.become('failed');
    await tick(60_000);
    expect(net.last()).toMatchObject({ state: 'ended', reason: 'taken-over' });
    expect(net.of('POST')).toHaveLength(1);
  });

  it('waits for the network before it decides anything', async () => {
    const answers: Record<string, (() => Response)[]> = { POST: [created()] };
    const net = viewer(answers);
    client.start();
    await tick();
    FakePeer.all[0]?.become('failed');
    await tick(20_000);
    expect(net.of('POST')).toHaveLength(1);
    expect(net.last()?.state).toBe('reconnecting');
    answers['GET'] = [problem(404, 'ice-timeout')];
    await tick(10_000);
    expect(net.last()?.state).toBe('live');
  });

  it('is asked after when the page hears that something changed, and left alone when all is well', async () => {
    const net = viewer({ POST: [created()], GET: [empty(200)] });
    client.start();
    await tick();
    client.check();
    await tick(100);
    expect(net.of('GET')).toHaveLength(1);
    expect(net.of('PATCH')).toHaveLength(0);
    expect(net.last()?.state).toBe('live');
    client.check();
    await tick(100);
    expect(net.of('GET')).toHaveLength(2);
  });
});

describe('a publisher', () => {
  it('asks not to take over where it is told to, and 409 is final for it', async () => {
    const net = server({ POST: [problem(409)] });
    const whip = new WhipClient({ getTracks: () => [] } as unknown as MediaStream, { endpoint: 'https://h.example/whip/r', fetch: net.fake, exclusive: true });
    whip.start();
    await tick(30_000);
    expect(net.of('POST')).toHaveLength(1);
    expect(net.of('POST')[0]?.headers.get('if-none-match')).toBe('*');
    expect(whip.status).toMatchObject({ state: 'ended', reason: 'refused' });
  });

  it('offers stereo where its sound has two channels, and opens another session where that comes later', async () => {
    const sound = (channelCount: number): MediaStream => ({ getTracks: () => [{ kind: 'audio', getSettings: () => ({ channelCount }) }] }) as unknown as MediaStream;
    const net = server({ POST: [created()], DELETE: [empty(200)] });
    const whip = new WhipClient(sound(1), { endpoint: 'https://h.example/whip/r', fetch: net.fake });
    const offered = (): boolean[] => net.of('POST').map(({ body }) => body.includes('stereo=1'));
    whip.start();
    await tick();
    expect(offered()).toEqual([false]);
    await whip.replace(sound(1));
    await tick();
    expect(offered()).toEqual([false]);
    await whip.replace(sound(2));
    await tick();
    expect(offered()).toEqual([false, true]);
    // One channel goes through a session for two.
    await whip.replace(sound(1));
    await whip.replace(sound(2));
    await tick();
    expect(offered()).toEqual([false, true]);
    expect(whip.status.state).toBe('live');
    await whip.stop();
  });

  it('is told how its media arrives while it is live, and not after', async () => {
    const health = (): Response => Response.json({ live: true, tracks: [], warnings: [] });
    const link = '</pre/v1/rooms/r/streams/main/health>; rel="urn:freshet:whip:ext:health"';
    const net = server({ POST: [created({ link })], GET: [health], DELETE: [empty(200)] });
    const told: unknown[] = [];
    const whip = new WhipClient({ getTracks: () => [] } as unknown as MediaStream, { endpoint: 'https://h.example/pre/whip/r', token: () => 'tok', fetch: net.fake, onHealth: (now) => told.push(now) });
    whip.start();
    await tick(3_000);
    expect(net.of('GET').map(({ url }) => url)).toEqual(Array(2).fill('https://h.example/pre/v1/rooms/r/streams/main/health'));
    expect(told).toEqual(Array(2).fill({ live: true, tracks: [], warnings: [] }));
    await whip.stop();
    await tick(30_000);
    expect([net.of('GET').length, told.length]).toEqual([2, 2]);
  });
});
