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

/** A text to mark in lines. */
export interface Mark {
  text: string;
  /** In upper or lower case. */
  anyCase: boolean;
}

const STRING = '(?:"(?:\\\\.|[^"\\\\])*"|`[^`]*`)';
const LOOKS_FOR = new RegExp(`(\\|=|\\|~|__line__=~)\\s*(${STRING}(?:\\s+or\\s+${STRING})*)`, 'g');

/** What a query looks for in lines, as texts or as patterns that are plain text: to mark it in them. At most 16. */
export function literals(query: string): Mark[] {
  const found: Mark[] = [];
  for (const [, operator, texts] of query.matchAll(LOOKS_FOR)) {
    for (const [quoted] of texts!.matchAll(new RegExp(STRING, 'g'))) {
      const text = unquoted(quoted);
      const mark = operator === '|=' ? { text, anyCase: false } : plainPattern(operator === '|~' ? text : text.replace(/^(\(\?i\))?\.\*/, '$1').replace(/\.\*$/, ''));
      if (mark && mark.text !== '') found.push(mark);
    }
  }
  return found.slice(0, 16);
}

/** Without its quotes; empty for an escape that JSON does not know: the line is shown unmarked. */
function unquoted(text: string): string {
  if (text.startsWith('`')) return text.slice(1, -1);
  try {
    return JSON.parse(text) as string;
  } catch {
    return '';
  }
}

/** The text of a pattern that is one; undefined for any other pattern: a browser may take for ever over those. */
function plainPattern(pattern: string): Mark | undefined {
  const anyCase = pattern.startsWith('(?i)');
  const text = anyCase ? pattern.slice(4) : pattern;
  if (/[.*+?^${}()|[\]\\]/.test(text.replace(/\\[^\w\s]/g, ''))) return undefined;
  return { text: text.replace(/\\([^\w\s])/g, '$1'), anyCase };
}

/** The text cut at the marks: odd places are matches. At most 50 of them. */
export function cutAt(text: string, wanted: Mark[]): string[] {
  if (wanted.length === 0) return [text];
  const any = new RegExp(`(${wanted.map((mark) => mark.text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, wanted.some((mark) => mark.anyCase) ? 'i' : '');
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
