import { defineConfig } from 'vite';

// `npm run dev` serves the pages itself and hands the rest to a running server.
const server = process.env['FRESHET_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  // Assets are named relative to the page, so that any path prefix works and nothing is injected.
  // A relative name depends on how deep the page's address is, hence two pages of one content: the
  // server answers `/` and `/studio` with index.html, `/watch/{room}` with watch/index.html.
  base: './',
  build: {
    rolldownOptions: { input: ['index.html', 'watch/index.html'] },
    target: 'es2022',
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(['/v1', '/whip', '/whep', '/sessions'].map((path) => [path, { target: server, xfwd: true }])),
  },
});
