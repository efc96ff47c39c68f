/** One sentence for three sources: the session, the room's events, and the media that arrives. Pure. */
import type { Status } from '../client/client';
import type { Link } from '../events';
import type { Arriving } from '../media/arrival';
import type { Tone } from '../ui/shell';
import * as words from '../ui/words';

export interface View {
  state: string;
  tone: Tone;
  /** Words over the picture; null where nothing needs saying. */
  title: string | null;
  detail?: string;
  busy?: boolean;
  /** Whether the page offers to try again. */
  again?: boolean;
}

export interface Facts {
  status: Status;
  link: Link;
  /** Streams that are live, as far as the room's events say. */
  live: number;
  arriving: Arriving;
  everPlayed: boolean;
  hasToken: boolean;
}

export function viewOf({ status: { state, reason, problem }, link, live, arriving, everPlayed, hasToken }: Facts): View {
  switch (state) {
    case 'idle':
    case 'connecting':
      return { state: 'Connecting', tone: 'busy', title: 'Connecting…', busy: true };
    case 'live':
      if (arriving === 'sound') return { state: 'Live, sound only', tone: 'live', title: null };
      if (arriving !== 'still') return { state: 'Live', tone: 'live', title: null };
      if ((link === 'open' && live === 0) || !everPlayed) return waiting(everPlayed);
      if (link !== 'open' && link !== 'paused') {
        return { state: 'Reconnecting', tone: 'busy', title: 'The connection is away', detail: 'Nothing arrives right now. It goes on by itself as soon as it can.', busy: true };
      }
      return { state: 'Live, no picture', tone: 'busy', title: 'The picture stands still', detail: 'The host is live, and nothing arrives from them right now. It goes on by itself.', busy: true };
    case 'waiting':
      return problem?.full === true
        ? { state: 'Waiting for a place', tone: 'calm', title: 'This event is full right now', detail: 'Stay here: we keep trying, and it starts by itself as soon as there is a place.', busy: true }
        : waiting(false);
    case 'reconnecting': {
      const why = problem === null ? null : words.explain(problem);
      return { state: 'Reconnecting', tone: 'busy', title: why === null || problem?.reason === 'closed' ? 'Reconnecting…' : why.title, detail: why?.detail ?? '', busy: true };
    }
    case 'ended':
      break;
  }
  if (reason === 'taken-over') {
    return { state: 'Ended', tone: 'bad', title: 'You are watching from somewhere else', detail: 'The same access was used on another page or device, which took over.', again: true };
  }
  const why = problem === null ? { title: 'This is over', detail: '' } : words.explain(problem);
  const denied = problem?.status === 401 || problem?.status === 403;
  return { state: 'Ended', tone: 'bad', title: why.title, detail: why.detail, again: !denied || hasToken };
}

function waiting(left: boolean): View {
  return {
    state: 'Waiting for the host',
    tone: 'calm',
    title: left ? 'The host is away' : 'Waiting for the host',
    detail: left ? 'Stay here: it goes on by itself when they are back.' : 'Stay here: it starts by itself, as soon as they go live.',
    busy: true,
  };
}
