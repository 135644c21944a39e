// Says what the built page weighs, and fails above the budget: 200 KB with brotli, all files together.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';

const BUDGET = 200_000;
const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
const files = readdirSync(dist, { recursive: true }).map((name) => join(dist, name)).filter((path) => statSync(path).isFile());
const weight = files.reduce((sum, path) => sum + brotliCompressSync(readFileSync(path)).length, 0);
console.log(`page: ${files.length} files, ${(weight / 1000).toFixed(1)} KB with brotli (limit ${BUDGET / 1000} KB)`);
if (weight > BUDGET) process.exitCode = 1;
