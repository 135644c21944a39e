// Lists of log lines: order, joining, what a row shows of them. Pure.
import { clip } from '../core/format';
import type { Line } from '../core/types';

export type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'none';

/** From the bottom of a bar to its top. */
export const LEVELS: Level[] = ['none', 'trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/** Any level name as one of ours: what comes from outside never becomes a class name. */
export function levelOf(name: string): Level {
  const lower = name.toLowerCase();
  if (/^(fatal|critical|crit|emerg|alert|panic)/.test(lower)) return 'fatal';
  if (/^err/.test(lower)) return 'error';
  if (/^warn/.test(lower)) return 'warn';
  if (/^(info|notice)/.test(lower)) return 'info';
  if (/^(debug|dbg)/.test(lower)) return 'debug';
  return /^(trace|verbose)/.test(lower) ? 'trace' : 'none';
}

/** Newest first; at one instant, the later in its partition first. */
export function newestFirst(one: Line, two: Line): number {
  if (one.t !== two.t) return one.t.length !== two.t.length ? two.t.length - one.t.length : one.t < two.t ? 1 : -1;
  const [a, b] = [one.id.split('-').map(Number), two.id.split('-').map(Number)];
  for (let i = 0; i < 3; i += 1) if (a[i] !== b[i]) return (b[i] ?? 0) - (a[i] ?? 0);
  return 0;
}

/** Both lists as one, each line once, newest first, at most `most` (the oldest go). */
export function join(old: Line[], more: Line[], most: number): Line[] {
  const known = new Set(old.map((line) => line.id));
  const added: Line[] = [];
  for (const line of more) {
    if (!known.has(line.id)) added.push(line);
    known.add(line.id);
  }
  if (added.length === 0) return old;
  return [...old, ...added].sort(newestFirst).slice(0, most);
}

/** Characters of a line that a row draws: a screen's width many times over, yet nothing that could hang the page. */
export const ROW_CHARS = 1500;
/** Characters of a line drawn when it is open. */
export const OPEN_CHARS = 65_536;

const ANSI = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

/** The line as one row: colours' escape codes left out, breaks and other control characters shown as blanks. */
export function rowText(line: string): string {
  // Cut first: what comes after works on a bounded text.
  return clip(line.slice(0, ROW_CHARS * 2).replace(ANSI, '').replace(/[\u0000-\u001f\u007f]+/g, ' ').trimEnd(), ROW_CHARS);
}

/** Where the line came from, in a few letters. */
export function sourceOf(stream: Record<string, string>): string {
  const pod = stream['pod'] ?? '';
  const container = stream['container'] ?? stream['name'] ?? '';
  if (pod && container && !pod.includes(container)) return `${pod}/${container}`;
  return pod || container || stream['service_name'] || stream['job'] || stream['app'] || Object.values(stream)[0] || '';
}

/** The trace a line belongs to: the record's own id, or what its fields call one. */
export function traceOf(line: Line): string {
  const named = line.trace_id || field(line, 'trace_id') || field(line, 'traceID') || field(line, 'traceId') || field(line, 'traceid');
  return /^[0-9a-fA-F]{1,32}$/.test(named) && /[1-9a-fA-F]/.test(named) ? named.toLowerCase() : '';
}

function field(line: Line, name: string): string {
  return line.attributes?.[name] ?? line.labels?.[name] ?? '';
}

/** The literals that a query looks for with `|=`, to mark them in the lines. */
export function literals(query: string): string[] {
  const found: string[] = [];
  for (const [, quoted, raw] of query.matchAll(/\|=\s*(?:("(?:\\.|[^"\\])*")|`([^`]*)`)/g)) {
    try {
      const text = quoted ? (JSON.parse(quoted) as string) : raw ?? '';
      if (text) found.push(text);
    } catch {
      // An escape that JSON does not know: the line is shown unmarked.
    }
  }
  return found.slice(0, 8);
}

/** The text cut at the literals: odd places are matches. At most 50 of them. */
export function cutAt(text: string, wanted: string[]): string[] {
  if (wanted.length === 0) return [text];
  const any = new RegExp(`(${wanted.map((literal) => literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`);
  const parts: string[] = [];
  let rest = text;
  while (parts.length < 100) {
    const match = any.exec(rest);
    if (!match || match[0] === '') break;
    parts.push(rest.slice(0, match.index), match[0]);
    rest = rest.slice(match.index + match[0].length);
  }
  return [...parts, rest];
}
