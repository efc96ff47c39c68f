/** The link to share, with a button that copies it. */
import { h, setText } from './dom';
import { icon } from './icons';

export class Share {
  readonly element: HTMLElement;
  readonly #link: HTMLInputElement;
  readonly #hint: HTMLElement;

  constructor(url: string) {
    this.#link = h('input', { id: 'share', readonly: true, value: url, 'aria-describedby': 'share-hint' });
    this.#hint = h('p', { class: 'field-hint', id: 'share-hint', hidden: true });
    this.#link.addEventListener('focus', () => this.#link.select());
    const said = h('span', { class: 'visually-hidden', role: 'status' });
    const label = h('span', {}, 'Copy');
    const button = h('button', { type: 'button', class: 'button', 'aria-label': 'Copy link' }, icon('copy'), label);
    let back: ReturnType<typeof setTimeout> | undefined;
    const show = (text: string, done: boolean): void => {
      setText(label, done ? 'Copied' : 'Copy');
      button.firstElementChild?.replaceWith(icon(done ? 'check' : 'copy'));
      setText(said, text);
    };
    button.addEventListener('click', () => {
      clearTimeout(back);
      void this.#copy().then((copied) => {
        show(copied ? 'Link copied' : 'Copy the marked link by keyboard', copied);
        back = setTimeout(() => show('', false), 2_500);
      });
    });
    this.element = h('div', { class: 'field share' }, h('label', { for: 'share' }, 'Link to share'), h('div', { class: 'with-button' }, this.#link, button), this.#hint, said);
  }

  set(url: string): void {
    this.#link.value = url;
  }

  /** Says what else a viewer needs; nothing where the link is enough. */
  explain(text: string): void {
    setText(this.#hint, text);
    this.#hint.hidden = text === '';
  }

  /** Where the clipboard is closed to the page, the link is marked for the person to copy. */
  async #copy(): Promise<boolean> {
    try {
      await navigator.clipboard.writeText(this.#link.value);
      return true;
    } catch {
      this.#link.focus();
      this.#link.select();
      return false;
    }
  }
}
