/** The router: three pages at real addresses, below whatever prefix the server is mounted. */
import './style/base.css';
import './style/parts.css';
import './style/player.css';
import './style/chat.css';
import './style/pages.css';
import { at, base } from './app';
import { route } from './base';
import { home } from './pages/home';
import { studio } from './pages/studio';
import { watch } from './pages/watch';
import { Cleanup, h, replace } from './ui/dom';
import { buildShell, goLiveLink } from './ui/shell';

const shell = buildShell();
document.body.replaceChildren(shell.root);
let cleanup = new Cleanup();
let here = '';

function show(first: boolean): void {
  const address = location.pathname + location.search;
  // A change of the fragment alone is not a change of page.
  if (!first && address === here) return;
  here = address;
  cleanup.run();
  cleanup = new Cleanup();
  delete window.__freshet;
  replace(shell.aside);
  const now = route(location.pathname, base);
  const context = { shell, cleanup, query: new URLSearchParams(location.search) };
  if (now.page !== 'studio') replace(shell.aside, now.page === 'watch' ? goLiveLink() : null);
  switch (now.page) {
    case 'home':
      home(context);
      break;
    case 'studio':
      studio(context);
      break;
    case 'watch':
      watch(context, now.room);
      break;
    case 'lost':
      lost();
  }
  if (!first) {
    scrollTo(0, 0);
    shell.main.focus({ preventScroll: true });
  }
}

function lost(): void {
  document.title = 'Nothing here · Freshet';
  shell.main.className = 'lost';
  replace(
    shell.main,
    h('h1', {}, 'There is nothing here'),
    h('p', {}, 'The address may be cut off: room names are letters, digits, - and _. Ask for the link again, or see what is live.'),
    h('a', { class: 'button primary', href: at('') }, 'See what is live'),
  );
}

document.addEventListener('click', (event) => {
  const link = (event.target as Element | null)?.closest?.('a');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (link.target !== '' || url.origin !== location.origin || !url.pathname.startsWith(base) || route(url.pathname, base).page === 'lost') return;
  event.preventDefault();
  if (url.href === location.href) return;
  history.pushState(null, '', url);
  show(false);
});
addEventListener('popstate', () => show(false));
// A page that comes back from the browser's cache has left its room when it went: it starts anew.
addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload();
});
show(true);
