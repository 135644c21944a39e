// A PromQL query as a graph with its legend, and as the table of its values now.
import { useMemo, useState } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { clock, count, counted, duration } from '../core/format';
import { params, setParams } from '../core/route';
import { isoNanos, nowNanos, resolveRange, SECOND, type Range } from '../core/time';
import type { Histogram, PromData, Series } from '../core/types';
import { HeatMap, HistogramCell } from '../graph/heatmap';
import { COLORS, Plot } from '../graph/plot';
import { columns, graphStep, lastOf, sample, seriesName, type Steps } from '../graph/series';
import { inUnit, unitOf, type Unit } from '../graph/unit';
import { Empty, ErrorNote } from '../parts/notes';
import { QueryField } from '../parts/query';
import { RangePicker, rangeText } from '../parts/range';
import { Unknown } from '../parts/unknown';

/** Series drawn at most; the rest is said, not drawn. */
const SERIES_MAX = 200;
const POINTS = 400;
/** Heat maps drawn at most: each takes a page's width. */
const HEATS_MAX = 12;

export function Metrics() {
  const [round, setRound] = useState(0);
  // Prometheus' alerts link to /graph?g0.expr=…&g0.tab=1: those addresses open here as well.
  const query = (params.value.get('q') ?? params.value.get('g0.expr') ?? '').trim();
  const from = params.value.get('from') || 'now-1h';
  const to = params.value.get('to') || 'now';
  const table = (params.value.get('tab') ?? (params.value.get('g0.tab') === '1' ? 'table' : '')) === 'table';
  const range = useMemo(() => resolveRange(from, to, nowNanos()), [query, from, to, round]);
  const run = (text: string) => {
    setParams({ q: text || undefined, 'g0.expr': undefined });
    setRound((old) => old + 1);
  };
  return (
    <section>
      <div class="bar">
        <h1 class="hidden">Metrics</h1>
        <QueryField value={query} label="Metric query" store="promql" onRun={run} placeholder='PromQL: sum by (pod) (rate(container_cpu_usage_seconds_total[1m]))   ( / )' />
        <RangePicker from={from} to={to} />
        <div class="toggles">
          <button type="button" aria-pressed={!table} onClick={() => setParams({ tab: undefined, 'g0.tab': undefined, 'g0.expr': undefined, q: query }, 'replace')}>Graph</button>
          <button type="button" aria-pressed={table} onClick={() => setParams({ tab: 'table' }, 'replace')}>Table</button>
        </div>
      </div>
      {typeof range === 'string' && <p class="note error" role="alert">{range}</p>}
      {query === '' && <Names onPick={run} />}
      {query !== '' && typeof range !== 'string' && (table
        ? <Table query={query} at={range.end} round={round} onPick={run} />
        : <Graph query={query} range={range} round={round} label={rangeText(from, to)} onPick={run} />)}
    </section>
  );
}

interface GraphProps {
  query: string;
  range: Range;
  round: number;
  label: string;
  onPick: (query: string) => void;
}

function Graph({ query, range, round, label, onPick }: GraphProps) {
  const [start, end] = [Number(range.start / 1_000_000n) / 1000, Number(range.end / 1_000_000n) / 1000];
  const step = graphStep(end - start, POINTS);
  const asked = useAsk(`${query} ${start} ${end} ${round}`, (signal) => api.promRange({ query, start, end, step }, signal));
  const series = useMemo(() => seriesOf(asked.data), [asked.data]);
  const numbers = useMemo(() => series.filter((one) => one.values || !one.histograms), [series]);
  const heats = useMemo(() => series.filter((one) => one.histograms), [series]);
  const drawn = useMemo(() => numbers.slice(0, SERIES_MAX), [numbers]);
  const steps = useMemo(() => ({ start, end, step }), [start, end, step]);
  const data = useMemo(() => columns(drawn, steps), [drawn, steps]);
  const unit = unitOf(query);
  const names = useMemo(() => drawn.map((one) => seriesName(one.metric)), [drawn]);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const zoom = (from: number, to: number) => setParams({ from: isoSeconds(from), to: isoSeconds(to) });
  if (asked.error) return <ErrorNote error={asked.error} query={query} />;
  if (!asked.data) return <p class="muted pad" role="status">Asking …</p>;
  if (series.length === 0) return <Empty title="The query has no series in this range">Nothing matched in “{label}”.<UnknownMetrics query={query} onPick={onPick} /></Empty>;
  return (
    <>
      {numbers.length > 0 && <div class="graph" data-series={numbers.length}><Plot data={data} names={names} hidden={hidden} steps={steps} unit={unit} onZoom={zoom} summary={`Graph of ${counted(numbers.length, 'series', 'series')}, every ${counted(step, 'second')}`} /></div>}
      <p class="muted graph-said">{clock(range.start, true).slice(0, 19)} to {clock(range.end, true).slice(0, 19)}, a point every {duration(BigInt(step) * SECOND)}{unit === 'none' ? '' : `, in ${unit}`}{numbers.length > 0 && '; drag to zoom'}</p>
      {numbers.length > SERIES_MAX && <p class="warn">{count(numbers.length)} series; the first {SERIES_MAX} are drawn. Aggregate, or select fewer.</p>}
      {heats.length > HEATS_MAX && <p class="warn">{count(heats.length)} series of histograms; the first {HEATS_MAX} are drawn. Aggregate, or select fewer.</p>}
      {heats.slice(0, HEATS_MAX).map((one) => <HeatMap key={seriesName(one.metric)} series={one} steps={steps} query={query} />)}
      <Legend data={data} names={names} hidden={hidden} steps={steps} unit={unit} onHide={setHidden} />
    </>
  );
}

function isoSeconds(seconds: number): string {
  return isoNanos(BigInt(Math.round(seconds * 1000)) * 1_000_000n);
}

interface LegendProps {
  data: ReturnType<typeof columns>;
  names: string[];
  hidden: ReadonlySet<string>;
  steps: Steps;
  unit: Unit;
  onHide: (next: ReadonlySet<string>) => void;
}

function Legend({ data, names, hidden, steps, unit, onHide }: LegendProps) {
  const click = (name: string, event: MouseEvent) => {
    const next = new Set(hidden);
    if (event.ctrlKey || event.metaKey) {
      if (!next.delete(name)) next.add(name);
      return onHide(next);
    }
    // A click shows this one alone; a second click shows all.
    const alone = hidden.size === names.length - 1 && !hidden.has(name);
    onHide(alone ? new Set() : new Set(names.filter((other) => other !== name)));
  };
  return (
    <div class="legend" role="group" aria-label="Series: click for one alone, with Ctrl to hide it">
      {names.map((name, i) => {
        const last = lastOf((data[i + 1] ?? []) as (number | null)[]);
        // A value that is not of the range's end says when it was.
        const old = last && last.at < data[0].length - 1 ? ` at ${clock(BigInt(Math.round((steps.start + last.at * steps.step) * 1000)) * 1_000_000n, steps.end - steps.start > 86_400).slice(0, -4)}` : '';
        return (
          <button type="button" key={name} aria-pressed={!hidden.has(name)} onClick={(event) => click(name, event)}>
            <span class="swatch" aria-hidden="true" style={{ background: COLORS[i % COLORS.length]! }} /><span class="series-name">{name}</span><span class={`last${old ? ' warn' : ''}`}>{last ? `${inUnit(last.value, unit)}${old}` : 'no value'}</span>
          </button>
        );
      })}
    </div>
  );
}

function UnknownMetrics({ query, onPick }: { query: string; onPick: (query: string) => void }) {
  const names = async (signal: AbortSignal) => {
    const [metrics, labels] = await Promise.all([api.metricNames(signal), api.labelNames(signal)]);
    return { metrics, labels };
  };
  return <Unknown query={query} language="promql" ask={names} onPick={onPick} />;
}

function Table({ query, at, round, onPick }: { query: string; at: bigint; round: number; onPick: (query: string) => void }) {
  const asked = useAsk(`${query} ${at} ${round}`, (signal) => api.promInstant({ query, time: Number(at / 1_000_000n) / 1000 }, signal));
  if (asked.error) return <ErrorNote error={asked.error} query={query} />;
  if (!asked.data) return <p class="muted pad" role="status">Asking …</p>;
  const rows = seriesOf(asked.data);
  if (rows.length === 0) return <Empty title="The query has no value at this instant">Nothing matched at {clock(at, true)}.<UnknownMetrics query={query} onPick={onPick} /></Empty>;
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Values">
      <table>
        <thead><tr><th scope="col">Series, at {clock(at, true)}</th><th scope="col" class="number">Value</th></tr></thead>
        <tbody>{rows.slice(0, 1000).map((row) => <tr key={seriesName(row.metric)}><td class="series-name mono">{seriesName(row.metric)}</td><td class="number mono" title={row.value?.[1]}>{row.value ? told(row.value[1], unitOf(query)) : row.values?.map(([, value]) => value).join(' ')}{histogramsOf(row).map(([at, histogram]) => <HistogramCell key={at} histogram={histogram} />)}</td></tr>)}</tbody>
      </table>
      {rows.length > 1000 && <p class="warn pad">{count(rows.length)} rows; the first 1,000 are shown.</p>}
    </div>
  );
}

/** At an instant one; of a range of samples the newest ten. */
function histogramsOf(row: Series): [number, Histogram][] {
  return row.histogram ? [row.histogram] : (row.histograms ?? []).slice(-10);
}

/** A value in its unit; a number without one, or none at all, as the server wrote it. */
function told(text: string, unit: Unit): string {
  const value = sample(text);
  return value === null || unit === 'none' ? text : inUnit(value, unit);
}

/** Any kind of result as series: a scalar is a series without labels. */
function seriesOf(data: PromData | undefined): Series[] {
  if (!data) return [];
  if (data.resultType === 'scalar' || data.resultType === 'string') return [{ metric: {}, value: data.result as [number, string] }];
  return data.result as Series[];
}

function Names({ onPick }: { onPick: (query: string) => void }) {
  const asked = useAsk('names', (signal) => api.metricNames(signal));
  const [filter, setFilter] = useState('');
  const names = (asked.data ?? []).filter((name) => name.includes(filter));
  if (asked.error) return <ErrorNote error={asked.error} />;
  return (
    <div>
      <div class="bar"><h2>Metrics that weir has</h2><input type="search" class="filter" aria-label="Filter metric names" placeholder="Filter names" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} /><span class="muted" role="status">{asked.data ? count(names.length) : 'Asking …'}</span></div>
      <div class="names">{names.slice(0, 500).map((name) => <button type="button" class="link mono" key={name} onClick={() => onPick(name)}>{name}</button>)}</div>
      {asked.data?.length === 0 && <Empty title="No metric has been stored yet">Containers are sampled at the configuration’s <code>[collector.sample] interval</code>, Prometheus targets as its <code>scrape_configs</code> say.</Empty>}
    </div>
  );
}
