import { expect, test } from 'vitest';
import { errorPosition, toQuery, withMatcher } from '../src/core/logql';
import { cutAt, join, levelOf, literals, rowText, traceOf, ROW_CHARS } from '../src/logs/lines';
import { readLogs } from '../src/logs/state';
import { barPaths, stack, ticks } from '../src/logs/volume';
import type { Line } from '../src/core/types';

const line = (id: string, t: string, more: Partial<Line> = {}): Line =>
  ({ id, t, stream: {}, line: '', level: '', trace_id: '', span_id: '', attributes: {}, labels: {}, ...more });

test('the search box', () => {
  expect(toQuery('')).toBe('{}');
  expect(toQuery('time "out"')).toBe('{} |= "time \\"out\\""');
  expect(toQuery(' {a="b"} |= "x"')).toBe('{a="b"} |= "x"');
  expect(toQuery('sum by (pod) (count_over_time({a="b"}[1m]))')).toBe('sum by (pod) (count_over_time({a="b"}[1m]))');
});

test('a click adds a matcher, or replaces the one of its label', () => {
  expect(withMatcher('', 'pod', 'a"b')).toBe('{pod="a\\"b"}');
  expect(withMatcher('{a="}", pod=~"x.*"} |= "}"', 'pod', 'y')).toBe('{a="}", pod="y"} |= "}"');
  expect(withMatcher('words', 'pod', 'y')).toBe('{pod="y"} |= "words"');
});

test('places of errors', () => {
  expect(errorPosition('parse error at line 1, col 7: unexpected', '{a="b"} BAD')).toBe(6);
  expect(errorPosition('1:5: parse error', 'rate(x')).toBe(4);
  expect(errorPosition('line 2, column 1: no', 'ab\ncd')).toBe(3);
  expect(errorPosition('unexpected end at position 6', 'rate(x')).toBe(6);
  expect(errorPosition('no place', 'x')).toBeUndefined();
  expect(errorPosition('line 9, col 99', 'x')).toBeUndefined();
});

test('lines join once each, newest first', () => {
  const old = [line('0-2-0', '300'), line('0-1-0', '200')];
  const all = join(old, [line('0-3-0', '1000'), line('0-1-0', '200'), line('0-1-10', '200'), line('0-1-9', '200')], 4);
  expect(all.map((one) => one.id)).toEqual(['0-3-0', '0-2-0', '0-1-10', '0-1-9']);
  expect(join(old, [old[0]!], 10)).toBe(old);
});

test('a row is bounded, one line and plain', () => {
  expect(rowText('a\u001b[31mred\u001b[0m\nb\tc')).toBe('ared b c');
  expect(rowText('x'.repeat(1_000_000)).length).toBe(ROW_CHARS + 1);
});

test('levels come from a closed set', () => {
  expect(['ERROR', 'err', 'Warning', 'INFO', 'dbg', 'crit', '', '" onclick="x'].map(levelOf)).toEqual(['error', 'error', 'warn', 'info', 'debug', 'fatal', 'none', 'none']);
});

test('trace ids', () => {
  expect(traceOf(line('1', '1', { trace_id: 'ABC1' }))).toBe('abc1');
  expect(traceOf(line('1', '1', { attributes: { traceID: 'ff' } }))).toBe('ff');
  expect(traceOf(line('1', '1', { trace_id: '0000' }))).toBe('');
  expect(traceOf(line('1', '1', { trace_id: '../x' }))).toBe('');
});

test('marks', () => {
  expect(literals('{a="b"} |= "x.y" != "no" |= `raw"`')).toEqual(['x.y', 'raw"']);
  expect(cutAt('1x.y2x.y', ['x.y'])).toEqual(['1', 'x.y', '2', 'x.y', '']);
  expect(cutAt('abc', [])).toEqual(['abc']);
});

test('the address is the state', () => {
  expect(readLogs(new URLSearchParams(''))).toEqual({ q: '', from: 'now-1h', to: 'now', live: false, wrap: false });
  expect(readLogs(new URLSearchParams('q=%7Ba%3D%22%2B%22%7D&from=now-5m&live=1&wrap=1'))).toEqual({ q: '{a="+"}', from: 'now-5m', to: 'now', live: true, wrap: true });
});

test('bars', () => {
  const range = { start: 5_000_000_000n, end: 35_000_000_000n };
  const stacks = stack([
    { t: '0', level: 'info', lines: 1, bytes: 0 }, { t: '10000000000', level: 'info', lines: 2, bytes: 0 },
    { t: '10000000000', level: 'error', lines: 3, bytes: 0 }, { t: '90000000000', level: 'info', lines: 9, bytes: 0 },
  ], 10_000_000_000n, range);
  expect(stacks.sums).toEqual([1, 5, 0, 0]);
  expect([stacks.totals.info, stacks.totals.error, stacks.most]).toEqual([3, 3, 5]);
  expect(barPaths(stacks, range, 300, 100).map((bar) => bar.level)).toEqual(['info', 'error']);
  const marks = ticks(range, 600);
  expect(marks.length).toBeGreaterThan(2);
  for (const mark of marks) expect(mark > range.start && mark < range.end).toBe(true);
});
