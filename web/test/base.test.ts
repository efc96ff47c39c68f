import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
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

it('is one page for all addresses, whose links alone depend on their depth', () => {
  const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  expect(read('watch/index.html')).toBe(read('index.html'));
});
