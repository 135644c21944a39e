import { expect, test } from 'vitest';
import { SECOND } from '../src/core/time';
import type { ReceiverStatus } from '../src/core/types';
import { failure, isBehind, lag } from '../src/parts/receivers';

const NOW = 1_790_000_000n * SECOND;
const receiver = (over: Partial<ReceiverStatus>): ReceiverStatus => ({ name: 'far', pending_records: 0, pending_bytes: 0, lag_seconds: 0, last_error: null, ...over });
const error = { time: (NOW - 90n * SECOND).toString(), text: 'connection refused' };

test('the lag of a receiver is told in words', () => {
  expect(lag(receiver({}))).toBe('none');
  expect(lag(receiver({ lag_seconds: 12.34 }))).toMatch(/^12(\.\d+)?\s?s$/);
  expect(lag(receiver({ lag_seconds: null, pending_records: 3 }))).toBe('took nothing yet');
});

test('a receiver is behind when it lags, and when it has taken nothing and failed', () => {
  expect(isBehind(receiver({ lag_seconds: 59 }))).toBe(false);
  expect(isBehind(receiver({ lag_seconds: 61 }))).toBe(true);
  // Records that came a moment ago wait for company.
  expect(isBehind(receiver({ lag_seconds: null, pending_records: 3 }))).toBe(false);
  expect(isBehind(receiver({ lag_seconds: null, pending_records: 3, last_error: error }))).toBe(true);
});

test('the last failure has its age', () => {
  expect(failure(receiver({}), NOW)).toBe('');
  expect(failure(receiver({ last_error: error }), NOW)).toMatch(/^connection refused, .*1.*m.* ago$/);
});
