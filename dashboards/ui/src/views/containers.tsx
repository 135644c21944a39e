// What runs now: one row a container, with its use against its limits; below, the node and its services. Asks again every 2 seconds.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, bytes, cores, count, counted, nanos, percent } from '../core/format';
import { quote } from '../core/logql';
import { go, params, setParams, to } from '../core/route';
import type { Container } from '../core/types';
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
  { key: 'cpu', title: 'CPU cores', by: (row) => row.cpu_cores ?? -1, number: true, hint: 'with the last five minutes, against its limit' },
  { key: 'memory', title: 'Memory', by: (row) => row.memory_bytes ?? -1, number: true, hint: 'working set, against its limit' },
  { key: 'throttled', title: 'Throttled', by: (row) => row.throttled_ratio ?? -1, number: true, hint: 'share of CPU periods in which it was held back' },
  { key: 'restarts', title: 'Restarts', by: (row) => row.restarts, number: true },
  { key: 'oom', title: 'OOM kills', by: (row) => row.oom_kills ?? -1, number: true },
  { key: 'pids', title: 'Pids', by: (row) => row.pids ?? -1, number: true },
  { key: 'state', title: 'State', by: (row) => row.state },
];

/** What a container is called: its name, else the end of its path, else its id. */
export function title(row: Container): string {
  return row.name || row.id.split('/').filter(Boolean).pop() || row.id || '/';
}

const keyOf = (row: Container) => `${row.node}/${row.id}`;

export function matches(row: Container, filter: string): boolean {
  const text = [row.id, row.name, row.namespace, row.pod, row.image, row.node, row.state, row.runtime, ...Object.entries(row.labels).map(([name, value]) => `${name}=${value}`)].join(' ').toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

export function Containers() {
  const asked = useAsk('containers', (signal) => api.containers(signal), EVERY_MS);
  const filter = params.value.get('filter') ?? '';
  const sort = params.value.get('sort') ?? '-cpu';
  const all = asked.data?.containers ?? [];
  const rows = sorted(all.filter((row) => matches(row, filter)), COLUMNS, sort);
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
        <span class="muted" role="status">{asked.data ? `${rows.length === all.length ? '' : `${count(rows.length)} of `}${counted(all.length, 'container')}, ${count(rows.filter((row) => row.state === 'running').length)} running` : 'Asking …'}</span>
      </div>
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage} />}
      {rows.length > 0 && <Table rows={rows} sort={sort} selected={selected} now={asked.data?.coverage.at ?? 0n} />}
      {asked.data && rows.length === 0 && (
        all.length === 0
          ? <Empty title="No container has been seen in the last two minutes">Start one: <code>weir run --name hello -- sh -c 'while :; do date; sleep 1; done'</code>{asked.data.nodes.length === 0 && <> This machine itself is not sampled either: weir was started with <code>--no-node</code>, or a moment ago.</>}</Empty>
          : <Empty title="Nothing matches the filter">{counted(all.length, 'container')} in all. <button type="button" class="link" onClick={() => setParams({ filter: undefined })}>Show all</button></Empty>
      )}
      {asked.data && <Machine nodes={asked.data.nodes} cgroups={asked.data.cgroups} filter={filter} open={all.length === 0} />}
    </section>
  );
}

function Table({ rows, sort, selected, now }: { rows: Container[]; sort: string; selected: string; now: bigint }) {
  // Engines without pods or images do not get empty columns.
  const shown = COLUMNS.filter(({ key }) => (key !== 'pod' && key !== 'image') || rows.some((row) => row[key] !== ''));
  const keys = new Set(shown.map((column) => column.key));
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Containers">
      <table class="containers">
        <thead><tr>{shown.map((column) => <Heading key={column.key} column={column} sort={sort} />)}<th scope="col">Look at</th></tr></thead>
        <tbody>{rows.map((row) => <Row key={keyOf(row)} row={row} now={now} keys={keys} selected={keyOf(row) === selected} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ row, now, keys, selected }: { row: Container; now: bigint; keys: ReadonlySet<string>; selected: boolean }) {
  return (
    <tr data-selected={selected || undefined}>
      <th scope="row"><span class="name" title={row.id}>{title(row)}</span><span class="sub">{[row.runtime, row.node].filter(Boolean).join(' · ')}</span></th>
      {keys.has('pod') && <td class="pod" title={row.pod}>{row.pod || '–'}<span class="sub">{row.namespace}</span></td>}
      {keys.has('image') && <td class="image" title={row.image}>{row.image || '–'}</td>}
      <td class="number"><div class="with-spark"><Spark points={row.cpu_history} top={row.cpu_limit_cores} /><span>{cores(row.cpu_cores)}<span class="sub">{row.cpu_limit_cores ? `of ${cores(row.cpu_limit_cores)}` : ''}</span></span></div></td>
      <td class="number"><div class="with-spark"><Spark points={row.memory_history} top={row.memory_limit_bytes} /><span>{bytes(row.memory_bytes)}<span class="sub">{row.memory_limit_bytes ? `of ${bytes(row.memory_limit_bytes)}` : ''}</span></span></div><Meter value={row.memory_bytes} limit={row.memory_limit_bytes} what="memory" /></td>
      <td class={`number ${(row.throttled_ratio ?? 0) > 0.25 ? 'bad' : (row.throttled_ratio ?? 0) > 0.05 ? 'warn' : ''}`}>{percent(row.throttled_ratio)}</td>
      <td class={`number ${row.restarts > 0 ? 'warn' : ''}`}>{row.restarts}</td>
      <td class={`number ${(row.oom_kills ?? 0) > 0 ? 'bad' : ''}`}>{row.oom_kills ?? '–'}</td>
      <td class="number">{row.pids ?? '–'}</td>
      <td><span class={`state ${row.state}`}>{row.state || '–'}</span><span class="sub">{ago(nanos(row.started), now)}</span></td>
      <td class="links"><a href={logsOf(row)} aria-label={`Logs of ${title(row)}`}>logs</a> <a href={metricsOf(row)} aria-label={`Metrics of ${title(row)}`}>metrics</a></td>
    </tr>
  );
}

/** The logs of a container, by the most exact labels that are known. */
export function logsOf(row: Container): string {
  const selector = row.runtime && row.runtime !== 'cgroup' && row.id && !row.id.startsWith('/')
    ? `{container_id=${quote(row.id)}}`
    : row.pod ? `{pod=${quote(row.pod)}, container=${quote(row.name)}}` : `{container=${quote(title(row))}}`;
  return to('/logs', { q: selector });
}

export function metricsOf(row: Container): string {
  const by = row.id.startsWith('/') ? `id=${quote(row.id)}` : `id=~${quote(`.*${row.id}.*`)}`;
  return to('/graph', { q: `rate(container_cpu_usage_seconds_total{${by}}[1m])`, from: 'now-15m' });
}
