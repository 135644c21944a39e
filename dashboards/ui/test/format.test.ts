import { expect, test } from 'vitest';
import { ago, bytes, clip, cores, counted, duration, nanos, percent, short } from '../src/core/format';

test('sizes and shares', () => {
  expect([0, 1023, 1024, 1_048_576, 157_286_400].map(bytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.0 MiB', '150 MiB']);
  expect(bytes(null)).toBe('–');
  expect([0, 0.0001, 0.004, 0.25, 3.5].map(cores)).toEqual(['0', '<0.001', '0.004', '0.25', '3.50']);
  expect([0, 0.0001, 0.042, 0.41, 1].map(percent)).toEqual(['0%', '<0.1%', '4.2%', '41%', '100%']);
  expect([0, 1234, 2_500_000, 0.0421, 0.00001].map(short)).toEqual(['0', '1.23k', '2.5M', '0.0421', '1.0e-5']);
});

test('one is one', () => {
  expect([counted(0, 'trace'), counted(1, 'trace'), counted(1200, 'trace')]).toEqual(['0 traces', '1 trace', '1,200 traces']);
});

test('lengths of time', () => {
  const check = (value: bigint, expected: string) => expect(duration(value)).toBe(expected);
  check(999n, '999 ns');
  check(1500n, '1.50 µs');
  check(12_345_678n, '12.3 ms');
  check(3_500_000_000n, '3.50 s');
  check(9_000_000_000n, '9 s');
  check(125_000_000_000n, '2 min 05 s');
  check(90_000_000_000_000n, '1 d 01 h');
  check(-1500n, '-1.50 µs');
  expect(ago(1_000_000_000n, 91_000_000_000n)).toBe('1 min');
});

test('what comes from outside never throws', () => {
  expect(nanos('12')).toBe(12n);
  for (const wrong of [undefined, '', 'x', '1.5', '1e9', '9'.repeat(40)]) expect(nanos(wrong)).toBe(0n);
});

test('a cut never halves a character', () => {
  expect(clip('abc', 3)).toBe('abc');
  expect(clip('abcd', 3)).toBe('abc…');
  expect(clip('ab😀d', 3)).toBe('ab…');
});
