/** Watch: one room, playing. What the session, the room and the media say becomes one sentence. */
import { at, hasToken, http, loadConfig, whepUrl } from '../app';
import { ID_PATTERN } from '../base';
import { StatsReader } from '../client/stats';
import { Arrival, LOOK_MS } from '../media/arrival';
import { h, replace } from '../ui/dom';
import { Player } from '../ui/player';
import { Room } from '../ui/room';
import { pill } from '../ui/shell';
import * as words from '../ui/words';
import { WhepClient } from '../whep';
import { expose, type PageContext } from './page';
import { viewOf } from './view';

const FIGURES_MS = 1_000;
const LEVEL_MS = 80;

export function watch({ shell, cleanup, query }: PageContext, name: string): void {
  document.title = `${name} · Freshet`;
  const stream = query.get('stream') ?? '';
  const player = new Player(name, cleanup);
  const state = pill();
  const room = new Room(name, (live) => {
    // The host came back to a session that waits: the end of the wait is the media itself.
    if (live.size > 0 && client?.status.state === 'live') arrival.expect(performance.now());
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
  let arrival = new Arrival(performance.now());
  let everPlayed = false;
  let shown = '';

  const render = (): void => {
    const status = client?.status ?? { state: 'connecting' as const, reason: null, problem: null };
    const view = viewOf({ status, link: room.events.link, live: room.events.live.size, arriving: arrival.at(performance.now()), everPlayed, hasToken });
    shown = view.state;
    state.set(view.state, view.tone);
    // Figures of what does not arrive any more would say that it does.
    if (view.tone !== 'live') figures.textContent = '';
    player.veil(view.title, view.detail ?? '', view.busy ?? false, ...(view.again ? [again] : []), ...(status.state === 'ended' ? [homeLink] : []));
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
        arrival = new Arrival(performance.now());
        everPlayed = true;
        void player.play(media);
      },
      onLayers: (layers) => player.layers(layers, (rid) => void client?.pick(rid).catch(() => undefined)),
      onStatus: ({ state: now }) => {
        if (now === 'ended') player.clear();
        render();
      },
    });
    again.addEventListener('click', () => client?.start(), { signal: cleanup.signal });
    client.start();
  };

  // Frames and sound that really arrive decide what is shown, not what was promised.
  const counters = new StatsReader();
  const look = async (): Promise<void> => {
    const pc = client?.pc;
    if (!pc || client?.status.state !== 'live') return;
    const seen = arrival;
    const { framesDecoded, audioBytes } = await counters.read(pc, 'inbound');
    const now = performance.now();
    // The connection changed meanwhile: these are the counters of the one before.
    if (seen !== arrival) return;
    arrival.take(framesDecoded, audioBytes, now);
    const arriving = arrival.at(now);
    if (arriving === 'picture') player.show('picture');
    else if (arriving === 'sound') player.show('voice');
    render();
  };
  cleanup.every(LOOK_MS, () => void look().catch(() => undefined));

  const reader = new StatsReader();
  const count = async (): Promise<void> => {
    const pc = client?.pc;
    if (!pc || client?.status.state !== 'live') return;
    const now = await reader.read(pc, 'inbound');
    const picture = player.shows === 'picture';
    const parts = [picture && now.width > 0 ? `${now.width}×${now.height}` : '', picture && now.fps ? `${Math.round(now.fps)} fps` : '', now.bitrate > 0 ? words.bitrate(now.bitrate) : ''];
    figures.textContent = parts.filter((part) => part !== '').join(' · ');
    render();
  };
  cleanup.every(FIGURES_MS, () => void count().catch(() => undefined));

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
