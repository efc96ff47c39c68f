import { describe, expect, it } from 'vitest';
import type { ClientState } from '../src/client/client';
import { HttpProblem } from '../src/client/http';
import { viewOf, type Facts } from '../src/pages/view';

const facts = (state: ClientState, more: Partial<Facts> = {}, problem: HttpProblem | null = null): Facts => ({
  status: { state, reason: null, problem },
  link: 'open',
  live: 1,
  arriving: 'picture',
  everPlayed: true,
  hasToken: false,
  ...more,
});
const FULL = new HttpProblem(503, 'Service Unavailable', 'no node could take the session (4 nodes asked): ask again later', 'over-capacity');

describe('the watch page says', () => {
  it('live, sound only, or that nothing arrives', () => {
    expect(viewOf(facts('live'))).toMatchObject({ state: 'Live', title: null });
    expect(viewOf(facts('live', { arriving: 'nothing yet' }))).toMatchObject({ state: 'Live', title: null });
    expect(viewOf(facts('live', { arriving: 'sound' }))).toMatchObject({ state: 'Live, sound only', title: null });
    expect(viewOf(facts('live', { arriving: 'still' }))).toMatchObject({ state: 'Live, no picture', title: 'The picture stands still' });
    expect(viewOf(facts('live', { arriving: 'still', link: 'broken' }))).toMatchObject({ state: 'Reconnecting' });
    expect(viewOf(facts('live', { arriving: 'still', live: 0 }))).toMatchObject({ state: 'Waiting for the host', title: 'The host is away' });
  });

  it('of a full cluster that the viewer waits, in no words of nodes', () => {
    const { state, tone, title, detail } = viewOf(facts('waiting', {}, FULL));
    expect([state, tone, title]).toEqual(['Waiting for a place', 'calm', 'This event is full right now']);
    expect(detail).toContain('keep trying');
    expect(detail).not.toContain('node');
    expect(viewOf(facts('waiting', {}, new HttpProblem(409, 'Conflict', '', 'no-publisher')))).toMatchObject({ state: 'Waiting for the host' });
  });
});
