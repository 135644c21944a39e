// A trace's spans as the rows of a waterfall: parents above children, by start; what has no parent here is shown as such. Pure.
import { nanos } from '../core/format';
import type { Span } from '../core/types';

export interface Row {
  span: Span;
  depth: number;
  children: number;
  start: bigint;
  duration: bigint;
  /** Why it stands at the left edge: it is the root, its parent has not been seen, or its parents form a ring. */
  place: 'child' | 'root' | 'orphan' | 'ring';
}

export interface Tree {
  rows: Row[];
  start: bigint;
  end: bigint;
  /** A span without a parent has been seen. */
  hasRoot: boolean;
  errors: number;
  services: string[];
}

/** Deeper than this, rows are no longer moved to the right. */
export const DEPTH_MAX = 40;

export function buildTree(spans: Span[]): Tree {
  const known = new Map(spans.map((span) => [span.id, span]));
  const children = new Map<string, Span[]>();
  const tops: { span: Span; place: Row['place'] }[] = [];
  for (const span of spans) {
    if (span.parent_id && known.has(span.parent_id) && span.parent_id !== span.id) {
      const beside = children.get(span.parent_id);
      if (beside) beside.push(span);
      else children.set(span.parent_id, [span]);
    } else tops.push({ span, place: span.parent_id ? 'orphan' : 'root' });
  }
  for (const beside of children.values()) beside.sort(byStart);
  tops.sort((one, two) => byStart(one.span, two.span));
  const rows: Row[] = [];
  const seen = new Set<Span>();
  for (const top of tops) descend(top.span, top.place, children, seen, rows);
  // What no top leads to hangs in a ring of parents: it starts anywhere.
  for (const span of [...spans].sort(byStart)) if (!seen.has(span)) descend(span, 'ring', children, seen, rows);
  return { rows, ...edges(rows), hasRoot: tops.some((top) => top.place === 'root'), errors: spans.filter((span) => span.status === 'error').length, services: servicesOf(rows) };
}

function byStart(one: Span, two: Span): number {
  const [a, b] = [nanos(one.start), nanos(two.start)];
  return a < b ? -1 : a > b ? 1 : one.id < two.id ? -1 : 1;
}

/** Depth first with a stack of its own: a chain of 100,000 spans is data, not a reason to fall over. */
function descend(top: Span, place: Row['place'], children: Map<string, Span[]>, seen: Set<Span>, rows: Row[]): void {
  const stack: { span: Span; depth: number; place: Row['place'] }[] = [{ span: top, depth: 0, place }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (seen.has(next.span)) continue;
    seen.add(next.span);
    const below = (children.get(next.span.id) ?? []).filter((child) => !seen.has(child));
    rows.push({ ...next, children: below.length, start: nanos(next.span.start), duration: nanos(next.span.duration) });
    for (let i = below.length - 1; i >= 0; i -= 1) stack.push({ span: below[i]!, depth: next.depth + 1, place: 'child' });
  }
}

function edges(rows: Row[]): { start: bigint; end: bigint } {
  let start: bigint | undefined;
  let end = 0n;
  for (const row of rows) {
    if (start === undefined || row.start < start) start = row.start;
    if (row.start + row.duration > end) end = row.start + row.duration;
  }
  return { start: start ?? 0n, end };
}

function servicesOf(rows: Row[]): string[] {
  return [...new Set(rows.map((row) => row.span.service))];
}

/** The rows that show when some spans are folded: nothing below a folded one. */
export function unfolded(rows: Row[], folded: ReadonlySet<string>): Row[] {
  const shown: Row[] = [];
  let hiddenBelow = Infinity;
  for (const row of rows) {
    if (row.depth > hiddenBelow) continue;
    hiddenBelow = folded.has(row.span.id) ? row.depth : Infinity;
    shown.push(row);
  }
  return shown;
}

/** A hex trace id as typed or pasted (spaces, quotes, dashes around or in it left out); undefined when it is none. */
export function readTraceId(text: string): string | undefined {
  const id = text.trim().replace(/^["']|["']$/g, '').replace(/-/g, '').toLowerCase();
  return /^[0-9a-f]{1,32}$/.test(id) && /[1-9a-f]/.test(id) ? id : undefined;
}
