/** Small helpers to build elements. Text is always set as text, never parsed as HTML. */

type Child = Node | string | null | undefined | false;
type Props = Record<string, unknown>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  assign(element, props);
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

function assign(element: HTMLElement, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on') && typeof value === 'function') {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (name === 'class') {
      element.className = String(value);
    } else if (name === 'props') {
      Object.assign(element, value);
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
}

/** Sets text only where it differs, so that live regions speak once. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function replace(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
}

/** Undoes what a page set up, in reverse. */
export class Cleanup {
  readonly #tasks: (() => void)[] = [];
  readonly #abort = new AbortController();

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  add(task: () => void): void {
    this.#tasks.push(task);
  }

  on<T extends EventTarget>(target: T, type: string, listener: (event: Event) => void, options: AddEventListenerOptions = {}): void {
    target.addEventListener(type, listener, { ...options, signal: this.#abort.signal });
  }

  every(ms: number, task: () => void): void {
    const timer = setInterval(task, ms);
    this.add(() => clearInterval(timer));
  }

  run(): void {
    this.#abort.abort();
    for (const task of this.#tasks.splice(0).reverse()) task();
  }
}
