import { expect, test } from 'vitest';
import { buildTree, readTraceId, unfolded } from '../src/traces/tree';
import type { Span } from '../src/core/types';

const span = (id: string, parent: string, start: number, duration = 10): Span => ({
  id, parent_id: parent, service: 's', name: id, kind: 'server', start: String(start), duration: String(duration), status: 'unset', status_message: '',
  attributes: {}, resource: {}, scope: '', events: [], links: [], orphan: false,
});
const shape = (spans: Span[]) => buildTree(spans).rows.map((row) => `${'.'.repeat(row.depth)}${row.span.id}:${row.place}`);

test('children stand under their parents, by start', () => {
  expect(shape([span('c', 'a', 30), span('a', '', 0), span('b', 'a', 10), span('d', 'b', 12)])).toEqual(['a:root', '.b:child', '..d:child', '.c:child']);
});

test('what has no parent here is said', () => {
  expect(shape([span('a', '', 5), span('o', 'gone', 1), span('p', 'o', 2)])).toEqual(['o:orphan', '.p:child', 'a:root']);
  expect(buildTree([span('o', 'gone', 1)]).hasRoot).toBe(false);
  expect(buildTree([])).toMatchObject({ rows: [], start: 0n, end: 0n });
});

test('rings and spans that are their own parent end', () => {
  expect(shape([span('a', 'b', 0), span('b', 'a', 1)])).toEqual(['a:ring', '.b:child']);
  expect(shape([span('a', 'a', 0)])).toEqual(['a:orphan']);
});

test('a long chain does not exhaust the stack', () => {
  const chain = Array.from({ length: 50_000 }, (_, i) => span(String(i), i ? String(i - 1) : '', i));
  const tree = buildTree(chain);
  expect([tree.rows.length, tree.rows[49_999]!.depth, tree.end]).toEqual([50_000, 49_999, 50_009n]);
});

test('folding hides what is below', () => {
  const { rows } = buildTree([span('a', '', 0), span('b', 'a', 1), span('c', 'b', 2), span('d', 'a', 3)]);
  expect(unfolded(rows, new Set(['b'])).map((row) => row.span.id)).toEqual(['a', 'b', 'd']);
  expect(unfolded(rows, new Set(['a'])).map((row) => row.span.id)).toEqual(['a']);
});

test('trace ids as they are pasted', () => {
  expect(readTraceId(' "0AF7651916CD43DD8448EB211C80319C" ')).toBe('0af7651916cd43dd8448eb211c80319c');
  expect(readTraceId('0af76519-16cd-43dd-8448-eb211c80319c')).toBe('0af7651916cd43dd8448eb211c80319c');
  for (const wrong of ['', 'xyz', '0', '0'.repeat(32), 'a'.repeat(33)]) expect(readTraceId(wrong), wrong).toBeUndefined();
});
