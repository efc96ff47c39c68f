import { describe, expect, it } from 'vitest';
import { rewrite } from '../build/loader';
import { basePath, route } from '../src/base';

describe('the mount point', () => {
  it.each([
    ['/', '/'],
    ['/index.html', '/'],
    ['/studio', '/'],
    ['/studio/', '/'],
    ['/watch/room-1', '/'],
    ['/watch/room-1/', '/'],
    ['/a/b/', '/a/b/'],
    ['/a/b', '/a/b/'],
    ['/a/b/studio', '/a/b/'],
    ['/a/b/watch/x', '/a/b/'],
    // Names of pages inside names of others.
    ['/watch/studio', '/'],
    ['/watch/watch', '/'],
    ['/mywatch/x', '/mywatch/x/'],
    ['/restudio', '/restudio/'],
    ['/studio/watch/x', '/studio/'],
  ])('of %s is %s', (path, base) => expect(basePath(path)).toBe(base));
});

describe('the route', () => {
  it.each([
    ['/', { page: 'home' }],
    ['/p/', { page: 'home' }],
    ['/p/studio', { page: 'studio' }],
    ['/p/watch/Room_1-x', { page: 'watch', room: 'Room_1-x' }],
    ['/watch/%E2%82%AC', { page: 'lost' }],
    ['/watch/%', { page: 'lost' }],
    [`/watch/${'x'.repeat(65)}`, { page: 'lost' }],
  ])('of %s', (path, expected) => expect(route(path)).toEqual(expected));

  it('is lost for what no page answers to', () => expect(route('/p/other', '/p/')).toEqual({ page: 'lost' }));
});

describe('the loader', () => {
  const html = `<!doctype html><head>
    <meta charset="utf-8" />
    <script type="module" crossorigin src="./assets/index-1.js"></script>
    <link rel="stylesheet" crossorigin href="./assets/style-1.css">
  </head><body></body>`;

  it('names assets by a script alone, which the page itself allows by hash', async () => {
    const out = rewrite(html);
    expect(out).not.toMatch(/(src|href)="\.\/assets/);
    const script = /<script>([\s\S]*)<\/script>/.exec(out)?.[1] ?? '';
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(script));
    expect(out).toContain(`'sha256-${Buffer.from(digest).toString('base64')}'`);
  });

  it.each([
    ['/', '/'],
    ['/pre/fix/watch/room', '/pre/fix/'],
    ['/pre/studio', '/pre/'],
  ])('finds the assets from %s', (pathname, base) => {
    const script = /<script>([\s\S]*)<\/script>/.exec(rewrite(html))?.[1] ?? '';
    const added: { src?: string; href?: string }[] = [];
    const document = { createElement: () => ({ setAttribute: () => undefined }), head: { appendChild: (element: object) => added.push(element) } };
    new Function('document', 'location', script)(document, { pathname });
    expect(added.map(({ src, href }) => src ?? href)).toEqual([`${base}assets/style-1.css`, `${base}assets/index-1.js`]);
  });

  it('fails a build whose page it does not understand', () => expect(() => rewrite('<head></head>')).toThrow(/index\.html/));
});
