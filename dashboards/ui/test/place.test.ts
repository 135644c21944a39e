import { expect, test } from 'vitest';
import { clockText, marksOf, MARKS_MAX, movedBy, orderNotes, placeFields, signed } from '../src/traces/place';
import type { PlacedLine, TraceLogsAnswer } from '../src/core/types';

const SECOND = 1_000_000_000n;
const line = (t: bigint, at: bigint, more: Partial<PlacedLine> = {}): PlacedLine => ({
  id: '0-1-0', t: String(t), at: String(at), stream: {}, line: '', level: '', trace_id: '', span_id: '', attributes: {}, labels: {},
  placed: 'span', moved_by_clock: String(at - t), moved_by_span: '0', moved_by_stream: '0', ...more,
});
const answer = (lines: PlacedLine[], more: Partial<TraceLogsAnswer> = {}): TraceLogsAnswer => ({
  lines, order: 'causal', moved: 0, clocks: [], spans_refused: '', more: false, coverage: { complete: true, partitions: [], missing: [], at: 0n }, ...more,
});

test('a move has a sign, and none is nothing', () => {
  expect([5n * SECOND, -2_500_000n, 0n].map(signed)).toEqual(['+5 s', '-2.50 ms', '']);
  expect(movedBy(line(15n * SECOND, 20n * SECOND))).toBe(5n * SECOND);
});

test('a line says what it was placed by, and what moved it how far', () => {
  expect(placeFields(line(1n, 1n))).toEqual({ 'placed by': 'the span whose id it carries' });
  expect(placeFields(line(1n, 1n, { placed: 'time' }))['placed by']).toMatch(/^its own time/);
  expect(placeFields(line(15n * SECOND, 20n * SECOND))['moved by']).toBe('+5 s, for its clock');
  const twice = placeFields(line(15n * SECOND, 20n * SECOND, { moved_by_clock: String(6n * SECOND), moved_by_span: String(-SECOND) }));
  expect(twice).toMatchObject({ 'moved by': '+5 s', 'for its clock': '+6 s', 'into its span': '-1 s' });
  expect(twice['behind its stream']).toBeUndefined();
});

test('clocks say which way they are off; one of which nothing is known says nothing', () => {
  expect(clockText({ clock: 'b', offset: '5000000000', calls: 1 })).toBe('the clock of b is taken to be 5 s behind, from 1 call; its lines were moved by +5 s');
  expect(clockText({ clock: 'b', offset: '-5000000000', calls: 2 })).toBe('the clock of b is taken to be 5 s ahead, from 2 calls; its lines were moved by -5 s');
  expect(clockText({ clock: 'b', offset: '0', calls: 3 })).toBe('the clock of b needs no change, from 3 calls');
  expect(clockText({ clock: 'a', offset: '0', calls: 0 })).toBe('');
});

test('what the order does not rest on is said', () => {
  expect(orderNotes(answer([line(1n, 1n)]))).toEqual([]);
  expect(orderNotes(answer([line(1n, 1n, { placed: 'time' }), line(2n, 2n)], { spans_refused: 'u may not read traces', more: true }))).toEqual([
    'placed by their own time alone, since no span says more: 1 line',
    'the spans of the trace were not read: u may not read traces',
    'only the oldest 2 lines; the trace has more',
  ]);
});

test('marks are by the clock that wrote the line, and bounded', () => {
  const of = (span: string, t: bigint) => line(t, t + SECOND, { span_id: span });
  expect([...marksOf([of('a', 1n), of('', 2n), of('b', 3n), of('a', 4n)])]).toEqual([['a', [1n, 4n]], ['b', [3n]]]);
  expect(marksOf(Array.from({ length: MARKS_MAX + 5 }, (_, i) => of('a', BigInt(i)))).get('a')).toHaveLength(MARKS_MAX);
});
