/** Watch: one room, playing. What the session, the room and the media say becomes one sentence. */
import { at, hasToken, http, loadConfig, whepUrl } from '../app';
import { ID_PATTERN } from '../base';
import type { Status } from '../client/client';
import { StatsReader } from '../client/stats';
import { h, replace } from '../ui/dom';
import { Player } from '../ui/player';
import { Room } from '../ui/room';
import { pill, type Tone } from '../ui/shell';
import * as words from '../ui/words';
import { WhepClient } from '../whep';
import { expose, type PageContext } from './page';

/** No frame for so long is no picture. */
const STILL_MS = 3_000;
const LEVEL_MS = 80;

interface View {
  state: string;
  tone: Tone;
  title: string | null;
  detail?: string;
  busy?: boolean;
  again?: boolean;
}

export function watch({ shell, cleanup, query }: PageContext, name: string): void {
  document.title = `${name} · Freshet`;
  const stream = query.get('stream') ?? '';
  const player = new Player(name, cleanup);
  const state = pill();
  const room = new Room(name, (live) => {
    // The host came back to a session that waits: the end of the wait is the media itself.
    if (live.size > 0 && client?.status.state === 'live') lastMedia = Math.max(lastMedia, performance.now());
    render();
  });
  const figures = h('p', { class: 'figures', 'aria-hidden': 'true' });
  const again = h('button', { type: 'button', class: 'button primary' }, 'Try again');
  const homeLink = h('a', { class: 'button', href: at('') }, 'See what else is live');

  shell.main.className = 'watch';
  replace(
    shell.main,
    h(
      'div',
      { class: 'stage' },
      player.element,
      h('div', { class: 'under' }, h('h1', { class: 'room-name' }, name), h('div', { class: 'under-facts' }, state.element, room.viewers, figures)),
    ),
    h('aside', { class: 'side', 'aria-label': 'Chat of this room' }, room.chat.element),
  );

  let client: WhepClient | null = null;
  let lastMedia = 0;
  let lastFrames = -1;
  let lastAudio = -1;
  let framesAt = 0;
  let shown = '';

  const render = (): void => {
    const view = viewOf(client?.status ?? { state: 'connecting', reason: null, problem: null }, room, performance.now() - lastMedia > STILL_MS, lastMedia > 0);
    shown = view.state;
    state.set(view.state, view.tone);
    const ended = client?.status.state === 'ended';
    player.veil(view.title, view.detail ?? '', view.busy ?? false, ...(view.again ? [again] : []), ...(ended ? [homeLink] : []));
  };

  const start = async (): Promise<void> => {
    const config = await loadConfig();
    if (cleanup.signal.aborted) return;
    client = new WhepClient({
      ...http,
      endpoint: whepUrl(name, ID_PATTERN.test(stream) ? stream : ''),
      iceServers: config.ice_servers,
      backoff: { baseMs: 600, capMs: 15_000 },
      waitForHost: (retryAfterMs, signal) => room.events.waitForHost(retryAfterMs, signal),
      onMedia: (media) => {
        lastFrames = -1;
        lastAudio = -1;
        lastMedia = performance.now();
        void player.play(media);
      },
      onStatus: ({ state: now }) => {
        if (now === 'ended') player.clear();
        render();
      },
    });
    again.addEventListener('click', () => client?.start(), { signal: cleanup.signal });
    client.start();
  };

  // Frames and sound that really arrive decide what is shown, not what was promised.
  const reader = new StatsReader();
  const look = async (): Promise<void> => {
    const pc = client?.pc;
    if (!pc || client?.status.state !== 'live') return;
    const now = await reader.read(pc, 'inbound');
    const time = performance.now();
    if (now.framesDecoded > lastFrames && now.framesDecoded > 0) framesAt = time;
    if (now.framesDecoded > Math.max(lastFrames, 0) || now.audioBytes > Math.max(lastAudio, 0)) lastMedia = time;
    const sound = now.audioBytes > Math.max(lastAudio, 0);
    lastFrames = now.framesDecoded;
    lastAudio = now.audioBytes;
    if (time - framesAt < STILL_MS) player.show('picture');
    else if (sound) player.show('voice');
    const parts = [now.width > 0 ? `${now.width}×${now.height}` : '', now.fps ? `${Math.round(now.fps)} fps` : '', now.bitrate > 0 ? words.bitrate(now.bitrate) : ''];
    figures.textContent = parts.filter((part) => part !== '').join(' · ');
    render();
  };
  cleanup.every(1_000, () => void look().catch(() => undefined));

  const levels = new StatsReader();
  const calm = matchMedia('(prefers-reduced-motion: reduce)');
  cleanup.every(LEVEL_MS, () => {
    const pc = client?.pc;
    if (!pc || player.shows !== 'voice' || document.hidden || calm.matches) return;
    void levels.read(pc, 'inbound').then(({ audioLevel }) => player.level(audioLevel ?? 0), () => undefined);
  });

  cleanup.on(window, 'pagehide', () => void client?.stop());
  cleanup.add(() => {
    void client?.stop();
    room.close();
    player.clear();
  });
  expose(
    () => client?.pc ?? null,
    () => shown,
  );
  player.show('none');
  render();
  void start();
}

/** One sentence for three sources: the session, the room's events, and the media. */
function viewOf({ state, reason, problem }: Status, room: Room, still: boolean, everPlayed: boolean): View {
  const hostAway = room.events.link === 'open' && room.events.live.size === 0;
  switch (state) {
    case 'idle':
    case 'connecting':
      return { state: 'Connecting', tone: 'busy', title: 'Connecting…', busy: true };
    case 'live':
      if (!still) return { state: 'Live', tone: 'live', title: null };
      if (hostAway || !everPlayed) return waiting(everPlayed);
      if (room.events.link !== 'open' && room.events.link !== 'paused') {
        return { state: 'Reconnecting', tone: 'busy', title: 'The connection is away', detail: 'Nothing arrives right now. It goes on by itself as soon as it can.', busy: true };
      }
      return { state: 'Live, no picture', tone: 'busy', title: 'The picture stands still', detail: 'The host is live, and nothing arrives from them right now. It goes on by itself.', busy: true };
    case 'waiting':
      return waiting(false);
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
