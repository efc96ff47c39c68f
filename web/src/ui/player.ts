/**
 * The picture with its controls: sound, volume, full screen, a large button where the browser keeps
 * the sound off, a drawing that moves with the voice where a stream has no picture, and words over
 * all of it while there is nothing to play.
 */
import { layerWords, type Layer } from '../client/layers';
import { loudness } from '../media/level';
import { h, setText, type Cleanup } from './dom';
import { icon, water, type IconName } from './icons';
import { bitrate as rate } from './words';

const BARS = 32;

export class Player {
  readonly element: HTMLElement;
  readonly video: HTMLVideoElement;
  readonly #unmute: HTMLButtonElement;
  readonly #play: HTMLButtonElement;
  readonly #mute: HTMLButtonElement;
  readonly #volume: HTMLInputElement;
  readonly #quality: HTMLSelectElement;
  readonly #full: HTMLButtonElement;
  readonly #veil: HTMLElement;
  readonly #title: HTMLElement;
  readonly #detail: HTMLElement;
  readonly #actions: HTMLElement;
  readonly #bars: HTMLElement[];
  #onPick: ((rid: string | null) => void) | null = null;
  #wantsSound = true;
  #autoMuted = false;
  #level = 0;

  constructor(room: string, cleanup: Cleanup) {
    this.video = h('video', { class: 'player-video', playsinline: true, autoplay: true, 'aria-label': `Live picture of room ${room}` });
    this.#bars = Array.from({ length: BARS }, () => h('span', {}));
    const voice = h('div', { class: 'player-voice', 'aria-hidden': 'true' }, water(room, 'voice-water'), h('div', { class: 'voice-bars' }, ...this.#bars));
    const tag = h('p', { class: 'voice-tag' }, icon('mic'), 'Sound only');
    this.#unmute = h('button', { type: 'button', class: 'button primary big-sound', hidden: true, onclick: () => this.#turnOn() }, icon('muted'), 'Turn sound on');
    this.#play = h('button', { type: 'button', class: 'button primary big-sound', hidden: true, onclick: () => this.#turnOn() }, icon('play'), 'Play');
    this.#title = h('p', { class: 'veil-title' });
    this.#detail = h('p', { class: 'veil-detail' });
    this.#actions = h('div', { class: 'veil-actions' });
    this.#veil = h('div', { class: 'veil' }, h('div', { class: 'veil-wave', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), this.#title, this.#detail, this.#actions);
    this.#mute = h('button', { type: 'button', class: 'control', 'aria-keyshortcuts': 'm', onclick: () => this.#toggle() });
    this.#volume = h('input', { type: 'range', class: 'volume', min: '0', max: '100', value: '100', 'aria-label': 'Volume' });
    this.#volume.addEventListener('input', () => {
      this.video.volume = Number(this.#volume.value) / 100;
      if (this.video.volume > 0) this.#turnOn();
    });
    this.#quality = h('select', { class: 'quality', 'aria-label': 'Quality', hidden: true });
    this.#quality.addEventListener('change', () => this.#onPick?.(this.#quality.value === '' ? null : this.#quality.value));
    this.#full = h('button', { type: 'button', class: 'control', 'aria-keyshortcuts': 'f', onclick: () => void this.#toggleFull() });
    this.element = h(
      'div',
      { class: 'player', role: 'group', 'aria-label': 'Player' },
      voice,
      this.video,
      tag,
      this.#veil,
      this.#unmute,
      this.#play,
      h('div', { class: 'controls' }, this.#mute, this.#volume, h('span', { class: 'controls-gap' }), this.#quality, this.#full),
    );
    cleanup.on(this.video, 'volumechange', () => this.#showSound());
    cleanup.on(document, 'fullscreenchange', () => this.#showFull());
    // Single keys count only while the focus is in the player: speech input would press them all.
    cleanup.on(this.element, 'keydown', (event) => this.#key(event as KeyboardEvent));
    this.#showSound();
    this.#showFull();
  }

  /** Plays at once: with sound where the browser lets it, else muted with a button that says so. */
  async play(media: MediaStream): Promise<void> {
    this.video.srcObject = media;
    this.video.muted = !this.#wantsSound || this.#autoMuted;
    if (await this.#tryPlay()) return;
    this.video.muted = true;
    this.#autoMuted = this.#wantsSound;
    const playing = await this.#tryPlay();
    this.#play.hidden = playing;
    this.#showSound();
  }

  async #tryPlay(): Promise<boolean> {
    try {
      await this.video.play();
      return true;
    } catch (error) {
      // A newer picture took the place of this one: that one's outcome counts.
      return error instanceof DOMException && error.name === 'AbortError';
    }
  }

  clear(): void {
    this.video.srcObject = null;
    this.element.dataset['picture'] = 'none';
  }

  /** `picture`: frames arrive; `voice`: sound alone; `none`: nothing yet. */
  show(what: 'picture' | 'voice' | 'none'): void {
    this.element.dataset['picture'] = what;
  }

  get shows(): string {
    return this.element.dataset['picture'] ?? 'none';
  }

  /** Offers the sizes that there are, best first; with fewer than two there is nothing to pick. */
  layers(layers: readonly Layer[], onPick: (rid: string | null) => void): void {
    this.#onPick = onPick;
    const sent = layers.filter(({ bitrate }) => bitrate > 0);
    this.#quality.hidden = sent.length < 2;
    const words = layerWords(sent);
    const wanted = [['', 'Auto'], ...sent.map(({ rid, bitrate }, at) => [rid, `${words[at] ?? rid} · ${rate(bitrate)}`])];
    const before = this.#quality.value;
    // An open list must not be pulled away under the finger: options are changed only where they differ.
    wanted.forEach(([value = '', name = ''], at) => {
      const option = this.#quality.options[at] ?? this.#quality.appendChild(h('option', {}));
      if (option.value !== value) option.value = value;
      setText(option, name);
    });
    while (this.#quality.options.length > wanted.length) this.#quality.options[wanted.length]?.remove();
    this.#quality.value = wanted.some(([value]) => value === before) ? before : '';
  }

  /** Words over the picture; null takes them away. */
  veil(title: string | null, detail = '', busy = false, ...actions: HTMLElement[]): void {
    this.#veil.hidden = title === null;
    this.#veil.dataset['busy'] = String(busy);
    if (title === null) return;
    setText(this.#title, title);
    setText(this.#detail, detail);
    const same = actions.length === this.#actions.childElementCount && actions.every((action, at) => action === this.#actions.children[at]);
    if (!same) this.#actions.replaceChildren(...actions);
  }

  /** Moves the drawing with the voice. */
  level(amplitude: number): void {
    const aim = loudness(amplitude);
    this.#level += (aim - this.#level) * (aim > this.#level ? 0.6 : 0.2);
    const now = performance.now() / 1000;
    this.#bars.forEach((bar, at) => {
      const swell = 0.45 + 0.35 * Math.sin(at * 0.55 + now * 2.1) + 0.2 * Math.sin(at * 1.7 - now * 3.3);
      bar.style.transform = `scaleY(${(0.03 + this.#level * swell * 0.97).toFixed(3)})`;
    });
  }

  #turnOn(): void {
    this.#wantsSound = true;
    this.#autoMuted = false;
    this.video.muted = false;
    if (this.video.volume === 0) this.video.volume = 1;
    this.#play.hidden = true;
    void this.#tryPlay();
    // The button goes away: the focus must not go with it.
    if (document.activeElement === this.#unmute || document.activeElement === this.#play) this.#mute.focus();
    this.#showSound();
  }

  #toggle(): void {
    if (this.video.muted || this.video.volume === 0) return this.#turnOn();
    this.#wantsSound = false;
    this.#autoMuted = false;
    this.video.muted = true;
  }

  #showSound(): void {
    const silent = this.video.muted || this.video.volume === 0;
    label(this.#mute, silent ? 'muted' : 'sound', silent ? 'Unmute' : 'Mute');
    this.#volume.value = String(silent ? 0 : Math.round(this.video.volume * 100));
    this.#unmute.hidden = !(this.#autoMuted && this.video.muted && this.video.srcObject !== null && this.#play.hidden);
  }

  async #toggleFull(): Promise<void> {
    if (document.fullscreenElement !== null) return document.exitFullscreen();
    // iPhones make videos full screen, not elements.
    const video = this.video as HTMLVideoElement & { webkitEnterFullscreen?: () => void };
    if (this.element.requestFullscreen !== undefined) await this.element.requestFullscreen().catch(() => undefined);
    else video.webkitEnterFullscreen?.();
  }

  #showFull(): void {
    const full = document.fullscreenElement !== null;
    label(this.#full, full ? 'unfull' : 'full', full ? 'Leave full screen' : 'Full screen');
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'm') this.#toggle();
    else if (event.key === 'f') void this.#toggleFull();
  }
}

function label(button: HTMLButtonElement, name: IconName, text: string): void {
  if (button.getAttribute('aria-label') === text) return;
  button.setAttribute('aria-label', text);
  button.title = text;
  button.replaceChildren(icon(name));
}
