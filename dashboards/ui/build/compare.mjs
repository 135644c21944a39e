// Builds the page anew into a folder of its own and compares it with the committed dist/, byte for byte.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const kept = fileURLToPath(new URL('../../dist/', import.meta.url));
const fresh = mkdtempSync(join(tmpdir(), 'weir-page-'));

/** Every file below a folder by its relative path. */
function read(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile());
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

try {
  await build({ root, logLevel: 'warn', build: { outDir: fresh, emptyOutDir: true } });
  const [want, have] = [read(fresh), read(kept)];
  const different = [...new Set([...want.keys(), ...have.keys()])].filter((name) => !want.get(name)?.equals(have.get(name) ?? Buffer.alloc(0)));
  for (const name of different) console.error(`differs: ${name}${have.has(name) ? want.has(name) ? '' : ' (not built any more)' : ' (not in dist)'}`);
  console.log(different.length === 0 ? `page: dist is what the source builds, ${want.size} files` : 'page: dist is stale: npm run build, and commit it');
  process.exitCode = different.length === 0 ? 0 : 1;
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
