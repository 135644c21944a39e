// Prometheus' range answers as uPlot's columns. Pure.
import { clock } from '../core/format';
import type { Series } from '../core/types';

/** The instants of a range query, in seconds: from `start` by `step` up to `end`. */
export interface Steps {
  start: number;
  end: number;
  step: number;
}

/** A series' name as Prometheus writes it. */
export function seriesName(metric: Record<string, string>): string {
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__').map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const name = metric['__name__'] ?? '';
  return labels.length > 0 ? `${name}{${labels.join(', ')}}` : name || '{}';
}

/** Prometheus' spelling of numbers: NaN, +Inf and -Inf draw as gaps. */
export function sample(text: string): number | null {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

/**
 * One column of seconds, with every instant of the range, also those at which nothing has a value; one column a series, null where
 * it has no sample. So what ended ends, and what was silent for a while has a gap.
 */
export function columns(series: Series[], { start, end, step }: Steps): [number[], ...(number | null)[][]] {
  const times = Array.from({ length: Math.floor((end - start) / step + 1e-6) + 1 }, (_, i) => start + i * step);
  return [times, ...series.map((one) => {
    const column = new Array<number | null>(times.length).fill(null);
    for (const [at, value] of one.values ?? []) {
      const place = Math.round((at - start) / step);
      if (place >= 0 && place < times.length) column[place] = sample(value);
    }
    return column;
  })];
}

/** A step of whole seconds that draws about `most` points, at least one second. */
export function graphStep(seconds: number, most: number): number {
  return Math.max(1, Math.ceil(seconds / most));
}

/** Samples without a neighbour: a line cannot show them, a point does. */
export function lonely(column: readonly (number | null | undefined)[]): number[] {
  return column.flatMap((value, i) => (value != null && column[i - 1] == null && column[i + 1] == null ? [i] : []));
}

/** The place and value of a column's last sample. */
export function lastOf(column: readonly (number | null)[]): { at: number; value: number } | undefined {
  for (let at = column.length - 1; at >= 0; at -= 1) {
    const value = column[at];
    if (value != null) return { at, value };
  }
  return undefined;
}

/** Labels of a time axis, each different: the day at the first mark and where it changes, seconds and less as the marks stand close. */
export function timeLabels(ticks: number[]): string[] {
  const texts = ticks.map((tick) => clock(BigInt(Math.round(tick * 1000)) * 1_000_000n, true));
  const day = (i: number) => texts[i]!.slice(0, 10);
  for (const end of [16, 19, 23]) {
    const labels = texts.map((text, i) => `${text.slice(11, end)}${i === 0 || day(i) !== day(i - 1) ? `\n${day(i)}` : ''}`);
    if (end === 23 || new Set(texts.map((text) => text.slice(0, end))).size === ticks.length) return labels;
  }
  return texts;
}
