/**
 * The HTTP vocabulary that WHIP, WHEP and the room API share: problem details (RFC 9457),
 * `Link` (RFC 8288), `Retry-After`, and a `Location` that may be relative.
 */

/** Yields the bearer token to send, or nothing. Tokens travel in headers alone, never in a URL. */
export type TokenSource = () => string | null | undefined;

export interface HttpContext {
  token?: TokenSource | undefined;
  fetch?: typeof fetch | undefined;
}

/** A refusal by the server, or by the network on the way to it (`status` 0). */
export class HttpProblem extends Error {
  readonly status: number;
  readonly title: string;
  readonly reason: string | null;
  readonly retryAfterMs: number | null;
  /** The server's clock, where it says so because the request's time was off. */
  readonly nowMs: number | null;

  constructor(status: number, title: string, detail: string, reason: string | null = null, retryAfterMs: number | null = null, nowMs: number | null = null) {
    super(detail || title);
    this.name = 'HttpProblem';
    this.status = status;
    this.title = title;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
    this.nowMs = nowMs;
  }

  /** Whether the same request may succeed later without anybody doing anything. */
  get passing(): boolean {
    // A ticket that a node does not take says nothing about who comes: the server that gave it gives another.
    const ticket = this.status === 401 && this.reason === 'ticket-refused';
    return ticket || this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Whether every place of the cluster is taken: nothing is broken, and there may be one soon. */
  get full(): boolean {
    return this.status === 503 && this.reason === 'over-capacity';
  }
}

const TITLES: Record<number, string> = {
  0: 'The server cannot be reached',
  400: 'The server did not understand the request',
  401: 'A valid access token is needed',
  403: 'This access token does not allow that',
  404: 'Nothing is there',
  409: 'Not possible right now',
  413: 'That is too large',
  422: 'Browser and server have no format in common',
  429: 'Too many requests',
  503: 'The server is busy',
};

const MAX_PROBLEM_BYTES = 16_384;

/** Reads what a refusal says, whatever shape its body has. */
export async function readProblem(response: Response, now: number = Date.now()): Promise<HttpProblem> {
  let body = '';
  try {
    body = (await response.text()).slice(0, MAX_PROBLEM_BYTES);
  } catch {
    // The status alone has to do.
  }
  const retry = parseRetryAfter(response.headers.get('retry-after'), now);
  return parseProblem(response.status, response.headers.get('content-type') ?? '', body, retry);
}

export function parseProblem(status: number, contentType: string, body: string, retryAfterMs: number | null = null): HttpProblem {
  const fallback = TITLES[status] ?? `The server answered ${status}`;
  if (/\bjson\b/i.test(contentType)) {
    try {
      const value: unknown = JSON.parse(body);
      if (value !== null && typeof value === 'object') {
        const { title, detail, reason, now_ms } = value as Record<string, unknown>;
        return new HttpProblem(
          status,
          text(title) ?? fallback,
          text(detail) ?? '',
          text(reason) ?? null,
          retryAfterMs,
          typeof now_ms === 'number' ? now_ms : null,
        );
      }
    } catch {
      // Not JSON after all.
    }
  }
  const plain = /^text\/plain\b/i.test(contentType) ? body.trim().slice(0, 300) : '';
  return new HttpProblem(status, fallback, plain, null, retryAfterMs);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** `Retry-After` as seconds or as a date, in milliseconds from now; at most ten minutes. */
export function parseRetryAfter(value: string | null, now: number = Date.now()): number | null {
  if (value === null) return null;
  const trimmed = value.trim();
  const ms = /^\d+$/.test(trimmed) ? Number(trimmed) * 1000 : Date.parse(trimmed) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 600_000) : null;
}

/**
 * A session's URL. `Location` may be absolute or relative to the URL that answered; a step down
 * from https to http is refused, since the bearer token goes there.
 */
export function resolveLocation(location: string | null, requestUrl: string): string {
  if (location === null || location.trim() === '') {
    throw new HttpProblem(
      502,
      'The server named no session',
      'The answer has no Location header. If the page comes from another origin, the server must expose Location to it.',
    );
  }
  const url = new URL(location.trim(), requestUrl);
  const from = new URL(requestUrl);
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && from.protocol === 'http:');
  if (!secure) {
    throw new HttpProblem(502, 'The server named an unsafe session', `It answered a Location of ${url.protocol}//${url.host}, and this page will not send its access there.`);
  }
  return url.href;
}

export interface Link {
  uri: string;
  params: Map<string, string>;
}

/** Parses `Link` (RFC 8288): several links, quoted values that may hold commas and semicolons. */
export function parseLinkHeader(value: string | null): Link[] {
  const links: Link[] = [];
  let rest = value ?? '';
  for (;;) {
    const open = /^[\s,]*<([^>]*)>/.exec(rest);
    if (open === null) return links;
    rest = rest.slice(open[0].length);
    const params = new Map<string, string>();
    for (;;) {
      const param = /^\s*;\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;,"]*)))?/.exec(rest);
      if (param === null) break;
      rest = rest.slice(param[0].length);
      const name = (param[1] ?? '').toLowerCase();
      const quoted = param[2]?.replace(/\\(.)/g, '$1');
      if (!params.has(name)) params.set(name, quoted ?? param[3] ?? '');
    }
    links.push({ uri: open[1] ?? '', params });
    // Whatever this parameter grammar does not know is skipped up to the next link.
    const comma = rest.indexOf(',');
    if (comma < 0) return links;
    rest = rest.slice(comma);
  }
}

/** The STUN and TURN servers that a WHIP or WHEP answer names (RFC 9725, section 4.6). */
export function iceServersOf(links: Link[]): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const { uri, params } of links) {
    if (params.get('rel') !== 'ice-server' || !/^(stuns?|turns?):/i.test(uri)) continue;
    const server: RTCIceServer = { urls: uri };
    const username = params.get('username');
    const credential = params.get('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    // A TURN server without credentials makes RTCPeerConnection throw; it is of no use anyway.
    if (/^turns?:/i.test(uri) && (username === undefined || credential === undefined)) continue;
    servers.push(server);
  }
  return servers;
}

/** Servers try three nodes before they give up on a join; nothing takes longer than that. */
export const PATIENCE_MS = 20_000;

/**
 * Fetches with the bearer token; a network failure, or no answer within `timeoutMs`, becomes a
 * problem of status 0. Streams take `null`: their reader watches over them.
 */
export async function request(context: HttpContext, url: string, init: RequestInit = {}, timeoutMs: number | null = PATIENCE_MS): Promise<Response> {
  const headers = new Headers(init.headers);
  const token = context.token?.();
  if (token) headers.set('authorization', `Bearer ${token}`);
  const limits = [init.signal, timeoutMs === null ? null : AbortSignal.timeout(timeoutMs)].filter((signal) => signal instanceof AbortSignal);
  try {
    return await (context.fetch ?? fetch)(url, { ...init, signal: AbortSignal.any(limits), headers, credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new HttpProblem(0, TITLES[0] ?? '', 'Check the connection; this page goes on trying.');
  }
}
