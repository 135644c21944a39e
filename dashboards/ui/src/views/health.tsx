// The path of every record: who collects, what waits, who owns each partition and how far it is behind, what is sealed, what is
// lost; and how far the receivers of remote write are, of the process that answers. Asks again every 2 seconds.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { ago, bytes, count, counted, nanos } from '../core/format';
import { params } from '../core/route';
import type { CollectorStatus, PartitionStatus, Path } from '../core/types';
import { Empty, ErrorNote } from '../parts/notes';
import { Receivers } from '../parts/receivers';
import { Heading, sorted, type Column } from '../parts/sort';

/** Losses are `[first, next)`. */
const lost = (row: PartitionStatus) => row.losses.reduce((sum, [from, to]) => sum + to - from, 0);

const COLUMNS: Column<PartitionStatus>[] = [
  { key: 'topic', title: 'Topic', by: (row) => `${row.topic} ${String(row.partition).padStart(6, '0')}` },
  { key: 'partition', title: 'Partition', by: (row) => row.partition, number: true },
  { key: 'owner', title: 'Owner', by: (row) => row.owner, hint: 'who has what is not on disk yet, and under which epoch' },
  { key: 'on_bus', title: 'Ingested', by: (row) => row.on_bus, number: true, hint: 'messages that the bus has acknowledged; each carries many lines, samples or spans' },
  { key: 'searchable', title: 'Searchable', by: (row) => row.searchable, number: true, hint: 'messages that queries see' },
  { key: 'lag', title: 'Lag', by: (row) => row.lag, number: true, hint: 'messages ingested and not searchable yet' },
  { key: 'sealed', title: 'On disk', by: (row) => row.sealed, number: true, hint: 'messages in durable blocks' },
  { key: 'head', title: 'In memory', by: (row) => row.head_bytes, number: true, hint: 'what is searchable and not on disk yet; records are lines, samples and spans' },
  { key: 'blocks', title: 'Blocks', by: (row) => row.block_bytes, number: true },
  { key: 'duplicates', title: 'Duplicates', by: (row) => row.duplicates, number: true, hint: 'records sent twice and kept once' },
  { key: 'gaps', title: 'Gaps', by: (row) => row.gaps, number: true },
  { key: 'quarantined', title: 'Quarantined', by: (row) => row.quarantined, number: true },
  { key: 'losses', title: 'Lost', by: lost, number: true, hint: 'declared losses, in offsets' },
];

export function Health() {
  const asked = useAsk('path', (signal) => api.path(signal), 2000);
  const own = useAsk('status', (signal) => api.status(signal), 2000);
  const status = asked.data;
  const receivers = own.data?.remote_write ?? [];
  const rows = sorted(status?.partitions ?? [], COLUMNS, params.value.get('sort') ?? 'topic');
  const sum = (of: (row: PartitionStatus) => number) => rows.reduce((total, row) => total + of(row), 0);
  return (
    <section>
      <div class="bar">
        <h1>Health of the path</h1>
        {status && <span class="muted">weir {status.version}, up {ago(nanos(status.started), status.coverage.at)}</span>}
      </div>
      <ErrorNote error={asked.error ?? own.error} />
      {status && (
        <p class={`coverage ${sum(lost) + sum((row) => row.quarantined) === 0 ? 'whole' : 'partial'}`}>
          <span class="dot" aria-hidden="true" />
          <span>{counted(sum((row) => row.on_bus), 'message')} ingested, lag {count(sum((row) => row.lag))}, {count(sum(lost))} declared lost, {counted(sum((row) => row.quarantined), 'record')} quarantined; {bytes(sum((row) => row.head_bytes))} in memory, {bytes(sum((row) => row.block_bytes))} on disk in {counted(sum((row) => row.blocks), 'block')}</span>
        </p>
      )}
      {status && <Silences path={status} />}
      {status && status.collectors.length > 0 && <Collectors collectors={status.collectors} now={status.coverage.at} />}
      {status && receivers.length > 0 && <Receivers receivers={receivers} now={status.coverage.at} />}
      {rows.length > 0 && (
        <div class="table-box" tabIndex={0} role="region" aria-label="Partitions">
          <table>
            <thead><tr>{COLUMNS.map((column) => <Heading key={column.key} column={column} sort={params.value.get('sort') ?? 'topic'} />)}</tr></thead>
            <tbody>{rows.map((row) => <PartitionRow key={`${row.topic}${row.partition}`} row={row} />)}</tbody>
          </table>
        </div>
      )}
      {status && rows.length === 0 && <Empty title="No partition has an owner yet">An aggregator takes them as soon as it runs.</Empty>}
    </section>
  );
}

/** What is missing right now: writes that are refused, owners that do not answer, collectors that have gone silent, blocks that cannot be read. */
function Silences({ path }: { path: Path }) {
  const missing = [
    ...path.outages.map((one) => `${one.text} (${counted(one.refused, 'write')} refused)`),
    ...path.owners.filter((one) => !one.answers).map((one) => `${one.owner} does not answer: what it has in memory of ${counted(one.partitions, 'partition')} is not seen`),
    ...path.collectors.filter((one) => one.silent).map((one) => `the collector of ${one.node} has been silent for ${ago(nanos(one.seen), path.coverage.at)}`),
    ...(path.coverage.missing ?? []),
  ];
  if (missing.length === 0) return null;
  return (
    <ul class="coverage partial" aria-label="Missing now">
      {missing.map((text) => <li key={text}>{text}</li>)}
    </ul>
  );
}

function Collectors({ collectors, now }: { collectors: CollectorStatus[]; now: bigint }) {
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Collectors">
      <table>
        <thead><tr><th scope="col">Collector</th><th scope="col">Seen</th><th scope="col" class="number" title="bytes that wait for the bus">Waiting</th><th scope="col" class="number" title="of what may wait before sources have to">Full</th><th scope="col" class="number" title="the longest wait for an acknowledgement now">Unacknowledged</th></tr></thead>
        <tbody>{collectors.map((one) => <CollectorRow key={one.node} one={one} now={now} />)}</tbody>
      </table>
    </div>
  );
}

function CollectorRow({ one, now }: { one: CollectorStatus; now: bigint }) {
  const queues = Object.values(one.queues);
  const waiting = queues.reduce((total, queue) => total + (queue.queued_bytes ?? 0), 0);
  const full = Math.max(0, ...queues.map((queue) => (queue.queued_bytes ?? 0) / (queue.queue_bytes_max || Infinity)));
  const seconds = Math.max(0, ...queues.map((queue) => queue.unacknowledged_seconds ?? 0));
  return (
    <tr>
      <th scope="row">{one.node}<span class="sub">{one.version}</span></th>
      <td class={one.silent ? 'bad' : ''}>{ago(nanos(one.seen), now)} ago</td>
      <td class="number">{bytes(waiting)}</td>
      <td class={`number ${full > 0.5 ? 'warn' : ''}`}>{Math.round(full * 100)}%</td>
      <td class={`number ${seconds > 5 ? 'warn' : ''}`}>{seconds.toFixed(1)} s</td>
    </tr>
  );
}

/** How much of it has samples of which only aggregates are left. */
function downsampled(row: PartitionStatus): string {
  const of = ([seconds, size]: [string, number]) => `, ${bytes(size)} of ${Number(seconds) % 3600 ? `${Number(seconds) / 60}m` : `${Number(seconds) / 3600}h`}`;
  return Object.entries(row.downsampled_bytes ?? {}).map(of).join('');
}

function PartitionRow({ row }: { row: PartitionStatus }) {
  return (
    <tr>
      <th scope="row">{row.topic}</th>
      <td class="number">{row.partition}</td>
      <td class={row.answers ? '' : 'bad'} title={row.answers ? 'it answers' : 'it does not answer'}>{row.owner.replace(/^https?:\/\//, '')}<span class="sub">epoch {row.epoch}{row.answers ? '' : ', silent'}</span></td>
      <td class="number">{count(row.on_bus)}</td>
      <td class="number">{count(row.searchable)}</td>
      <td class={`number ${row.lag > 1000 ? 'warn' : ''}`}>{count(row.lag)}</td>
      <td class="number">{count(row.sealed)}</td>
      <td class="number">{bytes(row.head_bytes)}<span class="sub">{counted(row.head_records, 'record')}</span></td>
      <td class="number">{bytes(row.block_bytes)}<span class="sub">{counted(row.blocks, 'block')}{downsampled(row)}</span></td>
      <td class="number">{count(row.duplicates)}</td>
      <td class={`number ${row.gaps > 0 ? 'warn' : ''}`}>{count(row.gaps)}</td>
      <td class={`number ${row.quarantined > 0 ? 'bad' : ''}`}>{count(row.quarantined)}</td>
      <td class={`number ${lost(row) > 0 ? 'bad' : ''}`} title={row.losses.map(([from, to]) => `${from}–${to}`).join(', ')}>{count(lost(row))}</td>
    </tr>
  );
}
