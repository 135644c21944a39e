// What a PromQL result is measured in, read from the names of its metrics and the functions around them; and numbers in that unit.
// A guess that is not certain is no unit: plain numbers are never wrong. Pure.
import { bytes, cores, duration, percent, short } from '../core/format';

export type Unit = 'seconds' | 'bytes' | 'bytes/s' | 'cores' | 'ratio' | 'per second' | 'none';

/** Aggregations and functions behind which a value has the unit that it had. */
const KEEPS = new Set(['sum', 'avg', 'min', 'max', 'topk', 'bottomk', 'quantile', 'limitk', 'sort', 'sort_desc', 'abs', 'clamp', 'clamp_min', 'clamp_max', 'last_over_time', 'avg_over_time',
  'min_over_time', 'max_over_time', 'sum_over_time', 'quantile_over_time', 'increase', 'delta', 'idelta', 'label_replace', 'label_join', 'histogram_quantile', 'round', 'ceil', 'floor', 'stddev', 'vector']);
const RATES = new Set(['rate', 'irate', 'deriv']);

/** The query with nothing in its strings. */
export function bareQuery(query: string): string {
  return query.replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`/g, '""');
}

/** The query without strings, selectors, ranges and lists of labels: metrics, functions, operators and numbers are left. */
function skeleton(query: string): string {
  return bareQuery(query).replace(/\{[^}]*\}|\[[^\]]*\]/g, '')
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*(?:\([^)]*\))?/g, ' ').replace(/\b(?:offset\s+\S+|bool)\b/g, ' ');
}

/** The metrics that a query names, each once. */
export function metricNames(query: string): string[] {
  return [...new Set(metricUses(query))];
}

function metricUses(query: string): string[] {
  const names = [...skeleton(query).matchAll(/(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])/g)].map((found) => found[0]);
  return names.filter((name) => !/^(?:and|or|unless|inf|nan|start|end|atan2)$/i.test(name));
}

/** The unit of what `query` answers. */
export function unitOf(query: string): Unit {
  const bare = skeleton(query);
  const calls = [...bare.matchAll(/([a-zA-Z_]\w*)\s*\(/g)].map((found) => found[1]!);
  if (calls.some((name) => !KEEPS.has(name) && !RATES.has(name))) return 'none';
  const names = metricNames(query);
  const units = new Set(names.map((name) => nameUnit(name, calls)));
  const unit = units.size === 1 ? [...units][0]! : 'none';
  // What is compared with a number keeps its unit; what is multiplied or divided by one may not.
  const sums = bare.replace(/[<>=!]=?\s*[-+\d.e]+\s*$/, '');
  if (/[*%^]/.test(sums)) return 'none';
  if (!sums.includes('/')) return unit;
  // Two amounts of one kind make a share; a number among them may be anything.
  return unit !== 'none' && metricUses(query).length > 1 && !/(?<![\w.])\d/.test(sums) ? 'ratio' : 'none';
}

/** What the bounds of native histograms in the query's result are measured in: a rate of histograms is one of counts, its bounds stay. */
export function boundUnit(query: string): Unit {
  return unitOf(bareQuery(query).replace(/\b(?:rate|irate|deriv)(?=\s*\()/g, 'last_over_time'));
}

/** Whether the query's counts are a second's. */
export function isRate(query: string): boolean {
  return [...skeleton(query).matchAll(/([a-zA-Z_]\w*)\s*\(/g)].some((found) => RATES.has(found[1]!));
}

function nameUnit(name: string, calls: string[]): Unit {
  const rate = calls.some((call) => RATES.has(call));
  if (/_ratio$/.test(name)) return rate ? 'none' : 'ratio';
  if (/_count$/.test(name)) return rate ? 'per second' : 'none';
  const buckets = calls.includes('histogram_quantile');
  if (/_bucket$/.test(name) && !buckets) return rate ? 'per second' : 'none';
  const base = name.replace(/_(?:total|sum|bucket|max|min)$/, '');
  if (/_seconds$/.test(base)) return rate && !buckets ? (/cpu/.test(base) ? 'cores' : 'ratio') : /timestamp|start_time|boot_time|last_seen/.test(base) ? 'none' : 'seconds';
  if (/_bytes$/.test(base)) return rate && !buckets ? 'bytes/s' : 'bytes';
  return rate ? 'per second' : 'none';
}

/** One value as a reader says it: `1.24 ms`, `2.0 MiB/s`, `0.25 cores`. */
export function inUnit(value: number, unit: Unit): string {
  if (!Number.isFinite(value)) return '–';
  switch (unit) {
    case 'seconds': return Math.abs(value) < 1e9 ? duration(BigInt(Math.round(value * 1e9))) : `${short(value)} s`;
    case 'bytes': return bytes(value);
    case 'bytes/s': return `${bytes(value)}/s`;
    case 'cores': return `${cores(value)} cores`;
    case 'ratio': return percent(value);
    case 'per second': return `${short(value)}/s`;
    default: return short(value);
  }
}

const BINARY: [number, string][] = [[2 ** 50, 'PiB'], [2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [1024, 'KiB'], [1, 'B']];
const DECIMAL: [number, string][] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']];
const TIMES: [number, string][] = [[86_400, ' d'], [3600, ' h'], [60, ' min'], [1, ' s'], [1e-3, ' ms'], [1e-6, ' µs'], [1e-9, ' ns']];

/** Labels of an axis' ticks: one scale for all, and as many digits as keep each apart from the next. */
export function tickLabels(ticks: number[], unit: Unit): string[] {
  const most = Math.max(...ticks.map(Math.abs), 0);
  const scales: [number, string][] = unit === 'bytes' || unit === 'bytes/s' ? BINARY.map(([size, name]) => [size, ` ${name}${unit === 'bytes/s' ? '/s' : ''}`])
    : unit === 'seconds' ? TIMES : unit === 'ratio' ? [[0.01, '%']] : DECIMAL.map(([size, name]) => [size, `${name}${unit === 'per second' ? '/s' : ''}`]);
  const [size, suffix] = scales.find(([limit]) => most >= limit) ?? scales[scales.length - 1]!;
  for (let digits = 0; ; digits += 1) {
    const labels = ticks.map((tick) => `${(tick / size).toFixed(digits)}${suffix}`);
    if (digits === 12 || new Set(labels).size === ticks.length) return labels;
  }
}

/** Steps between ticks of bytes: powers of two, so that ticks are whole KiB and MiB. */
export const BYTE_STEPS: number[] = Array.from({ length: 60 }, (_, i) => 2 ** i);
