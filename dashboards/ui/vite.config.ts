// How the page is built: one module, one style sheet, names by content hash, nothing from outside.
import { defineConfig } from 'vite';

const weir = process.env.WEIR_URL ?? 'http://127.0.0.1:9641';

export default defineConfig({
  base: '/',
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
    license: { fileName: 'licenses.md' },
  },
  server: {
    host: '127.0.0.1',
    proxy: {
      '/api': { target: weir, ws: true },
      '/loki': { target: weir, ws: true },
    },
  },
});
