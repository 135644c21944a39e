// Where the lines of a trace stand, and why, in words. Pure.
import { counted, duration, nanos } from '../core/format';
import { isoNanos } from '../core/time';
import type { NodeClock, PlacedLine, TraceLogsAnswer } from '../core/types';

/** So many lines of one span have a mark on its bar. */
export const MARKS_MAX = 200;

/** `+5 s`, `-2.50 ms`; empty for 0. */
export function signed(by: bigint): string {
  if (by === 0n) return '';
  return by > 0n ? `+${duration(by)}` : duration(by);
}

/** How far a line was moved from what its own clock said. */
export function movedBy(line: PlacedLine): bigint {
  return nanos(line.at) - nanos(line.t);
}

const PLACED: Record<PlacedLine['placed'], string> = {
  span: 'the span whose id it carries',
  clock: 'the clock of its node',
  stream: 'the line before it in its stream',
  time: 'its own time, since no span says more',
};

/** What an opened line says of its place. */
export function placeFields(line: PlacedLine): Record<string, string> {
  const fields: Record<string, string> = { 'placed by': PLACED[line.placed] ?? line.placed };
  if (movedBy(line) === 0n) return fields;
  fields['by its own clock'] = isoNanos(nanos(line.t));
  fields['moved by'] = signed(movedBy(line));
  const parts = [['for its clock', line.moved_by_clock], ['into its span', line.moved_by_span], ['behind its stream', line.moved_by_stream]] as const;
  const known = parts.map(([name, by]) => [name, nanos(by)] as const).filter(([, by]) => by !== 0n);
  if (known.length > 1) for (const [name, by] of known) fields[name] = signed(by);
  else for (const [name] of known) fields['moved by'] += `, ${name}`;
  return fields;
}

/** What a clock was taken to be, and on what that rests. */
export function clockText({ clock, offset, calls }: NodeClock): string {
  const by = nanos(offset);
  if (by !== 0n) return `the clock of ${clock} is taken to be ${duration(by < 0n ? -by : by)} ${by > 0n ? 'behind' : 'ahead'}, from ${counted(calls, 'call')}; its lines were moved by ${signed(by)}`;
  return calls > 0 ? `the clock of ${clock} needs no change, from ${counted(calls, 'call')}` : '';
}

/** What the order does not rest on: lines that no span places, spans that were not read, lines that are left out. */
export function orderNotes(answer: TraceLogsAnswer): string[] {
  const notes: string[] = [];
  const byTime = answer.lines.filter((line) => line.placed === 'time').length;
  if (byTime > 0) notes.push(`placed by their own time alone, since no span says more: ${counted(byTime, 'line')}`);
  if (answer.spans_refused !== '') notes.push(`the spans of the trace were not read: ${answer.spans_refused}`);
  if (answer.more) notes.push(`only the oldest ${counted(answer.lines.length, 'line')}; the trace has more`);
  return notes;
}

/** When each span's lines were written by their own clock, as the span's bar is drawn: at most `MARKS_MAX` a span. */
export function marksOf(lines: PlacedLine[]): Map<string, bigint[]> {
  const marks = new Map<string, bigint[]>();
  for (const line of lines) {
    if (!line.span_id) continue;
    const known = marks.get(line.span_id);
    if (!known) marks.set(line.span_id, [nanos(line.t)]);
    else if (known.length < MARKS_MAX) known.push(nanos(line.t));
  }
  return marks;
}
