// The path of every record: how far each partition is behind, what is sealed, what is lost. Asks again every 2 seconds.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, bytes, count, nanos } from '../core/format';
import { params } from '../core/route';
import { nowNanos } from '../core/time';
import type { PathStatus } from '../core/types';
import { Empty, ErrorNote } from '../parts/notes';
import { Heading, sorted, type Column } from '../parts/sort';

const lost = (row: PathStatus) => row.losses.reduce((sum, [from, to]) => sum + to - from + 1, 0);

const COLUMNS: Column<PathStatus>[] = [
  { key: 'topic', title: 'Topic', by: (row) => `${row.topic} ${String(row.partition).padStart(6, '0')}` },
  { key: 'partition', title: 'Partition', by: (row) => row.partition, number: true },
  { key: 'on_bus', title: 'On the bus', by: (row) => row.on_bus, number: true, hint: 'records acknowledged' },
  { key: 'searchable', title: 'Searchable', by: (row) => row.searchable, number: true, hint: 'records that queries see' },
  { key: 'lag', title: 'Behind', by: (row) => row.lag, number: true },
  { key: 'sealed', title: 'Sealed', by: (row) => row.sealed, number: true, hint: 'records in durable blocks' },
  { key: 'head', title: 'Head', by: (row) => row.head_bytes, number: true, hint: 'memory of what is not sealed yet' },
  { key: 'blocks', title: 'Blocks', by: (row) => row.block_bytes, number: true },
  { key: 'duplicates', title: 'Duplicates', by: (row) => row.duplicates, number: true, hint: 'records sent twice and kept once' },
  { key: 'gaps', title: 'Gaps', by: (row) => row.gaps, number: true },
  { key: 'quarantined', title: 'Quarantined', by: (row) => row.quarantined, number: true },
  { key: 'losses', title: 'Lost', by: lost, number: true, hint: 'declared losses, in offsets' },
];

export function Health() {
  const asked = useAsk('status', (signal) => api.status(signal), 2000);
  const status = asked.data;
  const rows = sorted(status?.path ?? [], COLUMNS, params.value.get('sort') ?? 'topic');
  const sum = (of: (row: PathStatus) => number) => rows.reduce((total, row) => total + of(row), 0);
  return (
    <section>
      <div class="bar">
        <h1>Health of the path</h1>
        {status && <span class="muted">weir {status.version}, up {ago(nanos(status.started), nowNanos())}</span>}
      </div>
      <ErrorNote error={asked.error} />
      {status && (
        <p class={`coverage ${sum(lost) + sum((row) => row.quarantined) === 0 ? 'whole' : 'partial'}`}>
          <span class="dot" aria-hidden="true" />
          <span>{count(sum((row) => row.on_bus))} records acknowledged, {count(sum((row) => row.lag))} not searchable yet, {count(sum(lost))} declared lost, {count(sum((row) => row.quarantined))} quarantined; {bytes(sum((row) => row.block_bytes))} in {count(sum((row) => row.blocks))} blocks</span>
        </p>
      )}
      {rows.length > 0 && (
        <div class="table-box" tabIndex={0} role="region" aria-label="Partitions">
          <table>
            <thead><tr>{COLUMNS.map((column) => <Heading key={column.key} column={column} sort={params.value.get('sort') ?? 'topic'} />)}</tr></thead>
            <tbody>{rows.map((row) => <PartitionRow key={`${row.topic}${row.partition}`} row={row} />)}</tbody>
          </table>
        </div>
      )}
      {status && rows.length === 0 && <Empty title="No partition is owned here">This weir runs without the aggregator’s role.</Empty>}
    </section>
  );
}

function PartitionRow({ row }: { row: PathStatus }) {
  return (
    <tr>
      <th scope="row">{row.topic}</th>
      <td class="number">{row.partition}</td>
      <td class="number">{count(row.on_bus)}</td>
      <td class="number">{count(row.searchable)}</td>
      <td class={`number ${row.lag > 1000 ? 'warn' : ''}`}>{count(row.lag)}</td>
      <td class="number">{count(row.sealed)}</td>
      <td class="number">{bytes(row.head_bytes)}<span class="sub">{count(row.head_records)} records</span></td>
      <td class="number">{bytes(row.block_bytes)}<span class="sub">{count(row.blocks)} blocks</span></td>
      <td class="number">{count(row.duplicates)}</td>
      <td class={`number ${row.gaps > 0 ? 'warn' : ''}`}>{count(row.gaps)}</td>
      <td class={`number ${row.quarantined > 0 ? 'bad' : ''}`}>{count(row.quarantined)}</td>
      <td class={`number ${lost(row) > 0 ? 'bad' : ''}`} title={row.losses.map(([from, to]) => `${from}–${to}`).join(', ')}>{count(lost(row))}</td>
    </tr>
  );
}
