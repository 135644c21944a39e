// In which order lines stand, and which of them belong together: a stack trace reads downward under its first line, in either order. Pure.
import { nanos } from '../core/format';
import { SECOND } from '../core/time';
import type { Line } from '../core/types';

export type Order = 'newest' | 'oldest';

/** What the address says, or what the view prefers. */
export function readOrder(params: URLSearchParams, preferred: Order): Order {
  const order = params.get('order');
  return order === 'newest' || order === 'oldest' ? order : preferred;
}

/** By time; at one instant, by the place in the partition. */
export function byTime(one: Line, two: Line): number {
  if (one.t !== two.t) return one.t.length !== two.t.length ? one.t.length - two.t.length : one.t < two.t ? -1 : 1;
  const [a, b] = [one.id.split('-').map(Number), two.id.split('-').map(Number)];
  for (let i = 0; i < 3; i += 1) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0);
  return 0;
}

/** Both lists as one in that order, each line once, at most `most`: the last go, or with `keepLast` the first. */
export function join(old: Line[], more: Line[], most: number, order: Order, keepLast = false): Line[] {
  const known = new Set(old.map((line) => line.id));
  const added: Line[] = [];
  for (const line of more) {
    if (!known.has(line.id)) added.push(line);
    known.add(line.id);
  }
  if (added.length === 0) return old;
  const all = [...old, ...added].sort(order === 'oldest' ? byTime : (one, two) => byTime(two, one));
  return keepLast ? all.slice(-most) : all.slice(0, most);
}

/** A line where it stands in the list. `head` is the line that it continues. */
export interface Placed<L extends Line = Line> {
  line: L;
  head?: L;
}

/** A line that continues another comes at once after it. */
const TOGETHER = SECOND;

/** Lines in that order, but what continues a line of its stream stands below it. */
export function arrange<L extends Line>(lines: L[], order: Order): Placed<L>[] {
  const groups: Placed<L>[][] = [];
  const open = new Map<string, Placed<L>[]>();
  for (const line of order === 'oldest' ? lines : [...lines].reverse()) {
    const group = open.get(streamOf(line));
    const last = group?.[group.length - 1]?.line;
    if (group && last && nanos(line.t) - nanos(last.t) <= TOGETHER && continues(line.line, last.line, group.length > 1)) {
      group.push({ line, head: group[0]!.line });
    } else {
      const fresh = [{ line }];
      groups.push(fresh);
      open.set(streamOf(line), fresh);
    }
  }
  return (order === 'oldest' ? groups : groups.reverse()).flat();
}

const streams = new WeakMap<Line, string>();

function streamOf(line: Line): string {
  const known = streams.get(line) ?? JSON.stringify(line.stream);
  streams.set(line, known);
  return known;
}

const INDENTED = /^[ \t]+\S/;
const TROUBLE = /error|exception|fail|panic|traceback/i;

/** Whether a line goes on with what the one before it began: frames of Java, Python, Go, JavaScript, and whatever is indented. */
export function continues(text: string, before: string, inside: boolean): boolean {
  if (INDENTED.test(text)) return true;
  if (text.trim() === '') return inside || /^panic:/.test(before);
  if (/^(?:Caused by|Suppressed): |^\.\.\. \d+ (?:more|common frames)|^During handling of the above|^The above exception was/.test(text)) return true;
  if (/^Traceback \(most recent call last\)/.test(text)) return TROUBLE.test(before);
  if (/^[\w$.]*(?:Exception|Error|Throwable|Exit|Interrupt)(?::|$)/.test(text)) return INDENTED.test(before) || TROUBLE.test(before);
  if (/^goroutine \d+ \[|^\[signal /.test(text)) return /^panic:|^fatal error:|^\[signal |^\s*$/.test(before);
  if (/^[\w./*()-]+\(.*\)$|^created by /.test(text)) return /^goroutine \d+ \[|^\t\S+:\d+/.test(before);
  return /^[)\]}]+[,;]?$/.test(text) && INDENTED.test(before);
}
