// One trace by its id: waterfall, the chosen span, and the trace's log lines.
import { useMemo } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk, type Asked } from '../core/ask';
import { clock, count, counted, duration } from '../core/format';
import { params, setParams, to } from '../core/route';
import type { Trace, TraceLogsAnswer } from '../core/types';
import { CoverageNote, ErrorNote } from '../parts/notes';
import { TraceLogs } from '../traces/logs';
import { marksOf } from '../traces/place';
import { SpanDetails } from '../traces/span';
import { buildTree, readTraceId, type Tree } from '../traces/tree';
import { hue, Waterfall } from '../traces/waterfall';
import { TraceIdField } from './traces';

/** So many lines of a trace are shown; the log search has all of them. */
const LINES_MAX = 1000;

export function TracePage({ id: typed }: { id: string }) {
  const id = readTraceId(typed);
  const asked = useAsk(id, (signal) => api.trace(id ?? '', signal));
  const logs = useAsk(id, (signal) => api.traceLogs(id ?? '', LINES_MAX, signal));
  const trace = asked.error ? undefined : asked.data?.trace;
  return (
    <section class="fill">
      <div class="bar"><h1 class="hidden">Trace</h1><TraceIdField value={typed} /></div>
      {!id && <p class="note error" role="alert">“{typed}” is no trace id: 1 to 32 hex digits, not all zero.</p>}
      {asked.error?.status === 404
        ? <Unseen id={typed} said={asked.error.message} />
        : <ErrorNote error={asked.error} />}
      {id && asked.busy && !trace && !asked.error && <p class="muted pad" role="status">Looking for the trace …</p>}
      {trace && <CoverageNote coverage={asked.data?.coverage} />}
      {trace && <Whole trace={trace} logs={logs} />}
      {id && asked.error && <Lines id={id} tree={undefined} logs={logs} />}
    </section>
  );
}

function Unseen({ id, said }: { id: string; said: string }) {
  return (
    <div class="empty" role="status">
      <h2>No span of this trace has been seen</h2>
      <p class="wrap"><code>{id}</code></p>
      <p>{said}</p>
      <p>It may not have arrived yet, may have been kept by another weir, or has passed its retention. <a href={to('/logs', { trace: id, from: 'now-24h' })}>Look for its log lines</a></p>
    </div>
  );
}

/** Asked of the address, not of a drawing: two keys may come before the next one. */
function choose(id: string): void {
  setParams({ span: id === params.value.get('span') ? undefined : id }, 'replace');
}

function Whole({ trace, logs }: { trace: Trace; logs: Asked<TraceLogsAnswer> }) {
  const tree = useMemo(() => buildTree(trace.spans), [trace]);
  const chosen = params.value.get('span') ?? '';
  const span = trace.spans.find((one) => one.id === chosen);
  const marks = useMemo(() => marksOf(logs.data?.lines ?? []), [logs.data]);
  return (
    <>
      <Head trace={trace} tree={tree} />
      <div class={span ? 'columns' : 'columns one'}>
        <Waterfall tree={tree} marks={marks} chosen={chosen} onChoose={choose} />
        {span && <SpanDetails span={span} traceStart={tree.start} traceId={trace.id} />}
      </div>
      <Lines id={trace.id} tree={tree} logs={logs} />
    </>
  );
}

/** Who may not read spans, or has none, has the lines all the same. */
function Lines({ id, tree, logs }: { id: string; tree: Tree | undefined; logs: Asked<TraceLogsAnswer> }) {
  return <TraceLogs id={id} tree={tree} answer={logs.error ? undefined : logs.data} error={logs.error} busy={logs.busy} chosen={params.value.get('span') ?? ''} onChoose={choose} />;
}

function Head({ trace, tree }: { trace: Trace; tree: Tree }) {
  const root = tree.rows.find((row) => row.place === 'root') ?? tree.rows[0];
  return (
    <>
      <div class="trace-head">
        <strong>{root ? `${root.span.service}: ${root.span.name}` : 'no spans'}</strong>
        <span>{duration(tree.end - tree.start)}</span>
        <span class="muted">{clock(tree.start, true)}</span>
        <span>{counted(tree.rows.length, 'span')}</span>
        {tree.errors > 0 && <span class="bad">{count(tree.errors)} with errors</span>}
        <Completeness trace={trace} tree={tree} />
        <code class="muted">{trace.id}</code>
      </div>
      <div class="services" aria-label="Services">
        {tree.services.map((service) => <span key={service}><span class={`swatch ${hue(tree.services, service)}`} aria-hidden="true" />{service}</span>)}
      </div>
    </>
  );
}

/** Whether all of the trace is here, in words; the engine's own word for its state is the title. */
function Completeness({ trace, tree }: { trace: Trace; tree: Tree }) {
  const lost = tree.rows.filter((row) => row.place === 'orphan').length;
  const growing = trace.state === 'open' || trace.state === 'reopened';
  const missing = [...(tree.hasRoot ? [] : ['root span not seen']), ...(lost > 0 ? [`parents of ${counted(lost, 'span')} not seen`] : [])];
  return (
    <span class={missing.length > 0 ? 'warn' : 'muted'} title={`state ${trace.state}, revision ${trace.revision}`}>
      {missing.length > 0 ? `incomplete: ${missing.join(', ')}` : growing ? '' : 'complete'}{growing && `${missing.length > 0 ? '; ' : ''}may still grow`}
    </span>
  );
}
