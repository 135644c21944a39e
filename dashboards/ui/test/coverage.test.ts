import { expect, test } from 'vitest';
import { together } from '../src/core/coverage';

const coverage = (at: bigint, complete: boolean, missing: string[] = []) => ({ at, complete, missing, partitions: [] });

test('a list of several answers covers no more than the least of them', () => {
  expect(together(undefined, coverage(5n, true))).toEqual(coverage(5n, true));
  expect(together(coverage(5n, true), coverage(9n, true))).toEqual(coverage(5n, true));
  expect(together(coverage(5n, false, ['a']), coverage(9n, true, ['a', 'b']))).toEqual(coverage(5n, false, ['a', 'b']));
  expect(together(coverage(9n, true), coverage(5n, false))).toEqual(coverage(5n, false));
});
