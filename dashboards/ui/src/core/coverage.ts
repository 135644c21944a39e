// What a list covers that is made of several answers. Pure.
import type { Coverage } from './types';

/** What two answers cover that continue each other: no more than either. */
export function together(one: Coverage | undefined, two: Coverage): Coverage {
  if (!one) return two;
  const missing = [...new Set([...one.missing, ...two.missing])];
  return { ...(one.at < two.at ? one : two), complete: one.complete && two.complete, missing };
}
