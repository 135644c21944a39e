// The histogram's arithmetic: buckets of the answer stacked by level over the whole range. Pure.
import { nanos } from '../core/format';
import type { Range } from '../core/time';
import type { VolumeBucket } from '../core/types';
import { LEVELS, levelOf, type Level } from './lines';

export interface Stacks {
  step: bigint;
  /** The first bucket's start. */
  start: bigint;
  /** Lines per bucket, per level; every array is as long as there are buckets. */
  levels: Record<Level, number[]>;
  totals: Record<Level, number>;
  sums: number[];
  most: number;
}

/** Buckets to at most 2,000 columns; what lies outside the range is left out. */
export function stack(buckets: VolumeBucket[], step: bigint, range: Range): Stacks {
  const start = (range.start / step) * step;
  const length = Math.min(2000, Number((range.end - start + step - 1n) / step));
  const levels = Object.fromEntries(LEVELS.map((level) => [level, new Array<number>(length).fill(0)])) as Record<Level, number[]>;
  const totals = Object.fromEntries(LEVELS.map((level) => [level, 0])) as Record<Level, number>;
  const sums = new Array<number>(length).fill(0);
  for (const bucket of buckets) {
    const place = Number((nanos(bucket.t) - start) / step);
    if (place < 0 || place >= length) continue;
    const level = levelOf(bucket.level);
    levels[level][place]! += bucket.lines;
    totals[level] += bucket.lines;
    sums[place]! += bucket.lines;
  }
  return { step, start, levels, totals, sums, most: Math.max(0, ...sums) };
}

/** One path of bars per level, stacked from the bottom, in a box of `width` × `height`. */
export function barPaths(stacks: Stacks, range: Range, width: number, height: number): { level: Level; path: string }[] {
  const span = Number(range.end - range.start);
  const floor = new Array<number>(stacks.sums.length).fill(0);
  const most = stacks.most || 1;
  return LEVELS.filter((level) => stacks.totals[level] > 0).map((level) => {
    let path = '';
    stacks.levels[level].forEach((lines, i) => {
      if (lines === 0) return;
      const from = Math.max(0, (Number(stacks.start + BigInt(i) * stacks.step - range.start) / span) * width);
      const until = Math.min(width, (Number(stacks.start + BigInt(i + 1) * stacks.step - range.start) / span) * width);
      const bottom = height - (floor[i]! / most) * height;
      const tall = Math.max(1, (lines / most) * height);
      const gap = until - from > 3 ? 1 : 0;
      path += `M${from.toFixed(1)},${bottom.toFixed(1)}H${(until - gap).toFixed(1)}V${(bottom - tall).toFixed(1)}H${from.toFixed(1)}Z`;
      floor[i]! += lines;
    });
    return { level, path };
  });
}

/** Instants for the axis: about one every 130 pixels, on round steps. */
export function ticks(range: Range, width: number): bigint[] {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000];
  const wanted = Number(range.end - range.start) / 1e9 / Math.max(1, width / 130);
  const step = BigInt(steps.find((seconds) => seconds >= wanted) ?? 31_536_000) * 1_000_000_000n;
  const zone = BigInt(new Date(Number(range.start / 1_000_000n)).getTimezoneOffset()) * 60_000_000_000n;
  const found: bigint[] = [];
  for (let at = ((range.start - zone) / step + 1n) * step + zone; at < range.end && found.length < 40; at += step) found.push(at);
  return found;
}
