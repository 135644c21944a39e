// What runs now.
import assert from 'node:assert/strict';
import { eventually, get } from '../weir.mjs';

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
