// Instants and spans of time. Nanoseconds are bigint inside, decimal strings outside: a number loses their digits.

export const MS = 1_000_000n;
export const SECOND = 1_000_000_000n;

const UNITS: Record<string, bigint> = {
  ns: 1n,
  us: 1000n,
  µs: 1000n,
  ms: MS,
  s: SECOND,
  m: 60n * SECOND,
  h: 3600n * SECOND,
  d: 86_400n * SECOND,
  w: 604_800n * SECOND,
};

/** `1h30m`, `250ms`, `1.5h` in nanoseconds; undefined when it is none. */
export function parseDuration(text: string): bigint | undefined {
  const part = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)/gy;
  let total = 0n;
  let end = 0;
  for (let found = part.exec(text); found; found = part.exec(text)) {
    const unit = UNITS[found[2]!]!;
    const number = found[1]!;
    total += number.includes('.') ? BigInt(Math.round(Number(number) * Number(unit))) : BigInt(number) * unit;
    end = part.lastIndex;
  }
  return end === text.length && end > 0 ? total : undefined;
}

/**
 * An instant as the page's addresses write it: `now`, `now-15m`, Unix nanoseconds, or a date and time
 * (`2026-11-21T12:00:00.123456789Z`, `2026-11-21 12:00`; without a zone it is the reader's own). Undefined when it is none.
 */
export function parseInstant(text: string, now: bigint): bigint | undefined {
  const trimmed = text.trim();
  if (trimmed === 'now') return now;
  if (trimmed.startsWith('now-')) {
    const back = parseDuration(trimmed.slice(4));
    return back === undefined ? undefined : now - back;
  }
  if (/^\d{16,19}$/.test(trimmed)) return BigInt(trimmed);
  const date = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?)?$/.exec(trimmed);
  if (!date) return undefined;
  const [, day, minute = '00:00', second = '00', fraction = '', zone = ''] = date;
  const ms = Date.parse(`${day}T${minute}:${second}${zone}`);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * MS + BigInt(fraction.padEnd(9, '0'));
}

export interface Range {
  start: bigint;
  end: bigint;
}

/** The range that `from` and `to` mean at `now`; an error in words when they mean none. */
export function resolveRange(from: string, to: string, now: bigint): Range | string {
  const start = parseInstant(from, now);
  const end = parseInstant(to, now);
  if (start === undefined) return `“${from}” is no time: write now-15m, a date and time, or Unix nanoseconds`;
  if (end === undefined) return `“${to}” is no time: write now, a date and time, or Unix nanoseconds`;
  if (end <= start) return 'the range ends before it starts';
  return { start, end };
}

export function nowNanos(): bigint {
  return BigInt(Date.now()) * MS;
}

/** Nanoseconds as RFC 3339 in UTC with as many digits of the second as it takes; addresses carry this. */
export function isoNanos(at: bigint): string {
  const seconds = at / SECOND;
  const fraction = (at % SECOND).toString().padStart(9, '0').replace(/0+$/, '');
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${whole}${fraction ? `.${fraction}` : ''}Z`;
}

/** Volumes are kept in buckets of 10 seconds (docs/api.md): a step is a multiple of it. */
const STEPS = [10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 604_800];

/** A step of a round length that cuts the range into at most `most` buckets. */
export function roundStep(range: Range, most: number): bigint {
  const wanted = (range.end - range.start) / BigInt(most);
  for (const step of STEPS) if (BigInt(step) * SECOND >= wanted) return BigInt(step) * SECOND;
  return ((wanted + 604_800n * SECOND - 1n) / (604_800n * SECOND)) * 604_800n * SECOND;
}

/** A duration as a step parameter: whole seconds when it is, else milliseconds. */
export function stepText(step: bigint): string {
  return step % SECOND === 0n ? `${step / SECOND}s` : `${step / MS}ms`;
}
