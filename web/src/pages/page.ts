/** What the router hands to a page. */
import type { Cleanup } from '../ui/dom';
import type { Shell } from '../ui/shell';

export interface PageContext {
  shell: Shell;
  cleanup: Cleanup;
  query: URLSearchParams;
}

/** What tests and curious people find as `window.__freshet`. */
export interface Hook {
  readonly pc: RTCPeerConnection | null;
  readonly state: string;
  stats: () => Promise<unknown[]>;
}

declare global {
  interface Window {
    __freshet?: Hook;
  }
}

export function expose(pc: () => RTCPeerConnection | null, state: () => string): void {
  window.__freshet = {
    get pc() {
      return pc();
    },
    get state() {
      return state();
    },
    stats: async () => [...((await pc()?.getStats())?.values() ?? [])],
  };
}
