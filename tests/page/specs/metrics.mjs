// The metric graph, its table, its errors; alerts; the health of the path.
import assert from 'node:assert/strict';

const graph = (query, more = '') => `/graph?q=${encodeURIComponent(query)}${more}`;

export default [
  ['a query is drawn with its legend', async ({ page }) => {
    await page.goto(graph('container_memory_working_set_bytes{name="page-box"}', '&from=now-5m'));
    await page.locator('.graph[data-series="1"] canvas').waitFor();
    await page.locator('.legend').getByText('name="page-box"').waitFor();
    await page.getByRole('button', { name: 'Table' }).click();
    await page.getByRole('cell', { name: /name="page-box"/ }).waitFor();
    assert.match(page.url(), /tab=table/);
  }],
  ['without a query the names are listed', async ({ page }) => {
    await page.goto('/graph');
    await page.getByRole('searchbox', { name: 'Filter metric names' }).fill('container_memory_working');
    await page.getByRole('button', { name: 'container_memory_working_set_bytes' }).click();
    await page.locator('.graph canvas').waitFor();
  }],
  ['an error of the query is said, with its place', async ({ page }) => {
    await page.goto(graph('sum(rate(x)'));
    await page.getByRole('alert').getByText(/parse error/).waitFor();
    assert.equal(await page.locator('.marked mark').count(), 1);
  }, { allow: /400 \(Bad Request\)/ }],
  ['an alert’s link of Prometheus’ form opens here', async ({ page }) => {
    await page.goto(`/graph?g0.expr=${encodeURIComponent('vector(42)')}&g0.tab=1`);
    await page.getByRole('cell', { name: '42' }).waitFor();
  }],
  ['rules by state: firing first', async ({ page }) => {
    await page.goto('/alerts');
    const firing = page.locator('.rule[data-state=firing]', { hasText: 'ContainerRuns' });
    await firing.waitFor();
    await firing.getByText('page-box uses memory').waitFor();
    await page.locator('.rule[data-state=pending]', { hasText: 'Waits' }).waitFor();
    assert.deepEqual(await page.locator('.rule').evaluateAll((rules) => rules.map((rule) => rule.dataset.state)), ['firing', 'pending', 'inactive']);
    await page.getByRole('button', { name: /inactive/ }).click();
    await page.waitForURL(/state=inactive/);
    assert.equal(await page.locator('.rule').count(), 1);
  }],
  ['every partition’s place on the path', async ({ page }) => {
    await page.goto('/health');
    await page.getByRole('rowheader', { name: 'weir.logs' }).first().waitFor();
    for (const topic of ['weir.logs', 'weir.metrics', 'weir.spans']) assert.ok((await page.getByRole('rowheader', { name: topic }).count()) > 0, topic);
    await page.getByText(/0 declared lost, 0 quarantined/).waitFor();
  }],
];
