// Receivers of remote write on the page: what waits for one that is away, and that nothing waits for one that is there.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { newContext } from '../browser.mjs';
import { eventually, freePort, get, start } from '../weir.mjs';
import { violations } from './page.mjs';

const table = (page) => page.getByRole('region', { name: 'Remote write' });
const row = (page, name) => table(page).getByRole('row', { name: new RegExp(`^${name}\\b`) });

/** Takes every request. */
async function receiver() {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(204).end());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return server;
}

export default [
  ['receivers of remote write show what waits for them, and why', async ({ context }) => {
    const [there, away] = [await receiver(), await freePort()];
    const one = (name, port) => `[[collector.remote_write]]\nname = "${name}"\nurl = "http://127.0.0.1:${port}/write"\nqueue_config.batch_send_deadline = "100ms"\n`;
    const weir = await start({ config: () => one('there', there.address().port) + one('away', away) });
    try {
      await eventually('one receiver is behind', async () => {
        const [taken, waiting] = (await get(weir, 'status')).remote_write;
        return taken.lag_seconds !== null && waiting.pending_records > 1 && waiting.last_error;
      });
      for (const colorScheme of ['light', 'dark']) {
        const own = await newContext(context.browser(), weir, { colorScheme });
        const page = await own.newPage();
        await page.goto(`${weir.url}/health`);
        await row(page, 'away').getByText('took nothing yet').waitFor();
        assert.match(await row(page, 'away').innerText(), /ago/);
        assert.match(await row(page, 'there').innerText(), /none$/);
        assert.deepEqual(await violations(page), []);
        await own.close();
      }
    } finally {
      await weir.stop();
      there.close();
    }
  }],
  ['without receivers the page says nothing of remote write', async ({ page }) => {
    await page.goto('/health');
    await page.getByRole('region', { name: 'Partitions' }).waitFor();
    assert.equal(await table(page).count(), 0);
  }],
];
