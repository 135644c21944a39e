// Traces found by service, operation and duration; or one by its id.
import { useEffect, useState } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { clock, count, duration, nanos } from '../core/format';
import { go, params, setParams } from '../core/route';
import { nowNanos, parseDuration, resolveRange } from '../core/time';
import type { TraceSummary } from '../core/types';
import { CoverageNote, Empty, ErrorNote } from '../parts/notes';
import { RangePicker } from '../parts/range';
import { useInView, useSelection } from '../parts/selection';
import { readOrder } from '../logs/order';
import { OrderPicker } from '../parts/order';
import { readTraceId } from '../traces/tree';

export function TraceIdField({ value }: { value: string }) {
  const [text, setText] = useState(value);
  const [wrong, setWrong] = useState(false);
  useEffect(() => setText(value), [value]);
  const open = (event: Event) => {
    event.preventDefault();
    const id = readTraceId(text);
    setWrong(!id);
    if (id) go(`/trace/${id}`);
  };
  return (
    <form class="query" role="search" onSubmit={open}>
      <input class="mono" data-search size={40} aria-label="Trace id" aria-invalid={wrong} placeholder="Trace id: 1 to 32 hex digits   ( / )" value={text} spellcheck={false} autocomplete="off" onInput={(event) => setText(event.currentTarget.value)} />
      <button type="submit" class="primary">Open</button>
      {wrong && <span class="field-error" role="alert">That is no trace id: 1 to 32 hex digits, not all zero.</span>}
    </form>
  );
}

const NAMES = ['service', 'operation', 'min', 'max', 'tags'] as const;

export function Traces() {
  const [round, setRound] = useState(0);
  const get = (name: string) => params.value.get(name) ?? '';
  const from = get('from') || 'now-1h';
  const to = get('to') || 'now';
  const wrong = ['min', 'max'].find((name) => get(name) && parseDuration(get(name)) === undefined);
  const key = `${NAMES.map(get).join(' ')} ${from} ${to} ${round}`;
  const asked = useAsk(wrong ? undefined : key, (signal) => {
    const range = resolveRange(from, to, nowNanos());
    if (typeof range === 'string') return Promise.reject(new Error(range));
    return api.traces({
      service: get('service'), operation: get('operation'), min_duration: get('min'), max_duration: get('max'), tags: get('tags'),
      start: String(range.start), end: String(range.end), limit: 100,
    }, signal);
  });
  const found = asked.data?.traces ?? [];
  const traces = readOrder(params.value, 'newest') === 'oldest' ? [...found].reverse() : found;
  return (
    <section>
      <div class="bar"><h1>Traces</h1><TraceIdField value="" /><RangePicker from={from} to={to} /><OrderPicker preferred="newest" /></div>
      <Filters again={() => setRound((old) => old + 1)} />
      {wrong && <p class="note error" role="alert">“{get(wrong)}” is no duration: write 250ms, 1.5s or 2m.</p>}
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage}><span class="muted" role="status">{count(traces.length)}{traces.length >= 100 ? '+' : ''} traces</span></CoverageNote>}
      {traces.length > 0 && <Found traces={traces} />}
      {asked.data && traces.length === 0 && <Empty title="No trace matches in this range">Spans come in by OTLP, on port 4317 (gRPC) or 4318 (HTTP) unless weir was told otherwise.</Empty>}
    </section>
  );
}

function Filters({ again }: { again: () => void }) {
  const services = useAsk('services', (signal) => api.services(signal));
  const service = params.value.get('service') ?? '';
  const operations = useAsk(service || undefined, (signal) => api.operations(service, signal));
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    setParams(Object.fromEntries(NAMES.map((name) => [name, String(data.get(name) ?? '').trim() || undefined])));
    again();
  };
  const names = [...new Set((operations.data?.operations ?? []).map((operation) => operation.name))];
  return (
    <form class="form-grid" onSubmit={submit}>
      <label>Service
        <select name="service" value={service} onChange={(event) => setParams({ service: event.currentTarget.value, operation: undefined })}>
          <option value="">any</option>
          {[...new Set([...(services.data?.services ?? []), ...(service ? [service] : [])])].map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      </label>
      <label>Operation
        <input name="operation" list="operations" defaultValue={params.value.get('operation') ?? ''} key={`o${service}${params.value.get('operation')}`} />
        <datalist id="operations">{names.map((name) => <option key={name} value={name} />)}</datalist>
      </label>
      {([['min', 'At least', '250ms'], ['max', 'At most', '2s'], ['tags', 'Attribute', 'http.status_code=500']] as const).map(([name, title, hint]) => (
        <label key={name}>{title}<input name={name} placeholder={hint} defaultValue={params.value.get(name) ?? ''} size={name === 'tags' ? 24 : 8} /></label>
      ))}
      <button type="submit" class="primary">Find</button>
    </form>
  );
}

function Found({ traces }: { traces: TraceSummary[] }) {
  const selected = useSelection({ count: traces.length, keyOf: (i) => traces[i]!.id, open: (i) => go(`/trace/${traces[i]!.id}`) });
  useInView(selected);
  const longest = Math.max(1, ...traces.map((trace) => Number(nanos(trace.duration))));
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Traces found">
      <table>
        <thead><tr>{['Start', 'Service', 'Operation', 'Trace'].map((name) => <th scope="col" key={name}>{name}</th>)}{['Duration', 'Spans', 'Errors'].map((name) => <th scope="col" class="number" key={name}>{name}</th>)}</tr></thead>
        <tbody>
          {traces.map((trace) => (
            <tr key={trace.id} data-selected={trace.id === selected || undefined}>
              <td>{clock(nanos(trace.start), true)}</td>
              <td>{trace.root_service || '–'}</td>
              <td>{trace.has_root ? trace.root_name : <span class="warn">root span not seen{trace.root_name ? `: ${trace.root_name}` : ''}</span>}</td>
              <td><a class="mono" href={`/trace/${encodeURIComponent(trace.id)}`}>{trace.id}</a></td>
              <td class="number">{duration(nanos(trace.duration))}<span class="duration-bar" style={{ width: `${((Number(nanos(trace.duration)) / longest) * 100).toFixed(1)}%` }} /></td>
              <td class="number">{count(trace.spans)}</td>
              <td class={`number ${trace.errors > 0 ? 'bad' : ''}`}>{trace.errors}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
