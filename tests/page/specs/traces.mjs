// A trace by its id, and the search for traces.
import assert from 'node:assert/strict';
import { eventually, get, now, pushLogs, pushSpans } from '../weir.mjs';

let next = 0;
const newId = () => `5e${(Date.now() * 1000 + (next += 1)).toString(16).padStart(30, '0')}`.slice(0, 32);

async function given(weir) {
  const id = newId();
  const start = now() - 2_000_000_000n;
  await pushSpans(weir, id, start, [
    { service: 'frontend', id: 'aaaaaaaaaaaaaaa1', name: 'POST /checkout', from: 0, ms: 400, attributes: { 'http.route': '/checkout' } },
    { service: 'cart', id: 'aaaaaaaaaaaaaaa2', parent: 'aaaaaaaaaaaaaaa1', name: 'GetCart', from: 20, ms: 100 },
    { service: 'payment', id: 'aaaaaaaaaaaaaaa3', parent: 'aaaaaaaaaaaaaaa1', name: 'Charge', from: 130, ms: 250, error: 'card declined', events: ['CardError'] },
    { service: 'mail', id: 'aaaaaaaaaaaaaaa4', parent: 'bbbbbbbbbbbbbbbb', name: 'late mail', from: 390, ms: 5 },
  ]);
  await pushLogs(weir, { app: 'payment' }, [`charging failed trace=${id}`]);
  await eventually('the trace', async () => (await get(weir, `traces/${id}`)).trace?.spans.length === 4);
  return id;
}

const EVIL = 'node-<img src=x onerror="document.title=1">';

/** A frontend on one node that asks a cart on another, whose clock is 5 s behind. */
async function givenTwoClocks(weir) {
  const id = newId();
  const start = now() - 20_000_000_000n;
  const at = (ms) => start + BigInt(ms) * 1_000_000n;
  await pushSpans(weir, id, start, [
    { service: 'frontend', node: 'node-a', id: 'aaaaaaaaaaaaaaa1', name: 'POST /checkout', from: 0, ms: 300 },
    { service: 'frontend', node: 'node-a', id: 'aaaaaaaaaaaaaaa2', parent: 'aaaaaaaaaaaaaaa1', name: 'ask the cart', kind: 3, from: 100, ms: 100 },
    { service: 'cart', node: EVIL, id: 'aaaaaaaaaaaaaaa3', parent: 'aaaaaaaaaaaaaaa2', name: 'GetCart', from: -4890, ms: 80 },
  ]);
  const of = (span) => ({ trace_id: id, span_id: `aaaaaaaaaaaaaaa${span}` });
  await pushLogs(weir, { app: 'frontend', node: 'node-a' }, [['asks the cart', of(1), at(90)], ['has the cart', of(1), at(210)]]);
  await pushLogs(weir, { app: 'cart', node: EVIL }, [['<b>looks</b>', of(3), at(-4880)], ['found', of(3), at(-4820)]]);
  await pushLogs(weir, { app: 'mail', node: 'node-c' }, [['of a node without spans', { trace_id: id }, at(500)]]);
  await eventually('its lines', async () => (await get(weir, `traces/${id}/logs`)).lines?.length === 5);
  await eventually('its spans', async () => (await get(weir, `traces/${id}`)).trace?.spans.length === 3);
  return id;
}

const row = (page, id) => page.locator(`[data-span="${id}"]`);

export default [
  ['the waterfall of a trace by its id', async ({ page, weir }) => {
    const id = await given(weir);
    await page.goto('/traces');
    await page.getByRole('textbox', { name: 'Trace id' }).fill(id.toUpperCase());
    await page.keyboard.press('Enter');
    await page.waitForURL(`**/trace/${id}`);
    await row(page, 'aaaaaaaaaaaaaaa1').getByText('POST /checkout').waitFor();
    assert.equal(await page.locator('[data-span]').count(), 4);
    assert.deepEqual(await page.locator('[data-span]').evaluateAll((rows) => rows.map((one) => one.dataset.span.slice(-1))), ['1', '2', '3', '4']);
    assert.match(await row(page, 'aaaaaaaaaaaaaaa3').innerText(), /error/);
    assert.match(await row(page, 'aaaaaaaaaaaaaaa4').innerText(), /parent not seen/);
    const [root, child] = await Promise.all([1, 3].map((i) => row(page, `aaaaaaaaaaaaaaa${i}`).locator('.span-bar').boundingBox()));
    assert.ok(child.x > root.x && Math.abs(child.width / root.width - 250 / 400) < 0.02, 'bars are to scale');
  }],
  ['a span’s details and the trace’s logs', async ({ page, weir }) => {
    const id = await given(weir);
    await page.goto(`/trace/${id}`);
    await row(page, 'aaaaaaaaaaaaaaa3').getByRole('button', { name: 'Charge' }).click();
    const side = page.getByRole('complementary', { name: 'Span' });
    await side.getByText('card declined').waitFor();
    await side.getByText('CardError').first().waitFor();
    await page.waitForURL(/span=aaaaaaaaaaaaaaa3/);
    await page.locator('.trace-logs .line', { hasText: 'charging failed' }).waitFor();
  }],
  ['the links to a trace’s and a span’s logs find the lines that carry the id in their record, or in their text', async ({ page, weir }) => {
    const id = await given(weir);
    await pushLogs(weir, { app: 'cart' }, [['in the record', { trace_id: id }], ['of the span', { trace_id: id, span_id: 'aaaaaaaaaaaaaaa2' }], 'of no trace']);
    await eventually('the lines', async () => (await get(weir, `logs?query=${encodeURIComponent(`{app="cart"} | trace_id="${id}"`)}`)).lines.length === 2);
    const texts = async () => JSON.stringify((await page.locator('.line .text').allInnerTexts()).sort());
    const all = JSON.stringify([`charging failed trace=${id}`, 'in the record', 'of the span'].sort());
    await page.goto(`/trace/${id}`);
    await eventually('its lines below the trace', async () => (await texts()) === all);
    await page.getByRole('link', { name: 'Open in log search' }).click();
    await page.waitForURL((url) => url.pathname === '/logs' && url.searchParams.get('trace') === id);
    await eventually('the same lines', async () => (await texts()) === all);
    await page.locator('.meaning code', { hasText: id }).waitFor();
    await page.goto(`/trace/${id}?span=aaaaaaaaaaaaaaa2`);
    await page.getByRole('link', { name: 'Logs with this span’s id' }).click();
    await eventually('the line of the span', async () => (await texts()) === '["of the span"]');
    await page.getByRole('button', { name: 'Not only this span' }).click();
    await eventually('those of the trace', async () => (await texts()) === all);
    // Words narrow the lines of a trace, and stay in the address.
    await page.getByRole('textbox', { name: 'Log query' }).fill('charging');
    await page.keyboard.press('Enter');
    await eventually('one of them', async () => (await texts()) === JSON.stringify([`charging failed trace=${id}`]));
    await page.reload();
    await eventually('one of them again', async () => (await texts()) === JSON.stringify([`charging failed trace=${id}`]));
  }],
  ['a trace’s logs and the list of traces turn around', async ({ page, weir }) => {
    const id = await given(weir);
    await pushLogs(weir, { app: 'payment' }, [`charged again trace=${id}`]);
    await eventually('both lines', async () => (await get(weir, `logs?query=${encodeURIComponent(`{app="payment"} |= "${id}"`)}`)).lines.length === 2);
    const texts = () => page.locator('.trace-logs .line .text').allInnerTexts();
    await page.goto(`/trace/${id}`);
    await eventually('oldest first', async () => /^charging.*,charged/.test((await texts()).join()));
    await page.getByRole('combobox', { name: 'Order' }).selectOption('newest');
    await page.waitForURL(/order=newest/);
    await eventually('newest first', async () => /^charged.*,charging/.test((await texts()).join()));
    await page.goto('/traces?service=frontend');
    await page.getByRole('link', { name: id }).waitFor();
    const newest = await page.locator('tbody tr td:first-child').allInnerTexts();
    await page.getByRole('combobox', { name: 'Order' }).selectOption('oldest');
    await eventually('the other way round', async () => (await page.locator('tbody tr td:first-child').allInnerTexts()).join() === [...newest].reverse().join());
  }],
  ['lines of a trace stand in causal order, say what they were moved by, and lead to their spans and to their addresses', async ({ page, weir }) => {
    const id = await givenTwoClocks(weir);
    await page.goto(`/trace/${id}`);
    const lines = page.locator('.trace-logs .line');
    const texts = () => lines.locator('.text').allInnerTexts();
    const inOrder = ['asks the cart', '<b>looks</b>', 'found', 'has the cart', 'of a node without spans'];
    await eventually('by cause', async () => (await texts()).join() === inOrder.join());
    assert.deepEqual(await lines.locator('.moved').allTextContents(), ['', 'moved by +5 s', 'moved by +5 s', '', '']);
    const clocks = await page.getByRole('list', { name: 'Clocks of the trace' }).innerText();
    assert.equal(clocks.trim(), `the clock of ${EVIL} is taken to be 5 s behind, from 1 call; its lines were moved by +5 s`);
    await page.getByText('placed by their own time alone, since no span says more: 1 line').waitFor();
    assert.equal(await page.locator('main img, .trace-logs b').count(), 0);
    // Each bar has a mark where its lines were written, by the clock that the bar is drawn by.
    assert.match(await row(page, 'aaaaaaaaaaaaaaa3').innerText(), /2 lines/);
    const [bar, mark] = await Promise.all(['.span-bar', '.span-mark'].map((part) => row(page, 'aaaaaaaaaaaaaaa3').locator(part).first().boundingBox()));
    assert.ok(mark.x >= bar.x && mark.x <= bar.x + bar.width, 'the mark is on the bar');
    // By keys: a line's span is chosen, and its lines stand out.
    const span = lines.nth(1).getByRole('button', { name: 'Span cart: GetCart' });
    await span.focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/span=aaaaaaaaaaaaaaa3/);
    await page.getByRole('complementary', { name: 'Span' }).getByRole('heading', { name: 'GetCart' }).waitFor();
    assert.deepEqual(await page.locator('.trace-logs .line.lit .text').allInnerTexts(), ['<b>looks</b>', 'found']);
    assert.equal(await span.getAttribute('aria-pressed'), 'true');
    await lines.nth(1).getByRole('button', { name: /^Details/ }).focus();
    await page.keyboard.press('Enter');
    const place = page.locator('.trace-logs dl[aria-label="Place in the trace"]');
    assert.match(await place.innerText(), /placed by\s+the span whose id it carries[^]*moved by\s+\+5 s, for its clock/);
    // The time of a line leads to its address.
    const [line] = (await get(weir, `traces/${id}/logs`)).lines.filter((one) => one.line === 'found');
    await lines.nth(2).getByRole('link', { name: /^Permanent link of the line/ }).press('Enter');
    await page.waitForURL(`**/line/${line.id}`);
    await page.locator('.marked-line', { hasText: 'found' }).waitFor();
  }],
  ['lines of a trace without spans are shown by time', async ({ page, weir }) => {
    const id = newId();
    await pushLogs(weir, { app: 'spanless' }, [['one', { trace_id: id }], ['two', { trace_id: id }]]);
    await eventually('its lines', async () => (await get(weir, `traces/${id}/logs`)).lines?.length === 2);
    await page.goto(`/trace/${id}`);
    await page.getByRole('heading', { name: 'No span of this trace has been seen' }).waitFor();
    await eventually('both lines', async () => (await page.locator('.trace-logs .line .text').allInnerTexts()).join() === 'one,two');
    await page.getByText('placed by their own time alone, since no span says more: 2 lines').waitFor();
  }, { allow: /404 \(Not Found\)/ }],
  ['weir’s own requests are left out of the list unless asked for; one trace is one trace', async ({ page, weir }) => {
    const id = newId();
    await pushSpans(weir, id, now() - 1_000_000_000n, [{ service: 'lonely', id: 'aaaaaaaaaaaaaaa9', name: 'GET /one', from: 0, ms: 5 }]);
    await eventually('the trace, and one of weir’s own', async () => {
      const { traces } = await get(weir, 'traces?limit=1000');
      return traces.some((trace) => trace.id === id) && traces.some((trace) => trace.root_service === 'weir');
    });
    await page.goto('/traces');
    await page.getByRole('link', { name: id }).waitFor();
    assert.equal(await page.getByRole('cell', { name: 'weir', exact: true }).count(), 0);
    await page.getByText(/of weir’s own requests left out/).waitFor();
    await page.getByRole('button', { name: 'weir’s own requests' }).click();
    await page.waitForURL(/own=1/);
    await page.getByRole('cell', { name: 'weir', exact: true }).first().waitFor();
    await page.goto('/traces?service=lonely');
    await page.getByRole('status').getByText('1 trace', { exact: true }).waitFor();
    await page.goto(`/trace/${id}`);
    await page.getByText('1 span', { exact: true }).waitFor();
    await page.getByText(/^(complete|may still grow)$/).waitFor();
  }],
  ['an id that has not been seen, and a text that is no id', async ({ page }) => {
    await page.goto('/trace/00000000000000000000000000abcdef');
    await page.getByRole('heading', { name: 'No span of this trace has been seen' }).waitFor();
    await page.goto('/trace/xyz');
    await page.getByRole('alert').getByText('is no trace id').waitFor();
  }, { allow: /404 \(Not Found\)/ }],
  ['traces are found by service and duration', async ({ page, weir }) => {
    const id = await given(weir);
    await page.goto('/traces');
    await page.getByRole('combobox', { name: 'Service' }).selectOption('frontend');
    await page.getByRole('link', { name: id }).waitFor();
    await page.getByRole('textbox', { name: 'At least' }).fill('10s');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByText('No trace matches in this range').waitFor();
    await page.getByRole('textbox', { name: 'At least' }).fill('slow');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByRole('alert').getByText('is no duration').waitFor();
  }],
];
