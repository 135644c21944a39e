// How a container ended: in words, with its last lines under its row.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, clock, nanos } from '../core/format';
import type { Container } from '../core/types';
import { CoverageNote, ErrorNote } from './notes';

/** Whether it has ended and does not run again. */
export function isOver(row: Container): boolean {
  return row.state === 'exited';
}

/** What became of its last run, in a word: the state of one that is over. */
export function fate(row: Container): { word: string; kind: 'oom' | 'exited' | 'done' } {
  if (row.oom_killed) return { word: 'OOM killed', kind: 'oom' };
  if (row.exit_code === 0) return { word: 'completed', kind: 'done' };
  return { word: row.signal === 'SIGKILL' ? 'killed' : 'exited', kind: 'exited' };
}

/** The exit code, its signal and when, as `exit 137 (SIGKILL), 3 min ago`; empty when no run has ended. */
export function ending(row: Container, now: bigint): string {
  if (!row.finished) return '';
  const code = row.exit_code === null ? 'exit code not known' : `exit ${row.exit_code}`;
  return `${code}${row.signal ? ` (${row.signal})` : ''}, ${ago(nanos(row.finished), now)} ago`;
}

/**
 * Of the containers that went by one name on a node, in a pod or not, the one that runs, else the one that ended last; and of each how
 * many earlier ones it stands for. A job that is started each minute is one row. `rows` has the newest ends first.
 */
export function folded(rows: Container[]): { rows: Container[]; earlier: Map<Container, number> } {
  const keyOf = (row: Container) => JSON.stringify([row.node, row.namespace, row.pod, row.name]);
  const first = new Map<string, Container>();
  for (const row of rows) {
    const known = first.get(keyOf(row));
    if (row.name && (!known || (isOver(known) && (!isOver(row) || nanos(row.finished) > nanos(known.finished))))) first.set(keyOf(row), row);
  }
  const earlier = new Map<Container, number>();
  const kept = rows.filter((row) => {
    const stands = first.get(keyOf(row));
    if (!stands || stands === row || !isOver(row)) return true;
    earlier.set(stands, (earlier.get(stands) ?? 0) + 1);
    return false;
  });
  return { rows: kept, earlier };
}

/** The last ten lines of a container. */
export function LastLines({ id, of }: { id: string; of: string }) {
  const asked = useAsk(`last-lines ${id}`, (signal) => api.lastLines(id, signal));
  const lines = asked.data?.lines ?? [];
  return (
    <div class="last-lines" role="group" aria-label={`Last lines of ${of}`}>
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage} />}
      {asked.data && lines.length === 0 && <span class="muted">It has written nothing in its last day that weir has seen.</span>}
      {lines.map((line) => <div key={line.id}><time>{clock(nanos(line.t))}</time> {line.line}</div>)}
    </div>
  );
}
