/**
 * One WHIP or WHEP session: the POST that opens it, the trickle of candidates, an ICE restart, the
 * question whether it still lives, and the DELETE. RFC 9725 for both; who reconnects, when, and
 * what a refusal means to a person is decided a floor above, in `client.ts`.
 */
import { HttpProblem, iceServersOf, parseLinkHeader, readProblem, request, resolveLocation, type HttpContext } from './http';
import { withStereo } from './opus';
import { applyRestart, buildFragment, credentialsOf, type LocalCandidate } from './sdpfrag';

const SDP = 'application/sdp';
const FRAGMENT = 'application/trickle-ice-sdpfrag';
/** Candidates come in bursts; one PATCH carries a burst. */
const TRICKLE_MS = 40;
/** Whoever leaves, or opens another session, does not wait long for the old one. */
const CLOSE_MS = 3_000;
const MAX_SDP_CHARS = 262_144;

/** What a session URL says about its session. */
export type Probe = { alive: true } | { alive: false; reason: string; detail: string };

export interface OpenOptions extends HttpContext {
  endpoint: string;
  signal: AbortSignal;
  /** ICE servers known before the answer names its own. */
  iceServers: RTCIceServer[];
  headers?: Record<string, string>;
  /** Whether sound is offered in stereo. */
  stereo: boolean;
}

export class MediaSession {
  readonly url: string;
  readonly pc: RTCPeerConnection;
  /** The `Link` header of the answer: extensions, ICE servers. */
  readonly link: string | null;
  readonly #context: HttpContext;
  readonly #stereo: boolean;
  #etag: string | null;
  #waiting: LocalCandidate[] = [];
  #complete = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #patches: Promise<void> = Promise.resolve();
  #trickles = true;
  #closed = false;

  private constructor(pc: RTCPeerConnection, options: OpenOptions, url: string, headers: Headers) {
    this.pc = pc;
    this.link = headers.get('link');
    this.#context = options;
    this.#stereo = options.stereo;
    this.url = url;
    this.#etag = headers.get('etag');
    pc.addEventListener('icecandidate', ({ candidate }) => this.#offerCandidate(candidate));
  }

  /**
   * Sends the offer before gathering starts: the answer's `Link` headers then name the ICE servers
   * in time, and no join waits for a slow STUN server.
   */
  static async open(pc: RTCPeerConnection, options: OpenOptions): Promise<MediaSession> {
    const offer = await makeOffer(pc, options.stereo);
    const response = await request(options, options.endpoint, {
      method: 'POST',
      headers: { 'content-type': SDP, accept: SDP, ...options.headers },
      body: offer.sdp,
      signal: options.signal,
    });
    if (response.status !== 201) throw await refusal(response);
    const url = resolveLocation(response.headers.get('location'), response.url || new URL(options.endpoint, location.href).href);
    const session = new MediaSession(pc, options, url, response.headers);
    try {
      const answer = await response.text();
      if (answer.length > MAX_SDP_CHARS) throw new HttpProblem(502, 'The answer is too large', 'The server answered an SDP of more than 256 kB.');
      const named = iceServersOf(parseLinkHeader(session.link));
      if (named.length > 0) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: [...named, ...options.iceServers] });
      await pc.setLocalDescription(offer);
      await pc.setRemoteDescription({ type: 'answer', sdp: answer });
      options.signal.throwIfAborted();
      return session;
    } catch (error) {
      // The server holds a session that nobody will use: give it back.
      await session.close();
      throw error;
    }
  }

  #offerCandidate(candidate: RTCIceCandidate | null): void {
    if (!this.#trickles || this.#closed) return;
    if (candidate === null || candidate.candidate === '') {
      this.#complete = true;
    } else {
      // A candidate of an older ICE generation is of no use to anybody.
      const current = credentialsOf(this.pc.localDescription?.sdp ?? '');
      if (candidate.usernameFragment && current && candidate.usernameFragment !== current.ufrag) return;
      this.#waiting.push({ candidate: candidate.candidate, sdpMid: candidate.sdpMid });
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#patches = this.#patches.then(() => this.#trickle()).catch(() => undefined);
    }, TRICKLE_MS);
  }

  async #trickle(): Promise<void> {
    const sdp = this.pc.localDescription?.sdp;
    if (this.#closed || !this.#trickles || !sdp || (this.#waiting.length === 0 && !this.#complete)) return;
    const candidates = this.#waiting;
    this.#waiting = [];
    const headers: Record<string, string> = { 'content-type': FRAGMENT };
    if (this.#etag !== null) headers['if-match'] = this.#etag;
    const response = await request(this.#context, this.url, {
      method: 'PATCH',
      headers,
      body: buildFragment(sdp, candidates, this.#complete),
    });
    this.#complete = false;
    // 405 and 501: this server does not trickle, and finds us by our checks. Others concern one
    // batch alone: the session is asked after when its connection is lost.
    if (response.status === 405 || response.status === 501) this.#trickles = false;
  }

  /** Restarts ICE on the same session, with what `If-Match: "*"` stands for. */
  async restart(signal: AbortSignal): Promise<void> {
    await this.#patches;
    const remote = this.pc.currentRemoteDescription?.sdp;
    if (this.#closed || !remote) throw new Error('there is nothing to restart');
    // A browser writes each offer anew, without what was added to the one before.
    const offer = await makeOffer(this.pc, this.#stereo, { iceRestart: true });
    const response = await request(this.#context, this.url, {
      method: 'PATCH',
      headers: { 'content-type': FRAGMENT, 'if-match': '"*"' },
      body: buildFragment(offer.sdp, [], false),
      signal,
    });
    if (response.status !== 200) throw await refusal(response);
    this.#etag = response.headers.get('etag') ?? this.#etag;
    const answer = applyRestart(remote, await response.text());
    this.#waiting = [];
    this.#complete = false;
    await this.pc.setLocalDescription(offer);
    await this.pc.setRemoteDescription({ type: 'answer', sdp: answer });
  }

  /** Asks the session's URL whether the session lives; a network failure is thrown. */
  async probe(signal: AbortSignal): Promise<Probe> {
    const response = await request(this.#context, this.url, { method: 'GET', signal });
    if (response.ok) return { alive: true };
    const problem = await readProblem(response);
    if (response.status === 404 || response.status === 410) {
      return { alive: false, reason: problem.reason ?? 'closed', detail: problem.message };
    }
    // A server that does not answer GET on sessions says nothing about this one.
    if (response.status === 405 || response.status === 501) return { alive: true };
    throw problem;
  }

  /** Ends the session here and at the server. Never throws, and outlives the page (`keepalive`). */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.pc.close();
    try {
      await request(this.#context, this.url, { method: 'DELETE', keepalive: true }, CLOSE_MS);
    } catch {
      // The server notices by itself, a few seconds later.
    }
  }

  /** Lets go of a session that the server has ended already. */
  abandon(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.pc.close();
  }
}

async function makeOffer(pc: RTCPeerConnection, stereo: boolean, options?: RTCOfferOptions): Promise<{ type: 'offer'; sdp: string }> {
  const { sdp = '' } = await pc.createOffer(options);
  return { type: 'offer', sdp: stereo ? withStereo(sdp) : sdp };
}

async function refusal(response: Response): Promise<HttpProblem> {
  if (response.ok) {
    await response.body?.cancel();
    return new HttpProblem(502, 'The server did not open a session', `It answered ${response.status} where 201 opens one.`);
  }
  return readProblem(response);
}
