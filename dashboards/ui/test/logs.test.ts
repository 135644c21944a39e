import { expect, test } from 'vitest';
import { errorPosition, withLabelFilter, withMatcher } from '../src/core/logql';
import { runs } from '../src/logs/ansi';
import { cutAt, levelOf, literals, rowRuns, traceOf, ROW_CHARS } from '../src/logs/lines';
import { arrange, join, readOrder } from '../src/logs/order';
import { readLogs } from '../src/logs/state';
import { barPaths, stack, ticks } from '../src/logs/volume';
import type { Line } from '../src/core/types';

const line = (id: string, t: string, more: Partial<Line> = {}): Line =>
  ({ id, t, stream: {}, line: '', level: '', trace_id: '', span_id: '', attributes: {}, labels: {}, ...more });

test('a click adds a matcher, or replaces the one of its label', () => {
  expect(withMatcher('{}', 'pod', 'a"b')).toBe('{pod="a\\"b"}');
  expect(withMatcher('{a="}", pod=~"x.*"} |= "}"', 'pod', 'y')).toBe('{a="}", pod="y"} |= "}"');
  expect(withMatcher('{} |~ "(?i)words"', 'pod', 'y')).toBe('{pod="y"} |~ "(?i)words"');
});

test('a click on a level filters by it, or by it instead', () => {
  expect(withLabelFilter('{a="b"} |= "x"', 'detected_level', '="error"')).toBe('{a="b"} |= "x" | detected_level="error"');
  expect(withLabelFilter('{a="b"} | detected_level=~"fatal|critical" | json', 'detected_level', '="warn"')).toBe('{a="b"} | json | detected_level="warn"');
  expect(withLabelFilter('{a="| detected_level=\\"x\\""}', 'detected_level', '="warn"')).toBe('{a="| detected_level=\\"x\\""} | detected_level="warn"');
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
  const all = join(old, [line('0-3-0', '1000'), line('0-1-0', '200'), line('0-1-10', '200'), line('0-1-9', '200')], 4, 'newest');
  expect(all.map((one) => one.id)).toEqual(['0-3-0', '0-2-0', '0-1-10', '0-1-9']);
  expect(join(old, [old[0]!], 10, 'newest')).toBe(old);
});

test('a row is bounded and keeps its tabs and breaks', () => {
  const text = (raw: string) => rowRuns(raw).map((run) => run.text).join('');
  expect(text('a\u001b[31mred\u001b[0m\r\n\tb\u0000c  ')).toBe('ared\n\tb c');
  expect(text('x'.repeat(1_000_000)).length).toBe(ROW_CHARS + 1);
  expect(text('x\n'.repeat(1000)).split('\n').length).toBe(40);
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
  const check = (query: string, expected: string[]) => expect(literals(query).map(({ text, anyCase }) => `${text}${anyCase ? '/i' : ''}`), query).toEqual(expected);
  check('{a="b"} |= "x.y" != "no" |= `raw"`', ['x.y', 'raw"']);
  check('{} |~ "(?i)error" !~ "(?i)x"', ['error/i']);
  check('{} |~ `(?i)a\\.b` or "(?i)warn"', ['a.b/i', 'warn/i']);
  check('{} | level="x" or __line__=~"(?i).*oops.*"', ['oops/i']);
  // A pattern that is more than a text is not run in the browser.
  check('{} |~ "(a+)+$" |~ "a|b" |~ "x.y"', []);
  const exact = (text: string) => ({ text, anyCase: false });
  expect(cutAt('1x.y2x.y', [exact('x.y')])).toEqual(['1', 'x.y', '2', 'x.y', '']);
  expect(cutAt('an ERROR', [{ text: 'error', anyCase: true }])).toEqual(['an ', 'ERROR', '']);
  expect(cutAt('abc', [])).toEqual(['abc']);
});

test('the address is the state', () => {
  expect(readLogs(new URLSearchParams(''))).toEqual({ q: '', trace: '', span: '', from: 'now-1h', to: 'now', live: false, wrap: false, order: 'newest' });
  expect(readLogs(new URLSearchParams('q=%7Ba%3D%22%2B%22%7D&from=now-5m&live=1&wrap=1&trace=ab&span=c'))).toEqual({ q: '{a="+"}', trace: 'ab', span: 'c', from: 'now-5m', to: 'now', live: true, wrap: true, order: 'newest' });
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

test('oldest first keeps the first, and a live list the last', () => {
  const more = [line('0-3-0', '3'), line('0-1-0', '1'), line('0-2-0', '2')];
  expect(join([], more, 2, 'oldest').map((one) => one.t)).toEqual(['1', '2']);
  expect(join([], more, 2, 'oldest', true).map((one) => one.t)).toEqual(['2', '3']);
  expect(['order=oldest', 'order=x', ''].map((text) => readOrder(new URLSearchParams(text), 'newest'))).toEqual(['oldest', 'newest', 'newest']);
});

/** Lines a millisecond apart, in one stream; what continues another is marked with `+`. */
function arranged(texts: string[], order: 'oldest' | 'newest' = 'oldest'): string[] {
  const lines = texts.map((text, i) => line(`0-${i}-0`, String((i + 1) * 1_000_000), { line: text }));
  return arrange(order === 'oldest' ? lines : lines.reverse(), order).map(({ line: one, head }) => `${head ? '+' : ''}${one.line}`);
}

test('a stack trace stays together and reads downward, in either order', () => {
  const java = ['ERROR charge', 'java.io.IOException: reset', '\tat a.b(C.java:1)', 'Caused by: x.YError: no', '\t... 12 more', 'INFO next'];
  const together = ['ERROR charge', '+java.io.IOException: reset', '+\tat a.b(C.java:1)', '+Caused by: x.YError: no', '+\t... 12 more'];
  expect(arranged(java)).toEqual([...together, 'INFO next']);
  expect(arranged(java, 'newest')).toEqual(['INFO next', ...together]);
  expect(arranged(['Traceback (most recent call last):', '  File "x.py", line 1, in <module>', '    f()', 'ValueError: no', 'ready']))
    .toEqual(['Traceback (most recent call last):', '+  File "x.py", line 1, in <module>', '+    f()', '+ValueError: no', 'ready']);
  expect(arranged(['panic: boom', '', 'goroutine 1 [running]:', 'main.main()', '\t/app/main.go:7 +0x1d', 'started']))
    .toEqual(['panic: boom', '+', '+goroutine 1 [running]:', '+main.main()', '+\t/app/main.go:7 +0x1d', 'started']);
  expect(arranged(['one', 'two', '', 'call(x)', 'ValueError: alone'])).toEqual(['one', 'two', '', 'call(x)', 'ValueError: alone']);
});

test('only lines of one stream that come at once belong together', () => {
  const [head, other, more, late] = [
    line('0-1-0', '1000000', { line: 'Error: no', stream: { stream: 'stderr' } }), line('0-2-0', '2000000', { line: 'out', stream: { stream: 'stdout' } }),
    line('0-3-0', '3000000', { line: '    at f (x.js:1)', stream: { stream: 'stderr' } }), line('0-4-0', '5000000000', { line: '  indented', stream: { stream: 'stderr' } }),
  ];
  expect(arrange([head, other, more, late], 'oldest').map(({ line: one, head: of }) => [one.id, of?.id])).toEqual([['0-1-0', undefined], ['0-3-0', '0-1-0'], ['0-2-0', undefined], ['0-4-0', undefined]]);
});

test('colours become classes of a closed set, everything else of a terminal is left out', () => {
  const check = (text: string, expected: [string, string][]) => expect(runs(text).map((run) => [run.text, run.classes])).toEqual(expected);
  check('a\u001b[31mb\u001b[0mc', [['a', ''], ['b', 'ink-red'], ['c', '']]);
  check('\u001b[41;97m HOT \u001b[m.', [[' HOT ', 'ground-red'], ['.', '']]);
  check('\u001b[1;92mok\u001b[22m!', [['ok', 'ink-green ink-bold'], ['!', 'ink-green']]);
  check('\u001b[38;5;196mx\u001b[38;2;0;0;255my\u001b[39mz', [['x', 'ink-red'], ['y', 'ink-blue'], ['z', '']]);
  check('\u001b[7mx', [['x', 'ground-white']]);
  check('\u001b[2J\u001b[1;1Hx\u001b]0;title\u0007y\u001b(Bz\u001b[?25l', [['x', ''], ['y', ''], ['z', '']]);
  check('\u001b[31"><img src=x>m', [['"><img src=x>m', '']]);
  check('\u001b[999mx\u001b', [['x', '']]);
  expect(runs('\u001b[31mERROR\u001b[0m x').map((run) => run.text).join('')).toBe('ERROR x');
});
