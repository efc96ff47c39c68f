/** The studio's choices: what to send, from which devices, into which room. */
import { randomId } from '../app';
import { ID_PATTERN } from '../base';
import { listDevices, type Choice, type SourceKind } from '../media/sources';
import { h, setText } from './dom';
import { icon, type IconName } from './icons';

const SOURCES: { kind: SourceKind; name: string; icon: IconName }[] = [
  { kind: 'camera', name: 'Camera', icon: 'camera' },
  { kind: 'screen', name: 'Screen', icon: 'screen' },
  { kind: 'audio', name: 'Audio only', icon: 'mic' },
  { kind: 'flash', name: 'Test pattern', icon: 'pattern' },
];

/** A room name that nobody guesses: 12 characters of 31, about 59 bits. */
export function newRoomName(): string {
  const id = randomId(12);
  return `${id.slice(0, 4)}-${id.slice(4, 8)}-${id.slice(8)}`;
}

export interface SetupEvents {
  onKind: (kind: SourceKind) => void;
  onDevice: () => void;
  onRoom: (room: string) => void;
}

export class Setup {
  readonly element: HTMLElement;
  readonly #radios: HTMLInputElement[];
  readonly #camera: HTMLSelectElement;
  readonly #microphone: HTMLSelectElement;
  readonly #devices: HTMLElement;
  readonly #room: HTMLInputElement;
  readonly #fresh: HTMLButtonElement;
  readonly #error: HTMLElement;
  readonly #layers: HTMLInputElement;
  readonly #sizes: HTMLElement;

  constructor(kind: SourceKind, room: string, simulcast: boolean, events: SetupEvents) {
    this.#radios = SOURCES.map(({ kind: value }) =>
      h('input', { type: 'radio', name: 'source', value, id: `source-${value}`, class: 'visually-hidden', props: { checked: value === kind } }),
    );
    const segments = SOURCES.map(({ kind: value, name, icon: shape }, at) =>
      h('div', { class: 'segment' }, this.#radios[at], h('label', { for: `source-${value}` }, icon(shape), h('span', {}, name))),
    );
    for (const radio of this.#radios) {
      radio.addEventListener('change', () => {
        this.#showDevices();
        events.onKind(this.kind);
      });
    }
    this.#camera = h('select', { id: 'camera', onchange: events.onDevice });
    this.#microphone = h('select', { id: 'microphone', onchange: events.onDevice });
    this.#devices = h(
      'div',
      { class: 'devices' },
      h('div', { class: 'field', 'data-device': 'camera' }, h('label', { for: 'camera' }, 'Camera'), this.#camera),
      h('div', { class: 'field', 'data-device': 'microphone' }, h('label', { for: 'microphone' }, 'Microphone'), this.#microphone),
    );
    this.#room = h('input', {
      id: 'room',
      value: room,
      maxlength: '64',
      autocomplete: 'off',
      autocapitalize: 'none',
      spellcheck: 'false',
      'aria-describedby': 'room-error',
    });
    this.#error = h('p', { class: 'field-error', id: 'room-error', role: 'alert' });
    this.#room.addEventListener('input', () => this.#check());
    this.#room.addEventListener('change', () => {
      if (this.#check()) events.onRoom(this.room);
    });
    this.#fresh = h('button', { type: 'button', class: 'button square', 'aria-label': 'New random room', title: 'New random room' }, icon('dice'));
    this.#fresh.addEventListener('click', () => {
      this.#room.value = newRoomName();
      this.#check();
      events.onRoom(this.room);
    });
    this.#layers = h('input', { type: 'checkbox', id: 'layers', 'aria-describedby': 'layers-hint', props: { checked: simulcast } });
    this.#sizes = h(
      'div',
      { class: 'field' },
      h('label', { class: 'check', for: 'layers' }, this.#layers, 'Send three picture sizes'),
      h('p', { class: 'field-hint', id: 'layers-hint' }, 'For audiences on fast and slow networks. Takes more of this computer.'),
    );
    this.element = h(
      'div',
      { class: 'setup' },
      h('fieldset', { class: 'segments' }, h('legend', {}, 'What to send'), h('div', { class: 'segments-row' }, ...segments)),
      this.#devices,
      this.#sizes,
      h('div', { class: 'field' }, h('label', { for: 'room' }, 'Room'), h('div', { class: 'with-button' }, this.#room, this.#fresh), this.#error),
    );
    this.#showDevices();
    void this.refresh();
  }

  get kind(): SourceKind {
    return SOURCES.find((_source, at) => this.#radios[at]?.checked)?.kind ?? 'camera';
  }

  get room(): string {
    return this.#room.value.trim();
  }

  get simulcast(): boolean {
    return this.#layers.checked && this.kind !== 'audio';
  }

  get choice(): Choice {
    return { camera: this.#camera.value, microphone: this.#microphone.value };
  }

  /** Whether the room's name can be used; says so where it cannot. */
  #check(): boolean {
    const good = ID_PATTERN.test(this.room);
    setText(this.#error, good ? '' : 'Room names are letters, digits, - and _, from 1 to 64 of them.');
    if (good) this.#room.removeAttribute('aria-invalid');
    else this.#room.setAttribute('aria-invalid', 'true');
    return good;
  }

  validate(): boolean {
    if (this.#check()) return true;
    this.#room.focus();
    return false;
  }

  /** A room cannot change while it is live, and neither can the number of sizes. */
  lockRoom(locked: boolean): void {
    this.#layers.disabled = locked;
    this.#room.readOnly = locked;
    this.#fresh.disabled = locked;
  }

  /** Devices have names only after a person let the page use one. */
  async refresh(): Promise<void> {
    const { cameras, microphones } = await listDevices();
    fill(this.#camera, cameras, 'Default camera');
    fill(this.#microphone, microphones, 'Default microphone');
  }

  #showDevices(): void {
    const { kind } = this;
    for (const field of this.#devices.querySelectorAll<HTMLElement>('[data-device]')) {
      field.hidden = kind === 'flash' || (field.dataset['device'] === 'camera' && kind !== 'camera');
    }
    this.#devices.hidden = kind === 'flash';
    this.#sizes.hidden = kind === 'audio';
  }
}

function fill(select: HTMLSelectElement, devices: MediaDeviceInfo[], fallback: string): void {
  const before = select.value;
  const options = devices.map(({ deviceId, label }, at) => h('option', { value: deviceId }, label || `${fallback} ${at + 1}`));
  select.replaceChildren(h('option', { value: '' }, fallback), ...options);
  if ([...select.options].some(({ value }) => value === before)) select.value = before;
}
