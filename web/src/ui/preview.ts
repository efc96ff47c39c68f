/** What the studio is about to send, or sends: the picture, the level of the sound, and words. */
import { LevelMeter } from '../media/level';
import type { Source } from '../media/sources';
import { h, setText, type Cleanup } from './dom';
import { icon, water } from './icons';

const SEGMENTS = 20;

export class Preview {
  readonly element: HTMLElement;
  readonly #video: HTMLVideoElement;
  readonly #words: HTMLElement;
  readonly #title: HTMLElement;
  readonly #detail: HTMLElement;
  readonly #actions: HTMLElement;
  readonly #meter: HTMLElement;
  readonly #segments: HTMLElement[];
  readonly #level = new LevelMeter();
  #shown = 0;

  constructor(cleanup: Cleanup, ...overlay: HTMLElement[]) {
    this.#video = h('video', { class: 'player-video', playsinline: true, autoplay: true, 'aria-label': 'Preview of what you send', props: { muted: true } });
    this.#title = h('p', { class: 'veil-title' });
    this.#detail = h('p', { class: 'veil-detail' });
    this.#actions = h('div', { class: 'veil-actions' });
    this.#words = h('div', { class: 'veil', 'data-busy': 'false' }, this.#title, this.#detail, this.#actions);
    this.#segments = Array.from({ length: SEGMENTS }, () => h('i', {}));
    this.#meter = h(
      'div',
      { class: 'meter', role: 'meter', 'aria-label': 'Microphone level', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-valuenow': '0', hidden: true },
      icon('mic'),
      h('span', { class: 'meter-bar', 'aria-hidden': 'true' }, ...this.#segments),
    );
    this.element = h(
      'div',
      { class: 'player preview', 'data-picture': 'none' },
      h('div', { class: 'player-voice', 'aria-hidden': 'true' }, water('studio', 'voice-water')),
      this.#video,
      this.#words,
      h('div', { class: 'preview-top' }, ...overlay),
      this.#meter,
    );
    cleanup.every(60, () => this.#tick());
    cleanup.add(() => this.#level.close());
  }

  show(source: Source | null): void {
    this.#video.srcObject = source?.media ?? null;
    const picture = (source?.media.getVideoTracks().length ?? 0) > 0;
    this.element.dataset['picture'] = source === null ? 'none' : picture ? 'picture' : 'voice';
    this.element.dataset['mirror'] = String(source?.kind === 'camera');
    this.#meter.hidden = (source?.media.getAudioTracks().length ?? 0) === 0;
    try {
      this.#level.attach(source?.media ?? null);
    } catch {
      this.#meter.hidden = true;
    }
    if (source !== null) {
      void this.#video.play().catch(() => undefined);
      if (!picture) this.say('Sound only', 'Viewers see moving water instead of a picture.');
      else this.say(null);
    }
  }

  /** Words over the preview; null takes them away. */
  say(title: string | null, detail = '', ...actions: HTMLElement[]): void {
    this.#words.hidden = title === null;
    if (title === null) return;
    setText(this.#title, title);
    setText(this.#detail, detail);
    this.#actions.replaceChildren(...actions);
  }

  #tick(): void {
    if (this.#meter.hidden || document.hidden) return;
    const level = this.#level.read();
    this.#shown = Math.max(level, this.#shown - 0.05);
    const lit = Math.round(this.#shown * SEGMENTS);
    this.#segments.forEach((segment, at) => segment.classList.toggle('lit', at < lit));
    const percent = String(Math.round(this.#shown * 20) * 5);
    if (this.#meter.getAttribute('aria-valuenow') !== percent) this.#meter.setAttribute('aria-valuenow', percent);
  }
}
