// Traces found by service, operation and duration; or one by its id.
import { useEffect, useState } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { clock, count, counted, duration, nanos } from '../core/format';
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

/** The service under which weir keeps spans of its own requests: this page's among them. */
const OWN = 'weir';
const SHOWN = 100;
/** docs/api.md: traces of one answer at most. */
const LIMIT_MAX = 1000;

/** The newest traces that did not begin in weir; where its own fill the answer, out of the longest one there is. */
async function withoutOwn<T extends { traces: TraceSummary[] }>(ask: (limit: number) => Promise<T>): Promise<T> {
  const first = await ask(SHOWN);
  const full = first.traces.length >= SHOWN && first.traces.some((trace) => trace.root_service === OWN);
  return full ? ask(LIMIT_MAX) : first;
}

const NAMES = ['service', 'operation', 'min', 'max', 'tags'] as const;

export function Traces() {
  const [round, setRound] = useState(0);
  const get = (name: string) => params.value.get(name) ?? '';
  // A search for weir's own service is a search for its requests.
  const own = get('own') === '1' || get('service') === OWN;
  const from = get('from') || 'now-1h';
  const to = get('to') || 'now';
  const wrong = ['min', 'max'].find((name) => get(name) && parseDuration(get(name)) === undefined);
  const key = `${NAMES.map(get).join(' ')} ${from} ${to} ${round} ${own}`;
  const asked = useAsk(wrong ? undefined : key, (signal) => {
    const range = resolveRange(from, to, nowNanos());
    if (typeof range === 'string') return Promise.reject(new Error(range));
    const ask = (limit: number) => api.traces({
      service: get('service'), operation: get('operation'), min_duration: get('min'), max_duration: get('max'), tags: get('tags'),
      start: String(range.start), end: String(range.end), limit,
    }, signal);
    return own ? ask(SHOWN) : withoutOwn(ask);
  });
  const found = asked.data?.traces ?? [];
  const newest = (own ? found : found.filter((trace) => trace.root_service !== OWN)).slice(0, SHOWN);
  const traces = readOrder(params.value, 'newest') === 'oldest' ? [...newest].reverse() : newest;
  return (
    <section>
      <div class="bar"><h1>Traces</h1><TraceIdField value="" /><RangePicker from={from} to={to} /><OrderPicker preferred="newest" /></div>
      <Filters again={() => setRound((old) => old + 1)} />
      {wrong && <p class="note error" role="alert">“{get(wrong)}” is no duration: write 250ms, 1.5s or 2m.</p>}
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage}><Tally shown={traces.length} found={found.length} own={own} /></CoverageNote>}
      {traces.length > 0 && <Found traces={traces} />}
      {asked.data && traces.length === 0 && <Empty title="No trace matches in this range">Spans come in by OTLP, on port 4317 (gRPC) or 4318 (HTTP) unless weir was told otherwise.</Empty>}
    </section>
  );
}

/** How many are shown, and how many of weir's own are not. */
function Tally({ shown, found, own }: { shown: number; found: number; own: boolean }) {
  const left = own || shown >= SHOWN ? 0 : found - shown;
  return (
    <>
      <span class="muted" role="status">{counted(shown, 'trace')}{shown >= SHOWN ? ', the newest; there may be more' : ''}{left > 0 ? `; ${counted(left, 'trace')} of weir’s own requests left out` : ''}</span>
      <button type="button" class="link" onClick={() => setParams({ own: own ? undefined : '1', ...(own && params.value.get('service') === OWN ? { service: undefined } : {}) })}>{own ? 'Leave out' : 'Show'} weir’s own requests</button>
    </>
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
