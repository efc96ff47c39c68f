/**
 * What WHIP and WHEP clients share: one wish ("be connected to this endpoint") kept alive over any
 * number of sessions. The loop opens a session, attends it until it is lost, asks the session's URL
 * what happened, and then repairs it (ICE restart), replaces it, waits, or stops for good.
 */
import { Backoff, delay, type BackoffOptions } from './backoff';
import { HttpProblem, type HttpContext } from './http';
import { MediaSession, type Probe } from './session';

export type ClientState =
  | 'idle'
  /** The first session is on its way. */
  | 'connecting'
  | 'live'
  /** Nobody publishes yet (WHEP), or every place is taken (`problem.full`). */
  | 'waiting'
  /** There was a session, or an attempt failed in passing; the next one is on its way. */
  | 'reconnecting'
  /** Over, and nothing more happens without `start`. */
  | 'ended';

export interface Status {
  state: ClientState;
  /** Why it ended: `stopped`, `taken-over`, `revoked`, `refused`, or what the server said. */
  reason: string | null;
  /** The last refusal or failure, for words. */
  problem: HttpProblem | null;
}

export interface ClientOptions extends HttpContext {
  endpoint: string;
  iceServers?: RTCIceServer[];
  onStatus?: (status: Status) => void;
  backoff?: BackoffOptions;
}

/** A new connection that has not carried a packet by then is given back and tried again. */
const CONNECT_MS = 15_000;
/** ICE often recovers by itself within this time. */
const GRACE_MS = 1_500;
const RESTART_MS = 8_000;
/** After so long on line the next failure starts from the shortest delay again. */
const STEADY_MS = 10_000;

const NO_PATH = new HttpProblem(
  0,
  'No media gets through',
  'The server answered, but no media gets through. A firewall or VPN may block UDP; another network often helps.',
);

type Verdict = 'retry' | 'wait' | 'final';
type Ending = { final: true; reason: string; problem: HttpProblem | null } | { final: false; problem: HttpProblem | null };

export abstract class MediaClient<Options extends ClientOptions = ClientOptions> {
  protected readonly options: Options;
  readonly #backoff: Backoff;
  #run: AbortController | null = null;
  #session: MediaSession | null = null;
  #status: Status = { state: 'idle', reason: null, problem: null };
  #nudge: (() => void) | null = null;

  constructor(options: Options) {
    this.options = options;
    this.#backoff = new Backoff(options.backoff);
  }

  get status(): Status {
    return this.#status;
  }

  /** The connection in use, while there is one. */
  get pc(): RTCPeerConnection | null {
    return this.#session?.pc ?? null;
  }

  get sessionUrl(): string | null {
    return this.#session?.url ?? null;
  }

  /** Adds what is sent or received to a new connection. */
  protected abstract prepare(pc: RTCPeerConnection): void;
  /** A session is connected for the first time. */
  protected connected(_session: MediaSession): void {}
  /** What a refused POST means. */
  protected abstract judge(problem: HttpProblem): Verdict;
  /** Waits for the thing that `judge` called worth waiting for. */
  protected async awaitChange(retryAfterMs: number, signal: AbortSignal): Promise<void> {
    await delay(retryAfterMs, signal);
  }
  protected headers(): Record<string, string> {
    return {};
  }
  /** Whether sound is offered in stereo. Asked after `prepare`. */
  protected abstract stereo(): boolean;

  start(): void {
    if (this.#run !== null) return;
    const run = new AbortController();
    this.#run = run;
    this.#backoff.reset();
    void this.#loop(run.signal).catch((error: unknown) => {
      if (!run.signal.aborted) this.#end('failed', asProblem(error));
    });
  }

  /** Leaves: ends the session here and at the server. */
  async stop(): Promise<void> {
    if (this.#run === null) return;
    const session = this.#session;
    this.#end('stopped', null);
    await session?.close();
  }

  /** Drops the session in use and opens another, with what `prepare` adds now. */
  async reopen(): Promise<void> {
    if (this.#run === null) return;
    this.#run.abort();
    this.#run = null;
    const session = this.#session;
    this.#session = null;
    await session?.close();
    this.start();
  }

  /** Asks the server about the session now: something elsewhere said that it may be over. */
  check(): void {
    this.#nudge?.();
  }

  #set(state: ClientState, problem: HttpProblem | null = null, reason: string | null = null): void {
    this.#status = { state, problem, reason };
    this.options.onStatus?.(this.#status);
  }

  #end(reason: string, problem: HttpProblem | null): void {
    this.#run?.abort();
    this.#run = null;
    this.#session = null;
    this.#set('ended', problem, reason);
  }

  async #loop(signal: AbortSignal): Promise<void> {
    let before = false;
    let problem: HttpProblem | null = null;
    while (!signal.aborted) {
      this.#set(before || problem !== null ? again(problem) : 'connecting', problem);
      const pc = new RTCPeerConnection({ iceServers: this.options.iceServers ?? [], bundlePolicy: 'max-bundle' });
      try {
        this.prepare(pc);
        const session = await MediaSession.open(pc, {
          ...this.options,
          signal,
          iceServers: this.options.iceServers ?? [],
          headers: this.headers(),
          stereo: this.stereo(),
        });
        this.#session = session;
        const ending = await this.#attend(session, signal, () => (before = true));
        if (signal.aborted) return;
        this.#session = null;
        if (ending.final) return this.#end(ending.reason, ending.problem);
        problem = ending.problem;
      } catch (error) {
        pc.close();
        if (signal.aborted) return;
        problem = asProblem(error);
        const verdict = problem.status >= 0 ? this.judge(problem) : 'final';
        if (verdict === 'final') return this.#end('refused', problem);
        if (verdict === 'wait') {
          this.#set('waiting', problem);
          await this.awaitChange(problem.retryAfterMs ?? 5_000, signal);
          problem = null;
          before = false;
          continue;
        }
        this.#set(again(problem), problem);
      }
      await delay(this.#backoff.next(problem?.retryAfterMs ?? 0), signal);
    }
  }

  /** Stays with a session until it is over. */
  async #attend(session: MediaSession, signal: AbortSignal, onLive: () => void): Promise<Ending> {
    const { pc } = session;
    if (!(await waitForState(pc, 'connected', CONNECT_MS, signal))) {
      return this.#giveUp(session, NO_PATH, signal);
    }
    if (!signal.aborted) this.connected(session);
    for (;;) {
      if (signal.aborted) return { final: false, problem: null };
      onLive();
      this.#set('live');
      const since = performance.now();
      await this.#lost(pc, signal);
      if (signal.aborted) return { final: false, problem: null };
      if (performance.now() - since > STEADY_MS) this.#backoff.reset();
      const ending = await this.#diagnose(session, signal);
      if (ending !== null) return ending;
    }
  }

  /** Null when the session lives on. */
  async #diagnose(session: MediaSession, signal: AbortSignal): Promise<Ending | null> {
    const { pc } = session;
    const patience = new Backoff({ baseMs: 500, capMs: 4_000 });
    for (;;) {
      try {
        const probe = await session.probe(signal);
        if (!probe.alive) return over(session, probe);
        if (isHealthy(pc)) return null;
        this.#set('reconnecting');
        await session.restart(signal);
        if (await waitForState(pc, 'connected', RESTART_MS, signal)) return null;
        return await this.#giveUp(session, NO_PATH, signal);
      } catch (error) {
        if (signal.aborted) return { final: false, problem: null };
        if (isHealthy(pc)) return null;
        const problem = asProblem(error);
        this.#set('reconnecting', problem);
        // Without the network there is nobody to ask and nothing to open: ask again. Any other
        // refusal leaves a fresh session as the way out.
        if (problem.status !== 0 || pc.connectionState === 'closed') {
          return this.#giveUp(session, problem, signal);
        }
        await delay(patience.next(), signal);
        if (isHealthy(pc)) return null;
      }
    }
  }

  /**
   * Lets a session go that could not be repaired. It may have been taken over since it was asked after, and
   * whoever was replaced must not fight back: it is asked after once more.
   */
  async #giveUp(session: MediaSession, problem: HttpProblem, signal: AbortSignal): Promise<Ending> {
    if (signal.aborted) return { final: false, problem: null };
    const last = await session.probe(signal).catch(() => null);
    if (last !== null && !last.alive) return over(session, last);
    await session.close();
    return { final: false, problem };
  }

  /** Resolves when the connection looks lost, or when somebody calls `check`. */
  #lost(pc: RTCPeerConnection, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      let grace: ReturnType<typeof setTimeout> | null = null;
      const dtls = transportsOf(pc);
      const done = (): void => {
        if (grace !== null) clearTimeout(grace);
        this.#nudge = null;
        pc.removeEventListener('connectionstatechange', look);
        for (const transport of dtls) transport.removeEventListener('statechange', look);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const look = (): void => {
        if (grace !== null) clearTimeout(grace);
        grace = null;
        // A server that ends a session says so by closing DTLS, long before ICE times out.
        const shut = dtls.some(({ state }) => state === 'closed' || state === 'failed');
        if (shut || pc.connectionState === 'failed' || pc.connectionState === 'closed') done();
        else if (pc.connectionState === 'disconnected') grace = setTimeout(done, GRACE_MS);
      };
      this.#nudge = done;
      pc.addEventListener('connectionstatechange', look);
      for (const transport of dtls) transport.addEventListener('statechange', look);
      signal.addEventListener('abort', done, { once: true });
      look();
    });
  }
}

/** What the end of a session means for the wish. */
function over(session: MediaSession, { reason, detail }: Extract<Probe, { alive: false }>): Ending {
  session.abandon();
  const problem = new HttpProblem(404, 'The session is over', detail, reason);
  return FINAL.includes(reason) ? { final: true, reason, problem } : { final: false, problem };
}

/** Ends that somebody wanted: to come back by oneself would be to fight over it. */
const FINAL = ['taken-over', 'revoked'];

/** What trying again is called. */
function again(problem: HttpProblem | null): ClientState {
  return problem?.full === true ? 'waiting' : 'reconnecting';
}

function transportsOf(pc: RTCPeerConnection): RTCDtlsTransport[] {
  const found = pc.getTransceivers().map(({ sender, receiver }) => sender.transport ?? receiver.transport);
  return [...new Set(found)].filter((transport) => transport !== null);
}

function isHealthy(pc: RTCPeerConnection): boolean {
  return pc.connectionState === 'connected' && transportsOf(pc).every(({ state }) => state === 'connected');
}

/** Whether the state came in time; false at once when it cannot come any more. */
function waitForState(pc: RTCPeerConnection, wanted: RTCPeerConnectionState, ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      pc.removeEventListener('connectionstatechange', look);
      signal.removeEventListener('abort', done);
      resolve(pc.connectionState === wanted);
    };
    const look = (): void => {
      if (pc.connectionState === wanted || pc.connectionState === 'closed') done();
    };
    const timer = setTimeout(done, ms);
    pc.addEventListener('connectionstatechange', look);
    signal.addEventListener('abort', done, { once: true });
    look();
  });
}

/** Errors of the browser itself (a bad SDP, a device that went away) have no status: -1. */
function asProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new HttpProblem(-1, 'The browser could not set up the connection', message);
}
