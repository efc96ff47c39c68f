/**
 * Makes the built index.html work at any address below any prefix.
 *
 * The same file answers for `/`, `/studio` and `/watch/{room}`, so a relative `assets/…` would mean
 * another folder on each, and an absolute one would break behind a path prefix. A `<base>` that a
 * script sets comes too late for browsers that fetch ahead. So the tags that Vite wrote give way to
 * one small script that works the prefix out of the address and adds them itself. The page's own
 * Content-Security-Policy names that script by its hash.
 */
import { createHash } from 'node:crypto';
import type { Plugin } from 'vite';
import { PAGE_SUFFIX } from '../src/base.ts';

const SCRIPT = /\s*<script type="module"[^>]*\ssrc="\.\/([^"]+)"[^>]*><\/script>/;
const STYLE = /\s*<link rel="stylesheet"[^>]*\shref="\.\/([^"]+)"[^>]*>/;

export function loaderPlugin(): Plugin {
  return {
    name: 'freshet-loader',
    apply: 'build',
    enforce: 'post',
    transformIndexHtml: { order: 'post', handler: rewrite },
  };
}

export function rewrite(html: string): string {
  const script = SCRIPT.exec(html);
  const style = STYLE.exec(html);
  if (script === null || style === null) throw new Error('the built index.html does not name its script and style as expected');
  const loader = loaderSource(script[1] ?? '', style[1] ?? '');
  const hash = createHash('sha256').update(loader).digest('base64');
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    "style-src 'self'",
    "img-src 'self' data:",
    "media-src 'self' blob: mediastream:",
    // A session's Location may name another origin of the same service.
    "connect-src 'self' https: http:",
    "base-uri 'none'",
    "form-action 'self'",
  ].join('; ');
  return html
    .replace(SCRIPT, '')
    .replace(STYLE, '')
    .replace('<meta charset="utf-8" />', `<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`)
    .replace('</head>', `  <script>${loader}</script>\n  </head>`);
}

/** The style blocks rendering, so that nobody sees the page without it. */
function loaderSource(script: string, style: string): string {
  return [
    '(function(d){',
    `var b=location.pathname.replace(${String(PAGE_SUFFIX)},"/");`,
    'if(b.slice(-1)!=="/")b+="/";',
    'var l=d.createElement("link");l.rel="stylesheet";l.setAttribute("blocking","render");',
    `l.href=b+${JSON.stringify(style)};d.head.appendChild(l);`,
    'var s=d.createElement("script");s.type="module";s.setAttribute("blocking","render");',
    `s.src=b+${JSON.stringify(script)};d.head.appendChild(s);`,
    '})(document)',
  ].join('');
}
