// Native histograms as the cells of a heat map, and their buckets as text. Pure.
import type { Bucket, Histogram, Series } from '../core/types';
import type { Steps } from './series';

/** Rows that are drawn at most: thinner ones cannot be told apart. */
const ROWS_MAX = 48;
/** Columns that are drawn at most: of those that share one, the last is shown. */
const COLUMNS_MAX = 120;

/** A heat map: `cells[column][row]`, undefined where there is no histogram. Rows ascend. */
export interface Heat {
  /** As many as columns, seconds. */
  times: number[];
  /** One more than rows. */
  bounds: number[];
  cells: (number[] | undefined)[];
  /** The largest of all. */
  most: number;
}

/** Prometheus' spelling of bounds and counts. */
export function numeric(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

/** A bucket's bounds as an interval: which bracket says whether the bound belongs to it. */
export function interval([rule, lower, upper]: Bucket): string {
  return `${rule === 1 || rule === 3 ? '[' : '('}${lower}, ${upper}${rule === 0 || rule === 3 ? ']' : ')'}`;
}

/** Buckets with their share of the largest, 0 to 1. */
export function bars(histogram: Histogram): { bucket: Bucket; share: number }[] {
  const buckets = histogram.buckets ?? [];
  const most = Math.max(...buckets.map(([, , , count]) => Math.abs(numeric(count))), 0);
  return buckets.map((bucket) => ({ bucket, share: most > 0 ? Math.abs(numeric(bucket[3])) / most : 0 }));
}

/** Bounds thinned until there are few enough: the outermost stay. */
function thinned(bounds: number[]): number[] {
  while (bounds.length - 1 > ROWS_MAX) bounds = bounds.filter((_, i) => i === bounds.length - 1 || i % 2 === 0);
  return bounds;
}

/** The buckets of a series' histograms over a range. A bucket that lies in several rows gives each its part. */
export function heat(series: Series, { start, end, step }: Steps): Heat {
  const steps = Math.floor((end - start) / step + 1e-6) + 1;
  const width = Math.max(1, Math.ceil(steps / COLUMNS_MAX));
  const columns = Math.ceil(steps / width);
  const found = new Array<Histogram | undefined>(columns);
  for (const [at, histogram] of series.histograms ?? []) {
    const place = Math.floor(Math.round((at - start) / step) / width);
    if (place >= 0 && place < columns) found[place] = histogram;
  }
  const all = found.flatMap((one) => one?.buckets ?? []);
  const bounds = thinned([...new Set(all.flatMap(([, lower, upper]) => [numeric(lower), numeric(upper)]))].sort((one, two) => one - two));
  const cells = found.map((one) => one && rowsOf(one, bounds));
  const most = Math.max(...cells.flatMap((rows) => rows ?? []), 0);
  return { times: Array.from({ length: columns }, (_, i) => start + i * width * step), bounds, cells, most };
}

function rowsOf(histogram: Histogram, bounds: number[]): number[] {
  const rows = new Array<number>(Math.max(0, bounds.length - 1)).fill(0);
  for (const [, lower, upper, count] of histogram.buckets ?? []) {
    const [from, to] = [numeric(lower), numeric(upper)];
    const within = rows.flatMap((_, i) => (bounds[i]! < to && bounds[i + 1]! > from ? [i] : []));
    // A bucket of one number, the zero bucket of no width, lies in the row that ends or begins there.
    const places = within.length > 0 ? within : [Math.max(0, Math.min(rows.length - 1, bounds.findIndex((bound) => bound >= from)))];
    if (rows.length > 0) places.forEach((i) => { rows[i]! += Math.abs(numeric(count)) / places.length; });
  }
  return rows;
}
