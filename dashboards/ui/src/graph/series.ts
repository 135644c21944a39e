// Prometheus' range answers as uPlot's columns. Pure.
import type { Series } from '../core/types';

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

/** One column of seconds, one column a series; null where a series has no sample at that instant. */
export function columns(series: Series[]): [number[], ...(number | null)[][]] {
  const times = [...new Set(series.flatMap((one) => (one.values ?? []).map(([at]) => at)))].sort((a, b) => a - b);
  const place = new Map(times.map((at, i) => [at, i]));
  return [times, ...series.map((one) => {
    const column = new Array<number | null>(times.length).fill(null);
    for (const [at, value] of one.values ?? []) column[place.get(at)!] = sample(value);
    return column;
  })];
}

/** A step of whole seconds that draws about `most` points, at least one second. */
export function graphStep(seconds: number, most: number): number {
  return Math.max(1, Math.ceil(seconds / most));
}
