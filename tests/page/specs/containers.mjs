// What runs now.
import assert from 'node:assert/strict';
import { eventually, get } from '../weir.mjs';

const named = (page, name) => page.locator('tr', { has: page.getByRole('rowheader', { name }) }).first();
const row = (page) => page.locator('tr', { has: page.getByRole('rowheader', { name: 'page-box' }) });

export default [
  ['a running container has its row with its figures', async ({ page }) => {
    await page.goto('/');
    // Its state and limits come with samples of their own, a moment after the first.
    await eventually('limits and state', async () => {
      const text = await row(page).innerText();
      return [/of 64\.0 MiB/, /of 0\.50/, /running/].every((wanted) => wanted.test(text));
    });
    assert.equal(await row(page).locator('.meter[role=img]').count(), 1);
    // It asks again by itself: the sparkline grows from nothing to a line.
    await row(page).locator('svg.spark path.line').first().waitFor();
  }],
  ['the filter and the order are in the address', async ({ page }) => {
    await page.goto('/?filter=no-such-thing');
    await page.getByText('Nothing matches the filter').waitFor();
    await page.getByRole('searchbox', { name: 'Filter containers' }).fill('page-b');
    await row(page).waitFor();
    assert.match(page.url(), /filter=page-b/);
    await page.getByRole('button', { name: 'Memory' }).click();
    await page.waitForURL(/sort=-memory/);
    assert.equal(await page.getByRole('columnheader', { name: 'Memory' }).getAttribute('aria-sort'), 'descending');
    await page.reload();
    await row(page).waitFor();
    assert.equal(await page.getByRole('searchbox', { name: 'Filter containers' }).inputValue(), 'page-b');
  }],
  ['a row leads to the logs and metrics of its container', async ({ page }) => {
    await page.goto('/?filter=page-box');
    await page.getByRole('link', { name: 'Logs of page-box' }).click();
    await page.locator('.line', { hasText: 'box line' }).first().waitFor();
    await page.goBack();
    await page.getByRole('link', { name: 'Metrics of page-box' }).click();
    await page.locator('.graph[data-series="1"] canvas').waitFor();
  }],
  ['the dead have their row, with how they ended and what they said last', async ({ page, weir }) => {
    weir.run('page-greedy', '16Mi', 'echo "about to take it all"; x=$(head -c 200000000 /dev/zero | tr "\\0" x)');
    weir.run('page-fails', '16Mi', 'echo "cannot find the way"; exit 3');
    weir.run('page-shot', '16Mi', 'while :; do sleep 1; done');
    weir.end('page-shot');
    await page.goto('/?filter=page-');
    const says = (name, wanted) => eventually(`how ${name} ended`, async () => wanted.test(await named(page, name).innerText()));
    await says('page-fails', /exited[\s\S]*exit 3, \d+ s ago/);
    await says('page-greedy', /OOM killed[\s\S]*exit \d+/);
    await says('page-shot', /killed[\s\S]*exit 137 \(SIGKILL\)/);
    // Beside those that run, which stand before them.
    assert.match(await page.locator('table.containers tbody tr').first().innerText(), /page-box/);
    await page.getByRole('button', { name: 'Last lines of page-fails' }).click();
    await page.getByRole('group', { name: 'Last lines of page-fails' }).getByText('cannot find the way').waitFor();
    await page.getByRole('link', { name: 'Logs of page-fails' }).click();
    await page.locator('.line', { hasText: 'cannot find the way' }).first().waitFor();
    assert.match(page.url(), /from=.*to=/);
    await page.goto('/?filter=oom%20page');
    await named(page, 'page-greedy').waitFor();
    assert.equal(await named(page, 'page-fails').count(), 0);
  }],
  ['a container that is started again and again says how it ended before', async ({ page, weir }) => {
    weir.run('page-loop', '16Mi', 'exit 9', 'always');
    await page.goto('/?filter=page-loop');
    await eventually('its end before', async () => /before: exit 9|exited[\s\S]*exit 9/.test(await named(page, 'page-loop').innerText()));
    weir.end('page-loop');
  }],
  ['on a narrow screen a dead row says at its name how it ended', async ({ page, weir }) => {
    weir.run('page-narrow', '16Mi', 'exit 4');
    await page.goto('/?filter=page-narrow');
    const said = named(page, 'page-narrow').getByText(/^exited: exit 4, \d+ s ago$/);
    await said.waitFor();
    const box = await said.boundingBox();
    assert.ok(box && box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 390), 'no sideways scroll');
  }, { context: { viewport: { width: 390, height: 800 } } }],
  ['the node and its other cgroups stand below the containers', async ({ page, weir }) => {
    await page.goto('/');
    await row(page).waitFor();
    const { nodes } = await get(weir, 'containers');
    assert.equal(nodes.length, 1);
    await page.getByText(/^This node, services and other cgroups/).click();
    // The node is the first row.
    const node = page.locator('.machine tbody tr').first();
    assert.match(await node.getByRole('rowheader').innerText(), new RegExp(`^${nodes[0].node}\\b`));
    await eventually('its figures', async () => /of \d+/.test(await node.innerText()) && /GiB|MiB/.test(await node.innerText()));
    await node.getByRole('link', { name: `Metrics of ${nodes[0].node}` }).click();
    await page.locator('.graph canvas').waitFor();
  }],
];
