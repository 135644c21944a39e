// What a view says about an answer: an error with its place, what the answer covers, that there is nothing.
import type { ComponentChildren } from 'preact';
import { outages, type ApiError } from '../core/api';
import { clock, counted } from '../core/format';
import { errorPosition } from '../core/logql';
import type { Coverage } from '../core/types';

/** An error in the server's words. With the query, the place the error names is marked in it. */
export function ErrorNote({ error, query }: { error: ApiError | undefined; query?: string }) {
  if (!error) return null;
  const at = query === undefined ? undefined : errorPosition(error.message, query);
  return (
    <div class="note error" role="alert">
      <strong>{error.status === 0 ? 'No answer' : `Error ${error.status}`}</strong> <span class="wrap">{error.message}</span>
      {query !== undefined && at !== undefined && <Marked query={query} at={at} />}
    </div>
  );
}

function Marked({ query, at }: { query: string; at: number }) {
  return (
    <pre class="marked">{query.slice(Math.max(0, at - 300), at)}<mark>{query.slice(at, at + 1).trim() || '␣'}</mark>{query.slice(at + 1, at + 300)}</pre>
  );
}

/** What the answer has seen, and until when: as the answer says it, whatever the clock says now. */
export function CoverageNote({ coverage, children }: { coverage: Coverage | undefined; children?: ComponentChildren }) {
  if (!coverage) return null;
  const upTo = coverage.at > 0n ? clock(coverage.at).slice(0, 8) : 'a time that the answer does not say';
  const late = unsearchable(coverage);
  const lost = losses(coverage);
  const refused = outages.value.some(({ what }) => what === 'bus');
  const whole = coverage.complete && late === 0 && coverage.missing.length === 0 && lost.length === 0 && !refused;
  return (
    <p class={`coverage ${whole ? 'whole' : 'partial'}`} data-coverage={whole ? 'whole' : 'partial'}>
      <span class="dot" aria-hidden="true" />
      <span>{coverage.complete ? `Searched everything ingested up to ${upTo}` : `An incomplete answer, up to ${upTo}`}</span>
      {refused && <span class="bad">new records are not being stored</span>}
      {late > 0 && <span class="warn" title="bus messages; each carries many lines, samples or spans">ingested, not searchable yet: {counted(late, 'message')}</span>}
      {coverage.missing.map((text) => <span class="warn" key={text}>missing: {text}</span>)}
      {lost.map((text) => <span class="bad" key={text}>{text}</span>)}
      {children}
    </p>
  );
}

/** Messages on the bus that the answer has not seen. */
export function unsearchable(coverage: Coverage): number {
  return coverage.partitions.reduce((sum, part) => sum + Math.max(0, part.on_bus - part.searchable), 0);
}

function losses(coverage: Coverage): string[] {
  return coverage.partitions.flatMap((part) =>
    part.losses.map(([from, to]) => `lost: ${part.topic} partition ${part.partition}, offsets ${from}–${to}`));
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty" role="status"><h2>{title}</h2><div>{children}</div></div>;
}
