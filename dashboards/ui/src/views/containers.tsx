// What runs now and what has ended lately: one row a container, with its use against its limits, or how it ended; below, the node and its
// services. Asks again every 2 seconds.
import { useState } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, bytes, clock, cores, count, counted, nanos, percent } from '../core/format';
import { quote } from '../core/logql';
import { go, params, setParams, to } from '../core/route';
import { isoNanos, SECOND } from '../core/time';
import type { Container } from '../core/types';
import { ending, fate, folded, isOver, LastLines } from '../parts/ended';
import { Machine } from '../parts/machine';
import { CoverageNote, Empty, ErrorNote } from '../parts/notes';
import { useInView, useSelection } from '../parts/selection';
import { Heading, sorted, type Column } from '../parts/sort';
import { Meter, Spark } from '../parts/spark';

const EVERY_MS = 2000;

const COLUMNS: Column<Container>[] = [
  { key: 'name', title: 'Container', by: (row) => title(row) },
  { key: 'pod', title: 'Pod', by: (row) => `${row.namespace}/${row.pod}` },
  { key: 'image', title: 'Image', by: (row) => row.image },
  { key: 'cpu', title: 'CPU cores', by: (row) => figure(row, row.cpu_cores), number: true, hint: 'with the last five minutes, against its limit' },
  { key: 'memory', title: 'Memory', by: (row) => figure(row, row.memory_bytes), number: true, hint: 'working set, against its limit' },
  { key: 'throttled', title: 'Throttled', by: (row) => figure(row, row.throttled_ratio), number: true, hint: 'share of CPU periods in which it was held back' },
  { key: 'restarts', title: 'Restarts', by: (row) => row.restarts, number: true },
  { key: 'oom', title: 'OOM kills', by: (row) => row.oom_kills ?? -1, number: true },
  { key: 'pids', title: 'Pids', by: (row) => figure(row, row.pids), number: true },
  { key: 'state', title: 'State', by: (row) => (isOver(row) ? fate(row).word : row.state), hint: 'and how the last run ended' },
];

/** What a container that is over uses is less than nothing: it stands behind those that run. */
function figure(row: Container, value: number | null): number {
  return isOver(row) ? -2 : value ?? -1;
}

/** What a container is called: its name, else the end of its path, else its id. */
export function title(row: Container): string {
  return row.name || row.id.split('/').filter(Boolean).pop() || row.id || '/';
}

const keyOf = (row: Container) => `${row.node}/${row.id}`;

export function matches(row: Container, filter: string): boolean {
  const text = [row.id, row.name, row.namespace, row.pod, row.image, row.node, row.state, row.runtime, row.signal, row.oom_killed ? 'oom' : '', row.finished && row.exit_code !== null ? `exit ${row.exit_code}` : '', ...Object.entries(row.labels).map(([name, value]) => `${name}=${value}`)].join(' ').toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

export function Containers() {
  const asked = useAsk('containers', (signal) => api.containers(signal), EVERY_MS);
  const filter = params.value.get('filter') ?? '';
  const sort = params.value.get('sort') ?? '-cpu';
  const all = asked.data?.containers ?? [];
  const showAll = params.value.get('ended') === 'all';
  const matching = all.filter((row) => matches(row, filter));
  const fold = showAll ? { rows: matching, earlier: new Map<Container, number>() } : folded(matching);
  const rows = sorted(fold.rows, COLUMNS, sort);
  const selected = useSelection({ count: rows.length, keyOf: (i) => keyOf(rows[i]!), open: (i) => go(logsOf(rows[i]!)) });
  useInView(selected);
  return (
    <section>
      <div class="bar">
        <h1>Containers</h1>
        <input
          type="search" data-search class="filter" aria-label="Filter containers" placeholder="Filter: name, pod, image, label=value …  ( / )"
          value={filter} onInput={(event) => setParams({ filter: event.currentTarget.value }, 'replace')}
        />
        <span class="muted" role="status">{asked.data ? `${matching.length === all.length ? '' : `${count(matching.length)} of `}${counted(all.length, 'container')}, ${count(matching.filter((row) => row.state === 'running').length)} running, ${count(matching.filter(isOver).length)} ended` : 'Asking …'}</span>
        {showAll && <button type="button" class="link" onClick={() => setParams({ ended: undefined })}>Fold earlier ones</button>}
      </div>
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage} />}
      {rows.length > 0 && <Table rows={rows} earlier={fold.earlier} sort={sort} selected={selected} now={asked.data?.coverage.at ?? 0n} />}
      {asked.data && rows.length === 0 && (
        all.length === 0
          ? <Empty title="No container has been seen">Start one: <code>weir run --name hello -- sh -c 'while :; do date; sleep 1; done'</code>{asked.data.nodes.length === 0 && <> This machine itself is not sampled either: weir was started with <code>--no-node</code>, or a moment ago.</>}</Empty>
          : <Empty title="Nothing matches the filter">{counted(all.length, 'container')} in all. <button type="button" class="link" onClick={() => setParams({ filter: undefined })}>Show all</button></Empty>
      )}
      {asked.data && asked.data.ended_more > 0 && <p class="muted">{counted(asked.data.ended_more, 'container')} that ended earlier {asked.data.ended_more === 1 ? 'is' : 'are'} not listed.</p>}
      {asked.data && <Machine nodes={asked.data.nodes} cgroups={asked.data.cgroups} filter={filter} open={all.length === 0} />}
    </section>
  );
}

function Table({ rows, earlier, sort, selected, now }: { rows: Container[]; earlier: Map<Container, number>; sort: string; selected: string; now: bigint }) {
  // Engines without pods or images do not get empty columns.
  const shown = COLUMNS.filter(({ key }) => (key !== 'pod' && key !== 'image') || rows.some((row) => row[key] !== ''));
  const keys = new Set(shown.map((column) => column.key));
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Containers">
      <table class="containers">
        <thead><tr>{shown.map((column) => <Heading key={column.key} column={column} sort={sort} />)}<th scope="col">Look at</th></tr></thead>
        <tbody>{rows.map((row) => <Row key={keyOf(row)} row={row} earlier={earlier.get(row) ?? 0} now={now} keys={keys} selected={keyOf(row) === selected} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ row, earlier, now, keys, selected }: { row: Container; earlier: number; now: bigint; keys: ReadonlySet<string>; selected: boolean }) {
  const [open, setOpen] = useState(false);
  const over = isOver(row);
  return (
    <>
      <tr data-selected={selected || undefined} class={over ? 'over' : undefined}>
        <th scope="row">
          <span class="name" title={row.id}>{title(row)}</span><span class="sub">{[row.runtime, row.node].filter(Boolean).join(' · ')}</span>
          {(over || (row.finished && row.exit_code !== 0)) && <span class="sub narrow">{over ? fate(row).word : 'before'}{row.finished && `: ${ending(row, now)}`}</span>}
          {earlier > 0 && <button type="button" class="link sub" onClick={() => setParams({ ended: 'all', filter: row.name })}>{counted(earlier, 'earlier one')} ended</button>}
        </th>
        {keys.has('pod') && <td class="pod" title={row.pod}>{row.pod || '–'}<span class="sub">{row.namespace}</span></td>}
        {keys.has('image') && <td class="image" title={row.image}>{row.image || '–'}</td>}
        {over ? <><td class="number">–</td><td class="number">–</td><td class="number">–</td></> : <Use row={row} />}
        <td class={`number ${row.restarts > 0 ? 'warn' : ''}`}>{row.restarts}</td>
        <td class={`number ${(row.oom_kills ?? 0) > 0 ? 'bad' : ''}`}>{row.oom_kills ?? '–'}</td>
        <td class="number">{over ? '–' : row.pids ?? '–'}</td>
        <td class="fate"><State row={row} now={now} /></td>
        <td class="links">
          <a href={logsOf(row)} aria-label={`Logs of ${title(row)}`}>logs</a> <a href={metricsOf(row)} aria-label={`Metrics of ${title(row)}`}>metrics</a>
          {row.finished && <button type="button" class="link" aria-expanded={open} aria-label={`Last lines of ${title(row)}`} onClick={() => setOpen(!open)}>last lines {open ? '▾' : '▸'}</button>}
        </td>
      </tr>
      {open && <tr class="details"><td colSpan={keys.size + 1}><LastLines id={row.id} of={title(row)} /></td></tr>}
    </>
  );
}

/** What one that runs uses. */
function Use({ row }: { row: Container }) {
  return (
    <>
      <td class="number"><div class="with-spark"><Spark points={row.cpu_history} top={row.cpu_limit_cores} /><span>{cores(row.cpu_cores)}<span class="sub">{row.cpu_limit_cores ? `of ${cores(row.cpu_limit_cores)}` : ''}</span></span></div></td>
      <td class="number"><div class="with-spark"><Spark points={row.memory_history} top={row.memory_limit_bytes} /><span>{bytes(row.memory_bytes)}<span class="sub">{row.memory_limit_bytes ? `of ${bytes(row.memory_limit_bytes)}` : ''}</span></span></div><Meter value={row.memory_bytes} limit={row.memory_limit_bytes} what="memory" /></td>
      <td class={`number ${(row.throttled_ratio ?? 0) > 0.25 ? 'bad' : (row.throttled_ratio ?? 0) > 0.05 ? 'warn' : ''}`}>{percent(row.throttled_ratio)}</td>
    </>
  );
}

/** How far it is and since when; of one that is over how it ended, of one that runs again how the run before did. */
function State({ row, now }: { row: Container; now: bigint }) {
  const end = ending(row, now);
  if (isOver(row)) {
    const { word, kind } = fate(row);
    return <><span class={`state ${kind}`} title={row.finished ? clock(nanos(row.finished), true) : undefined}>{word}</span><span class="sub">{end}</span></>;
  }
  const before = row.oom_killed ? 'OOM killed before' : 'before';
  return <><span class={`state ${row.state}`}>{row.state || '–'}</span><span class="sub">{ago(nanos(row.started), now)}</span>{end && <span class={`sub ${row.exit_code === 0 ? '' : 'bad'}`}>{before}: {end}</span>}</>;
}

/** The logs of one that is over: the time before its end, and a moment for lines that came late. */
const BEFORE = 900n * SECOND;
const AFTER = 60n * SECOND;

/** The logs of a container, by the most exact labels that are known. */
export function logsOf(row: Container): string {
  const selector = row.runtime && row.runtime !== 'cgroup' && row.id && !row.id.startsWith('/')
    ? `{container_id=${quote(row.id)}}`
    : row.pod ? `{pod=${quote(row.pod)}, container=${quote(row.name)}}` : `{container=${quote(title(row))}}`;
  if (!isOver(row) || !row.finished) return to('/logs', { q: selector });
  const at = nanos(row.finished);
  return to('/logs', { q: selector, from: isoNanos(at - BEFORE), to: isoNanos(at + AFTER) });
}

export function metricsOf(row: Container): string {
  const by = row.id.startsWith('/') ? `id=${quote(row.id)}` : `id=~${quote(`.*${row.id}.*`)}`;
  return to('/graph', { q: `rate(container_cpu_usage_seconds_total{${by}}[1m])`, from: 'now-15m' });
}
