// What tenants have sent and asked over a time: a row each, and their sum. Asks again every minute, as often as processes tell.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { caller, tenant } from '../core/caller';
import { bytes, count, duration } from '../core/format';
import { params, setParams } from '../core/route';
import { nowNanos, resolveRange } from '../core/time';
import type { Amount, TenantUsage } from '../core/types';
import { CoverageNote, Empty, ErrorNote } from '../parts/notes';
import { RangePicker } from '../parts/range';
import { Heading, sorted, type Column } from '../parts/sort';

/** Processes tell at least every minute. */
const AGAIN_MS = 60_000;

const stored = ({ stored: { logs, metrics, traces } }: TenantUsage) =>
  [logs, metrics, traces].reduce((sum, amount) => sum + (amount?.bytes ?? 0), 0);

const COLUMNS: Column<TenantUsage>[] = [
  { key: 'tenant', title: 'Tenant', by: (row) => row.tenant },
  { key: 'logs', title: 'Logs', by: (row) => row.ingested.logs?.bytes ?? 0, number: true, hint: 'bytes as they came, lines, and streams that are active at the end' },
  { key: 'metrics', title: 'Metrics', by: (row) => row.ingested.metrics?.bytes ?? 0, number: true, hint: 'bytes as they came, samples, and series that are active at the end' },
  { key: 'traces', title: 'Traces', by: (row) => row.ingested.traces?.bytes ?? 0, number: true, hint: 'bytes as they came, and spans' },
  { key: 'stored', title: 'Stored', by: (row) => stored(row), number: true, hint: 'bytes in blocks now, as they lie there' },
  { key: 'queries', title: 'Queries', by: (row) => row.queries?.count ?? 0, number: true, hint: 'that ran, rules included; one of several tenants counts for each' },
  { key: 'time', title: 'Query time', by: (row) => row.queries?.seconds ?? 0, number: true, hint: 'while they ran, not while they waited' },
  { key: 'read', title: 'Read', by: (row) => row.queries?.read_bytes ?? 0, number: true, hint: 'bytes of blocks, and samples, lines and spans that were decoded' },
];

export function UsageView() {
  const [from, to] = [params.value.get('from') ?? 'now-24h', params.value.get('to') ?? 'now'];
  const [all, sort] = [params.value.get('all') === 'true', params.value.get('sort') ?? '-logs'];
  const range = () => {
    const resolved = resolveRange(from, to, nowNanos());
    if (typeof resolved === 'string') throw new Error(resolved);
    return resolved;
  };
  const asked = useAsk(`usage ${from} ${to} ${all} ${tenant.value}`, async (signal) => {
    const { start, end } = range();
    return api.usage(start, end, all, signal);
  }, AGAIN_MS);
  const rows = sorted(asked.data?.tenants ?? [], COLUMNS, sort);
  return (
    <section>
      <div class="bar">
        <h1>Usage</h1>
        <RangePicker from={from} to={to} />
        {caller.value?.admin && (
          <button type="button" aria-pressed={all} onClick={() => setParams({ all: all ? undefined : 'true' })}>All tenants</button>
        )}
      </div>
      <ErrorNote error={asked.error} />
      <CoverageNote coverage={asked.data?.coverage} />
      {!asked.data && !asked.error && <p class="muted pad" role="status">Asking …</p>}
      {rows.length > 0 && (
        <div class="table-box" tabIndex={0} role="region" aria-label="Usage by tenant">
          <table>
            <thead><tr>{COLUMNS.map((column) => <Heading key={column.key} column={column} sort={sort} />)}</tr></thead>
            <tbody>{rows.map((row) => <Row key={row.tenant} row={row} />)}</tbody>
          </table>
        </div>
      )}
      {asked.data && rows.length === 0 && <Empty title="Nothing was sent or asked in this time">weir stores what it has counted every minute.</Empty>}
    </section>
  );
}

function Row({ row }: { row: TenantUsage }) {
  const { logs, metrics, traces } = row.ingested;
  return (
    <tr>
      <th scope="row">{row.tenant === '*' ? 'all others' : row.tenant}</th>
      <Taken amount={logs} what="lines" active={row.active.streams} of="streams" />
      <Taken amount={metrics} what="samples" active={row.active.series} of="series" />
      <Taken amount={traces} what="spans" />
      <td class="number">
        {bytes(stored(row))}
        <span class="sub">
          {(['logs', 'metrics'] as const).filter((signal) => row.stored[signal])
            .map((signal) => `${bytes(row.stored[signal]!.bytes)} ${signal}`).join(', ')}
        </span>
      </td>
      {row.queries ? <Queries queries={row.queries} /> : <><Unread /><Unread /><Unread /></>}
    </tr>
  );
}

function Queries({ queries }: { queries: NonNullable<TenantUsage['queries']> }) {
  return (
    <>
      <td class="number">{count(queries.count)}</td>
      <td class="number">{duration(BigInt(Math.round(queries.seconds * 1e9)))}</td>
      <td class="number">{bytes(queries.read_bytes)}<span class="sub">{count(queries.records)} decoded</span></td>
    </>
  );
}

const Unread = () => <td class="number" title="you may not read it">–</td>;

function Taken({ amount, what, active, of }: { amount?: Amount; what: string; active?: number; of?: string }) {
  if (!amount) return <Unread />;
  const actives = active === undefined ? '' : `, ${count(active)} ${of}`;
  return <td class="number">{bytes(amount.bytes)}<span class="sub">{count(amount.records)} {what}{actives}</span></td>;
}
