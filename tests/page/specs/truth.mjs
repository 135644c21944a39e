// The page says what it knows, and of when: coverage is the answer's, and a silent server is named.
import assert from 'node:assert/strict';
import { eventually } from '../weir.mjs';

const seconds = (text) => /(\d\d):(\d\d):(\d\d)/.exec(text).slice(1).reduce((sum, part) => sum * 60 + Number(part), 0);
const coverage = (page) => page.locator('[data-coverage]').innerText();
const silence = (page) => page.locator('.silence');
const AWAY = { allow: /Failed to load resource|WebSocket/ };

export default [
  ['coverage is of the answer’s time, whatever the page’s clock says', async ({ page }) => {
    // A browser two hours ahead of the server.
    await page.addInitScript(() => {
      const real = Date.now;
      Date.now = () => real() + 7_200_000;
    });
    await page.goto('/');
    await page.locator('[data-coverage]').waitFor();
    const [said, now] = [seconds(await coverage(page)), seconds(new Date().toTimeString())];
    const apart = Math.abs(now - said);
    assert.ok(Math.min(apart, 86_400 - apart) < 120, `the page says ${await coverage(page)}`);
  }],
  ['with the server away nothing moves on, and the page says since when and what is shown', async ({ page }) => {
    await page.goto('/');
    await page.getByRole('rowheader', { name: 'page-box' }).waitFor();
    await page.route('**/api/**', (route) => route.abort());
    await silence(page).getByText(/has not answered since \d\d:\d\d:\d\d/).waitFor();
    await silence(page).getByText(/What is shown is of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d or before/).waitFor();
    const before = await coverage(page);
    const rows = await page.locator('table.containers').first().innerText();
    // Longer than it takes to ask again, and by the page's own clock.
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    await eventually('the page asks three more times', () => asked.filter((url) => url.endsWith('/containers')).length >= 3);
    assert.equal(await coverage(page), before);
    assert.equal(await page.locator('table.containers').first().innerText(), rows);
    await page.unroute('**/api/**');
    await silence(page).waitFor({ state: 'detached' });
    await eventually('coverage moves on', async () => (await coverage(page)) !== before);
  }, AWAY],
  ['a server that hangs is said to be away, and what failed is asked again when it is back', async ({ page }) => {
    await page.goto('/alerts');
    await page.locator('.rule').first().waitFor();
    await page.route('**/api/**', () => undefined);
    await silence(page).getByText(/has not answered since/).waitFor();
    await page.route('**/api/**', (route) => route.abort());
    await page.getByRole('link', { name: 'Logs', exact: true }).click();
    await page.getByRole('alert').getByText('weir does not answer').waitFor();
    await page.unroute('**/api/**');
    await page.locator('.line').first().waitFor();
    assert.equal(await page.getByRole('alert').count(), 0);
  }, AWAY],
];
