// Debian's Chromium for the page's tests and pictures. WEIR_PAGE_DIST names a folder whose files are shown in place of those in the
// binary: the page is tried without compiling weir.
import { existsSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const DIST = process.env.WEIR_PAGE_DIST;
/** How many times slower than this machine the page computes; its requests wait up to this many times 20 ms at random. */
export const SLOW = Number(process.env.WEIR_PAGE_SLOW ?? 1);
const KINDS = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

// Chromium takes a page that was not read from the network for one of another network, and refuses it weir's WebSocket.
if (DIST) ARGUMENTS.push('--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets');

export function launch() {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is not there: apt-get install chromium, or name another with CHROMIUM`);
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/** A browser context of its own that looks at `weir`. */
export async function newContext(browser, weir, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 800 }, baseURL: weir.url, ...options });
  if (DIST) await context.route((url) => url.href.startsWith(weir.url), serveDist);
  if (SLOW > 1) await slowDown(context);
  return context;
}

async function slowDown(context) {
  const waits = async (route) => {
    await new Promise((resolve) => { setTimeout(resolve, Math.random() * SLOW * 20); });
    await route.fallback().catch(() => undefined); // The page may be gone by now.
  };
  await context.route('**/*', waits);
  context.on('page', async (page) => {
    const session = await context.newCDPSession(page);
    await session.send('Emulation.setCPUThrottlingRate', { rate: SLOW });
  });
}

/** Documents and assets from the folder; APIs, and the headers of documents, from weir. */
async function serveDist(route) {
  const { pathname } = new URL(route.request().url());
  const file = join(DIST, route.request().resourceType() === 'document' ? 'index.html' : pathname);
  if (!(extname(file) in KINDS) || !existsSync(file)) return route.fallback();
  const headers = extname(file) === '.html' ? (await route.fetch()).headers() : {};
  return route.fulfill({ headers: { ...headers, 'content-type': KINDS[extname(file)] }, body: readFileSync(file) });
}
