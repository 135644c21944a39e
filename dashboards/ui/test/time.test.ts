import { expect, test } from 'vitest';
import { isoNanos, parseDuration, parseInstant, resolveRange, roundStep, SECOND, stepText } from '../src/core/time';

const NOW = 1_790_000_000_123_456_789n;

test('durations', () => {
  const check = (text: string, expected: bigint | undefined) => expect(parseDuration(text), text).toBe(expected);
  check('15m', 900n * SECOND);
  check('1h30m', 5400n * SECOND);
  check('250ms', SECOND / 4n);
  check('1.5h', 5400n * SECOND);
  for (const wrong of ['', '5', 'm', '5x', '5m3', '-5m', ' 5m']) check(wrong, undefined);
});

test('instants keep every digit', () => {
  const check = (text: string, expected: bigint | undefined) => expect(parseInstant(text, NOW), text).toBe(expected);
  check('now', NOW);
  check('now-15m', NOW - 900n * SECOND);
  check('1790000000123456789', NOW);
  check('2026-09-21T13:33:20.123456789Z', 1_789_997_600_123_456_789n);
  check('2026-09-21T15:33:20+02:00', 1_789_997_600_000_000_000n);
  for (const wrong of ['', 'yesterday', 'now+1h', 'now-', '2026-13-41', '2026-09-21T25:00Z', '12']) check(wrong, undefined);
});

test('an instant written to an address is read back', () => {
  for (const at of [NOW, 0n, 1_790_000_000n * SECOND, 1_790_000_000_100_000_000n]) expect(parseInstant(isoNanos(at), 0n)).toBe(at);
});

test('ranges', () => {
  expect(resolveRange('now-1h', 'now', NOW)).toEqual({ start: NOW - 3600n * SECOND, end: NOW });
  expect(resolveRange('now', 'now-1h', NOW)).toMatch(/ends before it starts/);
  expect(resolveRange('soon', 'now', NOW)).toMatch(/“soon” is no time/);
});

test('steps are round and few', () => {
  const check = (seconds: bigint, expected: string) => expect(stepText(roundStep({ start: 0n, end: seconds * SECOND }, 120))).toBe(expected);
  check(60n, '10s');
  check(3600n, '30s');
  check(86_400n, '900s');
  check(86_400n * 3650n, '3024000s');
});
