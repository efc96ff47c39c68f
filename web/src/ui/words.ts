/** How numbers and failures are said to people. */
import type { HttpProblem } from '../client/http';

export function bitrate(bps: number): string {
  if (bps >= 1e6) return `${(bps / 1e6).toFixed(bps >= 1e7 ? 0 : 1)} Mbit/s`;
  return `${Math.round(bps / 1e3)} kbit/s`;
}

export function share(value: number): string {
  const percent = value * 100;
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

export function millis(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 100_000 ? 1 : 0)} s`;
}

const CODECS: Record<string, string> = { H264: 'H.264', OPUS: 'Opus' };
const H264_PROFILES: Record<string, string> = { '42': 'Baseline', '4d': 'Main', '58': 'Extended', '64': 'High', '6e': 'High 10', '7a': 'High 4:2:2', f4: 'High 4:4:4' };

/** A codec with its profile, such as "H.264 High 3.1" of `H264` and `64001f`. */
export function codec(name: string | null, profile: string | null): string {
  if (name === null) return '';
  const called = CODECS[name.toUpperCase()] ?? name;
  if (profile === null) return called;
  const [, idc = '', constraints = '', level = ''] = /^([\da-f]{2})([\da-f]{2})([\da-f]{2})$/i.exec(profile) ?? [];
  const known = H264_PROFILES[idc.toLowerCase()];
  if (called !== 'H.264' || known === undefined) return `${called} profile ${profile}`;
  const flags = parseInt(constraints, 16);
  // Constraint sets 1 of Baseline, 4 and 5 of High: what all decoders of the lesser profile take, too.
  const constrained = idc === '42' ? (flags & 0x40) !== 0 : idc === '64' && (flags & 0x0c) === 0x0c;
  return `${called} ${constrained ? 'Constrained ' : ''}${known} ${(parseInt(level, 16) / 10).toFixed(1)}`;
}

export function viewers(count: number): string {
  return count === 1 ? '1 viewer' : `${count.toLocaleString('en')} viewers`;
}

/** A clock like 4:05 or 1:04:05. */
export function clock(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}

export function since(ms: number): string {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return 'just started';
  if (minutes < 60) return `live for ${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return `live for ${hours} h ${minutes % 60} min`;
}

/** A refusal in words: what happened, and what to do. */
export function explain(problem: HttpProblem): { title: string; detail: string } {
  const { status } = problem;
  const detail = problem.message === problem.title ? '' : problem.message;
  if (problem.reason === 'revoked') return { title: 'You were sent away', detail: 'Those who run this room ended your visit. Ask them, if that was a mistake.' };
  // What the server says of tokens is for whoever calls it by hand; people have links.
  if (status === 401) return { title: 'This room wants an access link', detail: 'Ask the host for a link with access, or for a new one if yours is old, and open it here.' };
  if (status === 403) return { title: 'Your link does not open this', detail: 'It is for another room, or does not allow this. Ask the host for one that does.' };
  if (status === 422) return { title: 'No format in common', detail: detail || 'Your browser and this stream share no codec. A current Chrome, Edge, Firefox or Safari should work.' };
  if (status === 429) return { title: 'A little too fast', detail: detail || 'Wait a moment; this goes on by itself.' };
  // What the server says of its nodes is for whoever runs it.
  if (problem.full) return { title: 'All places are taken', detail: 'This page keeps trying, and goes on by itself as soon as there is room.' };
  return { title: problem.title, detail };
}

/** Why home shows no list of rooms. */
export function explainList(problem: HttpProblem): string {
  if (problem.status === 401 || problem.status === 403) return 'An access token is needed to see what is live. Ask whoever runs this server for a link with access; a link to a room opens that room.';
  return `The list of rooms is away. ${problem.status === 0 ? 'This page goes on trying.' : explain(problem).detail}`;
}

/** Why a camera, microphone or screen did not open. */
export function explainDevice(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
      return 'The browser did not let this page use the device. Allow it beside the address, then try again.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No such device is connected. Plug one in, choose another, or use the test pattern.';
    case 'NotReadableError':
    case 'AbortError':
      return 'The device is in use by another program. Close that program, then try again.';
    default:
      if (!navigator.mediaDevices) return 'Browsers open cameras only on secure pages: use https, or localhost. The test pattern works here.';
      return error instanceof Error && error.message !== '' ? error.message : 'The device could not be opened.';
  }
}
