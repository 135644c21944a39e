// The page as a whole: keyboard, themes, accessibility, its headers.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { eventually, now, pushLogs, pushSpans } from '../weir.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TRACE = '7a000000000000000000000000000001';

/** Serious and critical violations of the view as it stands, in words. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ['violations'] })).violations);
  return found.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
}

/** Views with data on them, and what shows that it is there. */
const VIEWS = [
  ['/', 'table.containers tbody tr'], ['/logs?q=axe', '.line'], ['/logs?q=no-such-line-anywhere', '.empty'], ['/traces', 'tbody tr'], [`/trace/${TRACE}?span=aaaaaaaaaaaaaab1`, '.side'],
  ['/graph', '.names button'], ['/graph?q=container_memory_working_set_bytes', '.graph canvas'], ['/graph?q=vector(1)&tab=table', 'tbody tr'], ['/alerts', '.rule'], ['/health', 'tbody tr'], ['/usage', 'tbody tr'], ['/nowhere', '.empty'],
];

async function given(weir) {
  await pushLogs(weir, { app: 'axe' }, [['level=error axe one', { level: 'error' }], ['axe two', { level: 'warn' }], 'axe three']);
  await pushSpans(weir, TRACE, now() - 1_000_000_000n, [
    { service: 'frontend', id: 'aaaaaaaaaaaaaab1', name: 'GET /', from: 0, ms: 40, attributes: { a: 'b' } },
    { service: 'cart', id: 'aaaaaaaaaaaaaab2', parent: 'aaaaaaaaaaaaaab1', name: 'GetCart', from: 2, ms: 10, error: 'no' },
  ]);
}

const accessible = (scheme) => [`every view is accessible, ${scheme}`, async ({ page, weir }) => {
  await given(weir);
  for (const [path, shown] of VIEWS) {
    await page.goto(path);
    await page.locator(shown).first().waitFor();
    assert.deepEqual(await violations(page), [], `${path} in ${scheme}`);
  }
  await page.goto('/logs?q=axe');
  await page.getByRole('button', { name: /Details of the line/ }).first().click();
  await page.getByText('Last hour').first().click();
  assert.deepEqual(await violations(page), [], `an open line and the range picker in ${scheme}`);
  await page.keyboard.press('Escape');
  await page.locator('h1').first().focus().catch(() => undefined);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  assert.deepEqual(await violations(page), [], `the help in ${scheme}`);
}, { context: { colorScheme: scheme } }];

export default [
  accessible('light'),
  accessible('dark'),
  ['the keyboard goes everywhere', async ({ page, weir }) => {
    await pushLogs(weir, { app: 'keys' }, ['key one', 'key two', 'key three']);
    await page.goto('/');
    await page.getByRole('heading', { name: 'Containers' }).waitFor();
    for (const [key, path] of [['l', '/logs'], ['t', '/traces'], ['m', '/graph'], ['a', '/alerts'], ['h', '/health'], ['u', '/usage'], ['c', '/']]) {
      await eventually(`g ${key} leads to ${path}`, async () => {
        // Both within a second, which a busy machine may miss.
        await page.keyboard.press('g');
        await page.keyboard.press(key);
        return page.waitForURL((url) => url.pathname === path, { timeout: 3000 }).then(() => true, () => false);
      });
    }
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.goto('/logs?q=%7Bapp%3D%22keys%22%7D');
    await eventually('three lines', async () => (await page.locator('[data-line]').count()) === 3);
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Log query');
    await page.keyboard.press('Escape');
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.locator('[data-line][data-selected]', { hasText: 'key two' }).waitFor();
    await page.keyboard.press('k');
    await page.locator('[data-line][data-selected]', { hasText: 'key three' }).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('[data-selected] .details').waitFor();
    await page.keyboard.press('Enter');
    await page.locator('.details').waitFor({ state: 'detached' });
  }],
  ['earlier queries come back with the arrow', async ({ page }) => {
    await page.goto('/logs');
    const field = page.getByRole('textbox', { name: 'Log query' });
    for (const query of ['first query', 'second query']) {
      await field.fill(query);
      await field.press('Enter');
      await page.waitForURL((url) => url.searchParams.get('q') === query);
    }
    await field.fill('');
    await field.press('ArrowUp');
    assert.equal(await field.inputValue(), 'second query');
    await field.press('Home');
    await field.press('ArrowUp');
    assert.equal(await field.inputValue(), 'first query');
  }],
  ['the first Tab is the skip link', async ({ page }) => {
    await page.goto('/alerts');
    await page.getByRole('heading', { name: 'Alerts' }).waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
  }],
  ['dark as the system says, light by the button, kept', async ({ page }) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    await page.goto('/alerts');
    await page.getByRole('heading', { name: 'Alerts' }).waitFor();
    const dark = await ground();
    await page.getByRole('button', { name: 'Light theme' }).click();
    await eventually('another ground', async () => (await ground()) !== dark);
    const light = await ground();
    await page.reload();
    await page.getByRole('button', { name: 'Dark theme' }).waitFor();
    assert.equal(await ground(), light);
  }, { context: { colorScheme: 'dark' } }],
  ['a strict policy; other paths of the server stay theirs', async ({ page, weir }) => {
    const answer = await page.goto('/logs');
    assert.match(answer.headers()['content-security-policy'], /^default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.equal(answer.headers()['x-content-type-options'], 'nosniff');
    const unknown = await fetch(`${weir.url}/api/v1/nothing`, { headers: { accept: 'text/html' } });
    assert.equal(unknown.status, 404);
    assert.ok(!(await unknown.text()).includes('<html'));
    const metrics = await fetch(`${weir.url}/metrics`, { headers: { accept: 'text/html' } });
    assert.match(await metrics.text(), /^# (HELP|TYPE) /m);
  }],
  ['a narrow screen has the whole navigation, levels and containers of lines, and names of spans', async ({ page, weir }) => {
    await given(weir);
    const within = async (what) => {
      const box = await what.boundingBox();
      assert.ok(box && box.x >= 0 && box.x + box.width <= 390 && box.width > 10, `${what}: ${JSON.stringify(box)}`);
      // Nothing lies over it, nothing cuts it off.
      assert.ok(await what.evaluate((node) => {
        const { left, top, width, height } = node.getBoundingClientRect();
        const hit = document.elementFromPoint(left + width / 2, top + height / 2);
        return node.contains(hit) || hit?.contains(node);
      }), `${what} is covered`);
    };
    await page.goto('/logs?q=%7Bapp%3D%22axe%22%7D');
    const row = page.locator('.line', { hasText: 'axe one' }).first();
    await row.waitFor();
    for (const name of ['Containers', 'Logs', 'Traces', 'Metrics', 'Alerts', 'Health']) await within(page.getByRole('navigation').getByRole('link', { name }));
    await within(row.getByRole('button', { name: 'Only lines of level error' }));
    await within(row.getByText('axe', { exact: true }));
    await page.goto(`/trace/${TRACE}`);
    for (const name of ['GET /', 'GetCart']) {
      const button = page.getByRole('button', { name, exact: true }).first();
      await button.waitFor();
      await within(button);
      assert.ok(await button.evaluate((node) => node.scrollWidth <= node.clientWidth + 1), `${name} is whole`);
    }
  }, { context: { viewport: { width: 390, height: 800 } } }],
  ['a narrow screen has no sideways scroll', async ({ page, weir }) => {
    await given(weir);
    for (const [path, shown] of VIEWS) {
      await page.goto(path);
      await page.locator(shown).first().waitFor();
      const [inner, all] = await page.evaluate(() => [document.documentElement.clientWidth, document.documentElement.scrollWidth]);
      assert.ok(all <= inner, `${path}: ${all} wide in ${inner}`);
    }
  }, { context: { viewport: { width: 390, height: 800 } } }],
];
