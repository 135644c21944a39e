// What a row shows of a log line. Pure.
import { clip } from '../core/format';
import type { Line } from '../core/types';
import { runs, type Run } from './ansi';

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

/** What the line's level is called: as it was found in the line, else as its record says. */
export function levelName(line: Line): string {
  const found = line.labels?.['detected_level'] ?? '';
  return found === '' || found === 'unknown' ? line.level : found;
}

/** The filter on `detected_level` that keeps the lines of one of our levels. */
export function levelTest(level: Level): string {
  if (level === 'none') return '="unknown"';
  return level === 'fatal' ? '=~"fatal|critical"' : `="${level}"`;
}

/** Characters of a line that a row draws: a screen's width many times over, yet nothing that could hang the page. */
export const ROW_CHARS = 1500;
/** Characters of a line drawn when it is open. */
export const OPEN_CHARS = 65_536;

/** Rows of text that one line may take in the list before it is opened. */
export const ROW_LINES = 40;

/**
 * The line as its row shows it: tabs, blanks and breaks as they are, colours as runs; other control characters are blanks. At most
 * `ROW_CHARS` characters in `ROW_LINES` rows.
 */
export function rowRuns(line: string): Run[] {
  const shown: Run[] = [];
  let [chars, breaks] = [ROW_CHARS, ROW_LINES - 1];
  // Cut first: what comes after works on a bounded text.
  for (const { text, classes } of runs(line.slice(0, ROW_CHARS * 2).replace(/\r\n?/g, '\n').trimEnd())) {
    const rows = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f]+/g, ' ').split('\n');
    const fits = rows.slice(0, breaks + 1).join('\n');
    const cut = clip(fits, chars);
    if (fits.length > chars || rows.length > breaks + 1) return [...shown, { text: cut.endsWith('…') ? cut : `${cut}…`, classes }];
    shown.push({ text: cut, classes });
    chars -= cut.length;
    breaks -= rows.length - 1;
  }
  return shown;
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
