// The metric graph, its table, its errors; alerts; the health of the path.
import assert from 'node:assert/strict';
import { eventually, pushGauge } from '../weir.mjs';

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
  ['the graph shows the range that was asked for, values under the cursor, and when a series ended', async ({ page, weir }) => {
    // A series of 9 to 8 minutes ago, and another of now.
    await pushGauge(weir, 'page_ended_bytes', '', { which: 'ended' }, Array.from({ length: 13 }, (_, i) => [540 - i * 5, 3_145_728]));
    await pushGauge(weir, 'page_ended_bytes', '', { which: 'lasting' }, [[1, 1_048_576]]);
    await eventually('both series', async () => (await (await fetch(`${weir.url}/api/v1/query?query=count(last_over_time(page_ended_bytes[15m]))`)).json()).data.result[0]?.value[1] === '2');
    // Without a look back: what is not there at an instant is not there.
    await page.goto(graph('max_over_time(page_ended_bytes[5s])', '&from=now-10m'));
    await page.locator('.graph[data-series="2"] canvas').waitFor();
    await page.getByText('a point every 2 s, in bytes').waitFor();
    const ended = page.locator('.legend button', { hasText: 'which="ended"' });
    assert.match(await ended.innerText(), /3\.0 MiB at \d\d:\d\d:\d\d/);
    // The plot lies right of the axis' 78 pixels and is as wide as the range, whatever has been stored in it.
    const over = await page.locator('.graph .u-over').boundingBox();
    const told = async (share) => {
      await page.mouse.move(over.x + over.width * share, over.y + 100);
      return eventually('the tooltip', async () => {
        const text = await page.locator('.tooltip').innerText({ timeout: 1000 });
        const [, time] = /(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)/.exec(text);
        return { text, ago: (Date.now() - new Date(time).getTime()) / 1000 };
      });
    };
    const left = await told(0.003);
    assert.ok(left.ago > 590 && left.ago < 660, `the left edge is of ${left.ago} s ago`);
    assert.match(left.text, /no value/);
    await page.mouse.move(0, 0);
    assert.match((await told(0.15)).text, /which="ended"\}? ?\s*3\.0 MiB/);
    await page.mouse.move(0, 0);
    assert.match((await told(0.5)).text, /no value/, 'no line across a gap');
    await page.mouse.move(0, 0);
    await page.locator('.plot').focus();
    await page.keyboard.press('ArrowLeft');
    await page.locator('.tooltip time').waitFor();
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
  ['a mistyped metric or label is said, with the one that was meant', async ({ page }) => {
    await page.goto(graph('sum(container_memory_workingset_bytes)'));
    await page.getByText('no metric named container_memory_workingset_bytes; did you mean container_memory_working_set_bytes?').waitFor();
    await page.getByRole('button', { name: 'Ask for container_memory_working_set_bytes' }).click();
    await page.locator('.graph canvas').waitFor();
    await page.goto(graph('container_memory_working_set_bytes{nmae="page-box"}', '&tab=table'));
    await page.getByText('no label named nmae; did you mean name?').waitFor();
  }],
  ['health speaks of ingested, searchable, lag, on disk and in memory', async ({ page }) => {
    await page.goto('/health');
    await page.getByRole('rowheader', { name: 'weir.logs' }).first().waitFor();
    for (const name of ['Ingested', 'Searchable', 'Lag', 'On disk', 'In memory']) await page.getByRole('columnheader', { name, exact: true }).waitFor();
    // Messages are the bus's, records are lines, samples and spans: the sum and its column speak of the same.
    const sum = await page.getByText(/ingested, lag/).innerText();
    assert.match(sum, /^[\d,]+ messages? ingested, lag \d+, /);
  }],
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
  ['an alert shows all annotations, its runbook as a link, and leads to logs, traces, metrics and container', async ({ page }) => {
    await page.goto('/');
    // The navigation counts alerts that fire, wherever the reader is.
    await page.getByRole('link', { name: /^Alerts/ }).getByText('1 firing').waitFor();
    await page.goto('/alerts');
    const alert = page.getByRole('region', { name: 'firing alert of ContainerRuns' });
    await alert.getByText('page-box uses memory').waitFor();
    const runbook = alert.getByRole('link', { name: 'https://runbooks.example/memory' });
    assert.match(await runbook.getAttribute('rel'), /noopener/);
    await alert.getByText('javascript:alert(1)').waitFor();
    assert.equal(await alert.locator('a[href^="javascript"]').count(), 0);
    await page.getByRole('button', { name: 'firing 1 alert' }).waitFor();
    await alert.getByRole('link', { name: 'logs', exact: true }).click();
    await page.waitForURL((url) => url.pathname === '/logs' && /^\d{4}-.*Z$/.test(url.searchParams.get('from')));
    await page.locator('.line', { hasText: 'box line' }).first().waitFor();
    await page.goBack();
    await alert.getByRole('link', { name: 'metrics', exact: true }).click();
    await page.locator('.graph[data-series="1"] canvas').waitFor();
    await page.goBack();
    await alert.getByRole('link', { name: 'container', exact: true }).click();
    await page.getByRole('rowheader', { name: 'page-box' }).waitFor();
    await page.goBack();
    await alert.getByRole('link', { name: 'traces', exact: true }).click();
    await page.waitForURL((url) => url.pathname === '/traces' && url.searchParams.get('service') === 'page-box');
  }],
  ['every partition’s place on the path', async ({ page }) => {
    await page.goto('/health');
    await page.getByRole('rowheader', { name: 'weir.logs' }).first().waitFor();
    for (const topic of ['weir.logs', 'weir.metrics', 'weir.spans']) assert.ok((await page.getByRole('rowheader', { name: topic }).count()) > 0, topic);
    await page.getByText(/0 declared lost, 0 records quarantined/).waitFor();
  }],
];
