// Runs every spec in Debian's Chromium against one real weir. `npm test`, or `node run.mjs WORD` for the tests whose name has it.
// A test fails also when the page throws, logs an error, breaks its own security policy, or asks anything of another host.
import { readdirSync } from 'node:fs';
import { launch, newContext } from './browser.mjs';
import { PATIENCE_MS, start } from './weir.mjs';

const tests = [];
for (const file of readdirSync(new URL('specs/', import.meta.url)).filter((name) => name.endsWith('.mjs')).sort()) {
  const { default: specs } = await import(new URL(`specs/${file}`, import.meta.url));
  for (const [name, test, options] of specs) tests.push({ name: `${file.replace('.mjs', '')}: ${name}`, test, options: options ?? {} });
}
const wanted = tests.filter(({ name }) => process.argv.slice(2).every((word) => name.includes(word)));

/** One test in a browser context of its own. */
async function attempt(browser, weir, { test, options }) {
  const context = await newContext(browser, weir, options.context);
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const faults = [];
  const allowed = options.allow ?? /^$/;
  page.on('pageerror', (error) => faults.push(`the page threw: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !allowed.test(message.text())) faults.push(`the console says: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (options.elsewhere) return;
    if (!request.url().startsWith(weir.url) && !request.url().startsWith('data:')) faults.push(`asked another host: ${request.url()}`);
  });
  try {
    await test({ page, weir, context });
    if (faults.length > 0) throw new Error(faults.join('\n'));
  } catch (error) {
    if (process.env.WEIR_PAGE_SHOTS) await page.screenshot({ path: `${process.env.WEIR_PAGE_SHOTS}/${Date.now()}.png` });
    if (faults.length > 0 && !error.message.startsWith(faults[0])) error.message += `\n${faults.join('\n')}`;
    throw error;
  } finally {
    await context.close();
  }
}

let failed = 0;
const weir = await start();
const browser = await launch();
try {
  for (const one of wanted) {
    const begun = performance.now();
    try {
      await attempt(browser, weir, one);
      console.log(`ok    ${one.name} (${Math.round(performance.now() - begun)} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${one.name}\n${error.stack}`);
    }
  }
} finally {
  await browser.close();
  if (failed > 0) console.log(`the end of weir's log:\n${weir.log().slice(-3000)}`);
  await weir.stop();
}
console.log(`${wanted.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 && wanted.length > 0 ? 0 : 1;
