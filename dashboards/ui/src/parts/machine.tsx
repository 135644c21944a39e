// What runs beside the containers: each node as a whole, and systemd's units and other cgroups.
import { bytes, cores } from '../core/format';
import { quote } from '../core/logql';
import { to } from '../core/route';
import type { Cgroup, Node } from '../core/types';
import { sorted, type Column } from './sort';
import { Meter } from './spark';

const ORDER: Column<Cgroup>[] = [{ key: 'cpu', title: 'CPU', by: (row) => row.cpu_cores ?? -1, number: true }];

export function matchesCgroup(row: Cgroup, filter: string): boolean {
  const text = `${row.id} ${row.name} ${row.kind} ${row.node}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** Nodes first, then cgroups by their CPU. `open` when there is nothing else to look at. */
export function Machine({ nodes, cgroups, filter, open }: { nodes: Node[]; cgroups: Cgroup[]; filter: string; open: boolean }) {
  const units = sorted(cgroups.filter((row) => matchesCgroup(row, filter)), ORDER, '-cpu');
  if (nodes.length === 0 && units.length === 0) return null;
  return (
    <details class="machine" open={open}>
      <summary>{nodes.length === 1 ? 'This node' : `${nodes.length} nodes`}, services and other cgroups ({units.length})</summary>
      <div class="table-box" tabIndex={0} role="region" aria-label="Nodes, services and other cgroups">
        <table class="containers">
          <thead><tr><th scope="col">Name</th><th scope="col" class="number">CPU cores</th><th scope="col" class="number">Memory</th><th scope="col" class="number">Pids</th><th scope="col">Look at</th></tr></thead>
          <tbody>
            {nodes.map((row) => <NodeRow key={row.node} row={row} />)}
            {units.map((row) => <CgroupRow key={`${row.node}${row.id}`} row={row} />)}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function NodeRow({ row }: { row: Node }) {
  const metrics = to('/graph', { q: `sum by (mode) (rate(node_cpu_seconds_total{node=${quote(row.node)}}[1m]))`, from: 'now-15m' });
  return (
    <tr>
      <th scope="row"><span class="name">{row.node}</span><span class="sub">node{row.load1 === null ? '' : ` · load ${row.load1.toFixed(2)}`}</span></th>
      <td class="number">{cores(row.cpu_cores)}<span class="sub">{row.cores === null ? '' : `of ${row.cores}`}</span></td>
      <td class="number">{bytes(row.memory_bytes)}<span class="sub">{row.memory_total_bytes === null ? '' : `of ${bytes(row.memory_total_bytes)}`}</span><Meter value={row.memory_bytes} limit={row.memory_total_bytes} what="memory" /></td>
      <td class="number">–</td>
      <td class="links"><a href={metrics} aria-label={`Metrics of ${row.node}`}>metrics</a></td>
    </tr>
  );
}

function CgroupRow({ row }: { row: Cgroup }) {
  const metrics = to('/graph', { q: `rate(container_cpu_usage_seconds_total{id=${quote(row.id)}}[1m])`, from: 'now-15m' });
  return (
    <tr>
      <th scope="row"><span class="name" title={row.id}>{row.name}</span><span class="sub">{[row.kind, row.node].filter(Boolean).join(' · ')}</span></th>
      <td class="number">{cores(row.cpu_cores)}</td>
      <td class="number">{bytes(row.memory_bytes)}<span class="sub">{row.memory_limit_bytes ? `of ${bytes(row.memory_limit_bytes)}` : ''}</span></td>
      <td class="number">{row.pids ?? '–'}</td>
      <td class="links"><a href={metrics} aria-label={`Metrics of ${row.name}`}>metrics</a></td>
    </tr>
  );
}
