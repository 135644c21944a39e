// What tenants have sent and asked: a row each, of all of them for an administrator, light and dark.
import assert from 'node:assert/strict';
import { newContext } from '../browser.mjs';
import { eventually, get, pushLogs } from '../weir.mjs';
import { violations } from './page.mjs';

const table = (page) => page.getByRole('region', { name: 'Usage by tenant' });
const row = (page, tenant) => table(page).getByRole('row', { name: new RegExp(`^${tenant}\\b`) });

export default [
  ['usage is shown by tenant, and of all tenants to an administrator', async ({ page, weir, context }) => {
    await pushLogs(weir, { app: 'till' }, ['sold', 'sold again'], { 'x-scope-orgid': 'usage-shop' });
    const usage = async (query) => (await get(weir, `usage?${query}`)).tenants;
    await eventually('the usage of both is stored', async () => {
      const all = await usage('all=true');
      const lines = (tenant) => all.find((one) => one.tenant === tenant)?.ingested.logs.records ?? 0;
      return lines('usage-shop') === 2 && lines('default') > 0;
    });
    assert.deepEqual((await usage('')).map((one) => one.tenant), ['default']);
    await page.goto('/usage?from=now-1h');
    await row(page, 'default').getByText(/lines/).waitFor();
    assert.equal(await row(page, 'usage-shop').count(), 0);
    await page.getByRole('button', { name: 'All tenants' }).click();
    await row(page, 'usage-shop').getByText('2 lines').waitFor();
    assert.equal(new URL(page.url()).searchParams.get('all'), 'true');
    await table(page).getByRole('button', { name: 'Tenant' }).click();
    await page.waitForURL(/sort=tenant/);
    assert.match(await table(page).locator('tbody tr').first().innerText(), /^default/);
    assert.deepEqual(await violations(page), []);
    const dark = await newContext(context.browser(), weir, { colorScheme: 'dark' });
    const other = await dark.newPage();
    await other.goto(page.url());
    await row(other, 'usage-shop').getByText('2 lines').waitFor();
    assert.deepEqual(await violations(other), []);
    await dark.close();
    await page.goto('/usage?tenant=usage-shop');
    await row(page, 'usage-shop').waitFor();
    assert.equal(await row(page, 'default').count(), 0);
  }],
];
