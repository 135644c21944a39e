// A full disk is said on every view while it lasts, by the server's answers, and no longer.
import assert from 'node:assert/strict';
import { newContext } from '../browser.mjs';
import { eventually, pushLogs, start } from '../weir.mjs';
import { violations } from './page.mjs';

// The last one names what is missing.
const VIEWS = ['/', '/logs', '/traces', '/graph', '/alerts', '/usage', '/health'];
const banner = (page) => page.locator('.outage');
const ready = async (weir) => (await fetch(`${weir.url}/readyz`)).status;

export default [
  ['a full disk is said on every view, light and dark, and its end', async ({ context }) => {
    const weir = await start({ busMebibytes: 32 });
    try {
      const [light, dark] = await Promise.all(['light', 'dark'].map(async (colorScheme) => (await newContext(context.browser(), weir, { colorScheme })).newPage()));
      await pushLogs(weir, { app: 'full' }, ['before it was full']);
      await light.goto('/');
      await light.locator('[data-coverage="whole"]').waitFor();
      assert.equal(await banner(light).count(), 0);
      weir.fill();
      // The page that is open hears of it, with what it asks anyway.
      await banner(light).getByText(/New records are not being stored\. disk full: .*small \(bus\) refuses writes since 20.*Z; .* free/).waitFor();
      assert.equal(await banner(light).getAttribute('role'), 'alert');
      assert.equal(await ready(weir), 503);
      await light.locator('[data-coverage="partial"]').getByText('new records are not being stored').waitFor();
      for (const page of [light, dark]) {
        for (const view of VIEWS) {
          await page.goto(view);
          await banner(page).getByText('disk full').first().waitFor();
          await page.locator('header.troubled').waitFor();
        }
        // What works on blocks may be refused by then, too.
        await page.getByLabel('Missing now').getByText(/disk full: .* writes? refused/).first().waitFor();
        assert.deepEqual(await violations(page), []);
      }
      await light.goto('/logs?q=before');
      await light.locator('.line', { hasText: 'before it was full' }).first().waitFor();
      await light.locator('[data-coverage="partial"]').getByText('new records are not being stored').waitFor();
      weir.makeRoom();
      await eventually('ready', async () => (await ready(weir)) === 200);
      for (const page of [light, dark]) await banner(page).waitFor({ state: 'detached' });
      await light.locator('header.troubled').waitFor({ state: 'detached' });
      await Promise.all([light, dark].map((page) => page.context().close()));
    } finally {
      await weir.stop();
    }
  }],
];
