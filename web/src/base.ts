/**
 * Where this page is mounted. The server injects nothing, and a proxy may put all of Freshet under
 * a path prefix, so the prefix is what remains of the address once the known page is taken off.
 */

/** The part of a path that names a page: a room's watch page, the studio, or home. */
export const PAGE_SUFFIX = /\/(?:watch\/[^/]+\/?|studio\/?|index\.html)?$/;

export type Route =
  | { page: 'home' }
  | { page: 'studio' }
  | { page: 'watch'; room: string }
  | { page: 'lost' };

/** The mount point, with a slash at both ends. */
export function basePath(pathname: string): string {
  const base = pathname.replace(PAGE_SUFFIX, '/');
  return base.endsWith('/') ? base : `${base}/`;
}

/** Room and stream ids as the server takes them. */
export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;

/** Which page an address names, below `base`. */
export function route(pathname: string, base: string = basePath(pathname)): Route {
  const rest = pathname.slice(base.length);
  if (rest === '' || rest === 'index.html') return { page: 'home' };
  if (/^studio\/?$/.test(rest)) return { page: 'studio' };
  const room = /^watch\/([^/]+)\/?$/.exec(rest)?.[1];
  if (room !== undefined) {
    const name = safeDecode(room);
    if (ID_PATTERN.test(name)) return { page: 'watch', room: name };
  }
  return { page: 'lost' };
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
