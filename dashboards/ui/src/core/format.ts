// Numbers and times as people read them. Pure; every view calls it.
import { MS, SECOND } from './time';

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  let rest = Math.abs(value);
  let unit = 0;
  while (rest >= 1024 && unit < BINARY.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || rest >= 100 ? 0 : 1;
  return `${value < 0 ? '-' : ''}${rest.toFixed(digits)} ${BINARY[unit]}`;
}

/** CPU in cores, with as many digits as small shares need: `3.50`, `0.25`, `0.004`. */
export function cores(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  if (value < 0.0005) return '<0.001';
  return value < 0.1 ? value.toFixed(3) : value.toFixed(2);
}

export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return '–';
  if (ratio === 0) return '0%';
  return ratio < 0.001 ? '<0.1%' : `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)}%`;
}

export function count(value: number): string {
  return value.toLocaleString('en-US');
}

/** `1 trace`, `2 traces`. */
export function counted(value: number, what: string, many = `${what}s`): string {
  return `${count(value)} ${value === 1 ? what : many}`;
}

/** Short axis numbers: 1.2k, 3M. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  for (const [limit, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const) {
    if (size >= limit) return `${trim(value / limit)}${unit}`;
  }
  return trim(value);
}

function trim(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/** A length of time from nanoseconds: `1.24 ms`, `3.50 s`, `2 min 05 s`. */
export function duration(nanos: bigint): string {
  if (nanos < 0n) return `-${duration(-nanos)}`;
  if (nanos < 1000n) return `${nanos} ns`;
  if (nanos < MS) return `${figure(Number(nanos) / 1e3)} µs`;
  if (nanos < SECOND) return `${figure(Number(nanos) / 1e6)} ms`;
  if (nanos < 60n * SECOND && nanos % SECOND === 0n) return `${nanos / SECOND} s`;
  if (nanos < 60n * SECOND) return `${figure(Number(nanos) / 1e9)} s`;
  const seconds = nanos / SECOND;
  const two = (value: bigint) => value.toString().padStart(2, '0');
  if (seconds < 3600n) return `${seconds / 60n} min ${two(seconds % 60n)} s`;
  if (seconds < 86_400n) return `${seconds / 3600n} h ${two((seconds / 60n) % 60n)} min`;
  return `${seconds / 86_400n} d ${two((seconds / 3600n) % 24n)} h`;
}

function figure(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `12:03:04.123` in the reader's zone; with the day before it when `day` is set. */
export function clock(at: bigint, day = false): string {
  const date = new Date(Number(at / MS));
  const two = (value: number) => value.toString().padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const ms = ((at / MS) % 1000n).toString().padStart(3, '0');
  return day ? `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}.${ms}` : `${time}.${ms}`;
}

/** Nanoseconds from a decimal string; 0 for anything else, for what came from outside is not trusted. */
export function nanos(text: string | undefined): bigint {
  return text && /^-?\d{1,20}$/.test(text) ? BigInt(text) : 0n;
}

/** How long ago, in one unit. */
export function ago(at: bigint, now: bigint): string {
  if (at <= 0n) return '–';
  const seconds = Number((now - at) / SECOND);
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** At most `most` characters (UTF-16 units, never half of a pair), with `…` when something was left out. */
export function clip(text: string, most: number): string {
  if (text.length <= most) return text;
  const code = text.charCodeAt(most - 1);
  const end = code >= 0xd800 && code < 0xdc00 ? most - 1 : most;
  return `${text.slice(0, end)}…`;
}

/** Anything from JSON as one line of text. */
export function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value) ?? '';
}
