/**
 * What every page needs of its surroundings: where Freshet is mounted, the token, the person's
 * name, and the room API.
 */
import { basePath } from './base';
import { readProblem, request, type HttpContext } from './client/http';

export interface Config {
  open: boolean;
  ice_servers: RTCIceServer[];
}

export interface RoomSummary {
  room: string;
  viewers: number;
  streams: { live?: boolean }[];
  started_at_ms?: number;
}

export const base = basePath(location.pathname);

/** A URL of this server, below the prefix under which the page is mounted. */
export function at(path: string, query: Record<string, string | undefined> = {}): string {
  const url = new URL(base + path, location.origin);
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return url.href;
}

const TOKEN_KEY = 'freshet.token';
const NAME_KEY = 'freshet.name';

/**
 * A token comes in the fragment of the page's address, which browsers keep to themselves, and is
 * taken out of it at once, so that it stands in no history and in no copied link.
 */
function readToken(): string | null {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get('token');
  if (given !== null) {
    fragment.delete('token');
    const rest = fragment.toString();
    history.replaceState(history.state, '', location.pathname + location.search + (rest === '' ? '' : `#${rest}`));
    store(sessionStorage, TOKEN_KEY, given);
    return given;
  }
  return recall(sessionStorage, TOKEN_KEY);
}

const token = readToken();
export const hasToken = token !== null;
export const http: HttpContext = { token: () => token };

function recall(storage: Storage, key: string): string | null {
  try {
    return storage.getItem(key);
  } catch {
    return null;
  }
}

function store(storage: Storage, key: string, value: string): void {
  try {
    storage.setItem(key, value);
  } catch {
    // Private windows may refuse; the value lives as long as the page then.
  }
}

let name = recall(localStorage, NAME_KEY) ?? '';

/** The name under which this browser speaks where no token names it. */
export function personName(): string {
  if (name === '') {
    name = `guest-${randomId(4)}`;
    store(localStorage, NAME_KEY, name);
  }
  return name;
}

export function setPersonName(value: string): void {
  const trimmed = [...value.trim()].slice(0, 40).join('');
  if (trimmed === '') return;
  name = trimmed;
  store(localStorage, NAME_KEY, name);
}

/** The identity to send: a token carries its own. */
export function identityQuery(): { identity?: string } {
  return hasToken ? {} : { identity: personName() };
}

/** Letters and digits that nobody mistakes for one another. */
export function randomId(length: number): string {
  const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789';
  const bytes = crypto.getRandomValues(new Uint8Array(length * 2));
  return Array.from({ length }, (_none, at) => alphabet[((bytes[at * 2] ?? 0) * 256 + (bytes[at * 2 + 1] ?? 0)) % alphabet.length]).join('');
}

async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(http, at(path), { headers: { accept: 'application/json' }, ...(signal ? { signal } : {}) });
  if (!response.ok) throw await readProblem(response);
  return (await response.json()) as T;
}

let config: Promise<Config> | null = null;

/** The server's public settings; without them the pages work as in open mode. */
export function loadConfig(): Promise<Config> {
  config ??= getJson<Partial<Config>>('v1/config')
    .then(({ open, ice_servers }) => ({ open: open ?? !hasToken, ice_servers: Array.isArray(ice_servers) ? ice_servers : [] }))
    .catch(() => {
      config = null;
      return { open: !hasToken, ice_servers: [] };
    });
  return config;
}

export async function listRooms(signal?: AbortSignal): Promise<RoomSummary[]> {
  const { rooms } = await getJson<{ rooms?: RoomSummary[] }>('v1/rooms', signal);
  return rooms ?? [];
}

export interface OutgoingMessage {
  id: string;
  text: string;
  at_ms: number;
}

/** Posts a message. Its id makes a repetition harmless. */
export async function postChat(room: string, message: OutgoingMessage): Promise<{ seq: number }> {
  const response = await request(http, at(`v1/rooms/${room}/chat`, identityQuery()), {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(message),
  });
  if (!response.ok) throw await readProblem(response);
  return (await response.json()) as { seq: number };
}

export const eventsUrl = (room: string): string => at(`v1/rooms/${room}/events`, identityQuery());
export const whipUrl = (room: string, stream: string): string => at(stream === '' ? `whip/${room}` : `whip/${room}/${stream}`, identityQuery());
export const whepUrl = (room: string, stream: string): string => at(stream === '' ? `whep/${room}` : `whep/${room}/${stream}`, identityQuery());
export const watchUrl = (room: string): string => at(`watch/${room}`);
