import { defineConfig } from 'vite';
import { loaderPlugin } from './build/loader.ts';

// `npm run dev` serves the pages itself and hands the rest to a running server.
const server = process.env['FRESHET_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: './',
  plugins: [loaderPlugin()],
  build: {
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
