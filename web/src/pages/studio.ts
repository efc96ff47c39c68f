/** Studio: choose what to send, see it, go live, and see how it arrives. */
import { http, loadConfig, watchUrl, whipUrl } from '../app';
import { ID_PATTERN } from '../base';
import type { Status } from '../client/client';
import { StatsReader } from '../client/stats';
import { agreedBefore, isSourceKind, openSource, type Source } from '../media/sources';
import { h, replace, setText } from '../ui/dom';
import { FiguresPanel } from '../ui/figures';
import { HealthPanel } from '../ui/health';
import { icon } from '../ui/icons';
import { Preview } from '../ui/preview';
import { Room } from '../ui/room';
import { newRoomName, Setup } from '../ui/setup';
import { Share } from '../ui/share';
import { pill, type Tone } from '../ui/shell';
import * as words from '../ui/words';
import { WhipClient } from '../whip';
import { expose, type PageContext } from './page';

const MAX_VIDEO_BITRATE = 2_500_000;
const MAX_AUDIO_BITRATE = 96_000;
/** The link that is copied carries no token: nobody gives their own away by accident. */
const TOKEN_HINT = 'Viewers need an access token: this link alone does not let them in. Give each of them one, added to the link as #token=…';

export function studio({ shell, cleanup, query }: PageContext): void {
  document.title = 'Studio · Freshet';
  const asked = query.get('source');
  const askedRoom = query.get('room') ?? '';
  const askedStream = query.get('stream') ?? '';
  const stream = ID_PATTERN.test(askedStream) ? askedStream : '';

  const state = pill();
  const timer = h('p', { class: 'timer', hidden: true });
  const preview = new Preview(cleanup, state.element, timer);
  const figures = new FiguresPanel();
  const health = new HealthPanel();
  const notice = h('p', { class: 'notice', role: 'alert', hidden: true });
  const setup = new Setup(isSourceKind(asked) ? asked : 'camera', ID_PATTERN.test(askedRoom) ? askedRoom : newRoomName(), query.get('simulcast') === '1', {
    onKind: () => void changeSource(),
    onDevice: () => void (source !== null && changeSource()),
    onRoom: (room) => enterRoom(room),
  });
  const share = new Share(watchUrl(setup.room));
  const toggle = h('button', { type: 'button', class: 'button primary go', onclick: () => void (busyOrLive() ? stopLive() : goLive()) });
  const open = h('button', { type: 'button', class: 'button', onclick: () => void changeSource() }, 'Show preview');
  const side = h('aside', { class: 'side', 'aria-label': 'Viewers and chat' });

  let source: Source | null = null;
  let client: WhipClient | null = null;
  let room: Room | null = null;
  let liveSince = 0;
  let opening = 0;
  let starting = false;

  shell.main.className = 'studio';
  replace(
    shell.main,
    h('div', { class: 'stage' }, h('h1', { class: 'visually-hidden' }, 'Studio'), preview.element, notice, figures.element, health.element, h('div', { class: 'desk' }, setup.element, h('div', { class: 'desk-go' }, share.element, h('div', { class: 'go-bar' }, toggle)))),
    side,
  );

  const busyOrLive = (): boolean => starting || (client !== null && client.status.state !== 'ended' && client.status.state !== 'idle');

  function tell(text: string): void {
    setText(notice, text);
    notice.hidden = text === '';
  }

  function enterRoom(name: string): void {
    share.set(watchUrl(name));
    room?.close();
    room = new Room(name, (_live, change) => {
      // Another generation of some stream: the session's own URL knows whether it replaced ours.
      if (change !== null) client?.check();
    });
    replace(side, h('div', { class: 'side-head' }, room.viewers), room.chat.element);
  }

  /** Opens what is chosen now; while live, it takes the place of what was sent before. */
  async function changeSource(): Promise<boolean> {
    const turn = ++opening;
    tell('');
    preview.say(setup.kind === 'screen' ? 'Choose what to share' : 'Opening…', setup.kind === 'flash' ? '' : 'Your browser may ask for permission.');
    let next: Source;
    try {
      next = await openSource(setup.kind, setup.choice);
    } catch (error) {
      if (turn !== opening || cleanup.signal.aborted) return false;
      preview.show(source);
      if (source === null) preview.say('Nothing to see yet', words.explainDevice(error), open);
      else tell(words.explainDevice(error));
      return false;
    }
    // A later choice, or a page left meanwhile, makes this one void.
    if (turn !== opening || cleanup.signal.aborted) {
      next.close();
      return false;
    }
    const before = source;
    source = next;
    preview.show(next);
    tell(next.note);
    for (const track of next.media.getTracks()) {
      track.addEventListener('ended', () => {
        if (source === next) tell('What you were sending has ended: the device went away, or sharing was stopped. Choose a source again.');
      });
    }
    if (client !== null && client.status.state !== 'ended') await client.replace(next.media).catch(() => client?.reopen());
    before?.close();
    render();
    void setup.refresh();
    return true;
  }

  async function goLive(): Promise<void> {
    if (!setup.validate() || busyOrLive()) return;
    starting = true;
    render();
    const config = await loadConfig();
    const ready = source !== null || (await changeSource());
    starting = false;
    if (!ready || source === null || cleanup.signal.aborted) return render();
    client = new WhipClient(source.media, {
      ...http,
      endpoint: whipUrl(setup.room, stream),
      iceServers: config.ice_servers,
      maxVideoBitrate: MAX_VIDEO_BITRATE,
      maxAudioBitrate: MAX_AUDIO_BITRATE,
      simulcast: setup.simulcast,
      backoff: { baseMs: 500, capMs: 8_000 },
      onStatus: render,
      onHealth: (now) => busyOrLive() && health.show(now),
    });
    client.start();
  }

  async function stopLive(): Promise<void> {
    await client?.stop();
    client = null;
    render();
  }

  function render(): void {
    const status = client?.status ?? { state: 'idle' as const, reason: null, problem: null };
    const busy = busyOrLive();
    const { text, tone } = stateWords(status, starting, source !== null);
    state.set(text, tone);
    if (status.state === 'live' && liveSince === 0) liveSince = Date.now();
    if (!busy) liveSince = 0;
    timer.hidden = liveSince === 0;
    setup.lockRoom(busy);
    toggle.classList.toggle('stop', busy);
    const label = busy ? 'Stop' : 'Go live';
    if (toggle.textContent !== label) toggle.replaceChildren(icon(busy ? 'stop' : 'play'), label);
    if (!busy) {
      figures.clear();
      health.clear();
    }
    shell.root.dataset['live'] = String(status.state === 'live');
    if (status.state === 'ended' && status.reason !== 'stopped') tell(endWords(status));
    else if ((status.state === 'reconnecting' || status.state === 'waiting') && status.problem !== null) tell(sentence(words.explain(status.problem)));
    else if (status.state === 'live') tell(source?.note ?? '');
  }

  const reader = new StatsReader();
  cleanup.every(1_000, () => {
    if (liveSince > 0) setText(timer, words.clock(Date.now() - liveSince));
    const pc = client?.pc;
    if (!pc || client?.status.state !== 'live') return;
    void reader.read(pc, 'outbound').then((now) => figures.show(now, (source?.media.getVideoTracks().length ?? 0) > 0), () => undefined);
  });

  if (navigator.mediaDevices) cleanup.on(navigator.mediaDevices, 'devicechange', () => void setup.refresh());
  cleanup.on(window, 'pagehide', () => void client?.stop());
  cleanup.on(window, 'beforeunload', (event) => {
    if (client?.status.state === 'live') event.preventDefault();
  });
  cleanup.on(
    document,
    'click',
    (event) => {
      const link = (event.target as Element | null)?.closest?.('a[href]');
      if (link && !link.classList.contains('skip') && busyOrLive() && !confirm('You are live. Leave the studio and stop?')) {
        event.preventDefault();
        event.stopPropagation();
      }
    },
    { capture: true },
  );
  cleanup.add(() => {
    void client?.stop();
    room?.close();
    opening += 1;
    source?.close();
    delete shell.root.dataset['live'];
  });
  expose(
    () => client?.pc ?? null,
    () => stateWords(client?.status ?? { state: 'idle', reason: null, problem: null }, starting, source !== null).text,
  );

  void loadConfig().then(({ open }) => share.explain(open ? '' : TOKEN_HINT));
  enterRoom(setup.room);
  preview.show(null);
  preview.say('Nothing to see yet', 'Look at yourself first, or go live at once.', open);
  render();
  if (query.get('autostart') === '1') void goLive();
  else void agreedBefore(setup.kind).then((agreed) => agreed && source === null && !cleanup.signal.aborted && changeSource());
}

function stateWords({ state, reason }: Status, starting: boolean, ready: boolean): { text: string; tone: Tone } {
  if (starting) return { text: 'Getting ready', tone: 'busy' };
  switch (state) {
    case 'live':
      return { text: 'Live', tone: 'live' };
    case 'connecting':
      return { text: 'Connecting', tone: 'busy' };
    case 'waiting':
      return { text: 'Waiting for a place', tone: 'busy' };
    case 'reconnecting':
      return { text: 'Reconnecting', tone: 'busy' };
    case 'ended':
      if (reason === 'taken-over') return { text: 'Taken over', tone: 'bad' };
      if (reason !== 'stopped') return { text: 'Not live', tone: 'bad' };
      return { text: 'Not live', tone: 'calm' };
    case 'idle':
      return { text: ready ? 'Ready' : 'Not live', tone: 'calm' };
  }
}

function endWords({ reason, problem }: Status): string {
  if (reason === 'taken-over') {
    return 'You are live from somewhere else. Another page or device took this stream over, and this one has stopped sending. Go live here takes it back.';
  }
  return problem === null ? 'The stream ended.' : sentence(words.explain(problem));
}

function sentence({ title, detail }: { title: string; detail: string }): string {
  return detail === '' ? `${title}.` : `${title}. ${detail}`;
}
