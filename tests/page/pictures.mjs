// The README's pictures, light and dark, from a real weir with something on it: `node pictures.mjs` writes docs/images.
import { fileURLToPath } from 'node:url';
import { launch, newContext } from './browser.mjs';
import { eventually, get, now, pushLogs, pushSpans, start } from './weir.mjs';

const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const TRACE = '5e0000000000000000000000000000c4';
const pod = (container, stream = 'stdout') => ({ namespace: 'shop', pod: `${container}-7d9f`, container, stream });

const VIEWS = [
  // This weir's own containers, not others that may run on the machine.
  ['containers', '/?filter=shop-', 'table.containers svg.spark path.line'],
  ['logs', '/logs?q=%7Bnamespace%3D%22shop%22%7D&from=now-15m', '.line'],
];

/** Lines of a small shop, one of its stack traces and one of its traces. */
async function fill(weir) {
  const busy = (share) => `while :; do i=0; while [ $i -lt ${share} ]; do i=$((i+1)); done; echo tick; sleep 0.2; done`;
  for (const [name, memory, share] of [['shop-frontend', '64Mi', 40_000], ['shop-cart', '32Mi', 8000], ['shop-payment', '16Mi', 90_000], ['shop-mail', '128Mi', 100]]) weir.run(name, memory, busy(share));
  for (let i = 0; i < 24; i += 1) {
    await pushLogs(weir, pod('frontend'), [[`level=info msg="request completed" method=GET path=/api/products/${1000 + i * 7} status=200 took=${20 + ((i * 37) % 60)}ms`, { level: 'info' }]]);
    if (i % 3 === 0) await pushLogs(weir, pod('cart'), [[`\u001b[36mDEBUG\u001b[0m cache lookup key=cart:${4000 + i} hit=${i % 2 === 0}`, { level: 'debug' }]]);
    if (i % 7 === 2) await pushLogs(weir, pod('payment'), [[`level=warn msg="retrying" attempt=${1 + (i % 4)} of=5 last_error="deadline exceeded after 250ms"`, { level: 'warn', trace_id: TRACE }]]);
    if (i % 11 === 5) {
      await pushLogs(weir, pod('checkout', 'stderr'), [
        ['\u001b[31mERROR\u001b[0m could not charge card', { level: 'error', trace_id: TRACE }], 'java.io.IOException: connection reset', '\tat shop.Payment.charge(Payment.java:42)', '\tat shop.Checkout.place(Checkout.java:118)', 'Caused by: java.net.SocketException: broken pipe', '\t... 12 more',
      ]);
    }
  }
  await pushSpans(weir, TRACE, now() - 2_000_000_000n, [{ service: 'frontend', id: 'aaaaaaaaaaaaaaa1', name: 'POST /checkout', from: 0, ms: 400 }]);
  await eventually('samples of a while', async () => (await get(weir, 'containers')).containers.filter((one) => one.name.startsWith('shop-') && one.cpu_history.length > 20).length === 4, 120_000);
  await eventually('the lines', async () => (await get(weir, `logs?limit=100&query=${encodeURIComponent('{namespace="shop"}')}`)).lines.length >= 40);
}

const weir = await start();
const browser = await launch();
try {
  await fill(weir);
  for (const colorScheme of ['light', 'dark']) {
    const context = await newContext(browser, weir, { viewport: { width: 1280, height: 620 }, colorScheme });
    const page = await context.newPage();
    for (const [name, path, shown] of VIEWS) {
      await page.goto(path);
      await page.locator(shown).first().waitFor();
      await page.waitForLoadState('networkidle');
      await page.screenshot({ path: `${images}${name}-${colorScheme}.png` });
    }
    await context.close();
  }
} finally {
  await browser.close();
  await weir.stop();
}
