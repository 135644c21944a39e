// The shapes of docs/api.md, as they arrive. Times are Unix nanoseconds in decimal strings.

export interface PartitionCoverage {
  topic: string;
  partition: number;
  on_bus: number;
  searchable: number;
  sealed: number;
  losses: [number, number][];
}

export interface Coverage {
  complete: boolean;
  partitions: PartitionCoverage[];
  missing: string[];
  /** When the server was asked, by its own clock; the page's api sets it. 0 when the answer carried no date. */
  at: bigint;
}

export interface Container {
  id: string;
  name: string;
  node: string;
  namespace: string;
  pod: string;
  image: string;
  runtime: string;
  state: string;
  started: string;
  restarts: number;
  labels: Record<string, string>;
  cpu_cores: number | null;
  cpu_limit_cores: number | null;
  memory_bytes: number | null;
  memory_limit_bytes: number | null;
  throttled_ratio: number | null;
  oom_kills: number | null;
  pids: number | null;
  cpu_history: [number, number][];
  memory_history: [number, number][];
  /** How its last run ended: null when no run has, or nobody knows the code. */
  exit_code: number | null;
  /** The signal that ended it, SIGKILL; else empty. */
  signal: string;
  oom_killed: boolean;
  /** When the last run ended; empty when none has. */
  finished: string;
  /** Runs that ended within the time that is looked back. */
  runs_ended: number;
}

/** Something that weir cannot write now, in its own words. */
export interface Outage {
  /** bus, object_store, collector_files. */
  what: string;
  text: string;
}

/** Records, and their bytes as they came. */
export interface Amount {
  bytes: number;
  records: number;
}

/** What a tenant has sent and asked over a time. What the caller may not read is not there. */
export interface TenantUsage {
  tenant: string;
  ingested: Partial<Record<'logs' | 'metrics' | 'traces', Amount>>;
  /** In blocks now; bytes as they lie there. */
  stored: Partial<Record<'logs' | 'metrics' | 'traces', Amount>>;
  /** At the end of the time. */
  active: { streams?: number; series?: number };
  queries?: { count: number; seconds: number; records: number; read_bytes: number };
}

export interface Usage {
  /** Both ends. */
  start: string;
  end: string;
  tenants: TenantUsage[];
  coverage: Coverage;
}

/** The same with its figures. */
export interface OutageStatus extends Outage {
  reason: string;
  since: string;
  refused: number;
  /** New records are not stored while it lasts. */
  blocking: boolean;
}

/** A machine; null is not sampled. */
export interface Node {
  node: string;
  cores: number | null;
  cpu_cores: number | null;
  memory_bytes: number | null;
  memory_total_bytes: number | null;
  load1: number | null;
}

/** A cgroup that is no container: a systemd service, scope or slice, or another one. */
export interface Cgroup {
  id: string;
  name: string;
  kind: string;
  node: string;
  cpu_cores: number | null;
  memory_bytes: number | null;
  memory_limit_bytes: number | null;
  pids: number | null;
}

export interface Line {
  id: string;
  t: string;
  stream: Record<string, string>;
  line: string;
  level: string;
  trace_id: string;
  span_id: string;
  attributes: Record<string, string>;
  labels: Record<string, string>;
}

export interface LogsAnswer {
  lines: Line[];
  coverage: Coverage;
  stats?: { lines_scanned: number; took_ms: number };
}

/** A line of a trace, and where it belongs on the clock of the trace's root. */
export interface PlacedLine extends Line {
  at: string;
  /** By what it was placed: `time` when nothing said more. */
  placed: 'span' | 'clock' | 'stream' | 'time';
  moved_by_clock: string;
  moved_by_span: string;
  moved_by_stream: string;
}

/** What has to be added to a clock's times for those of the trace's root, and from how many calls that is known. */
export interface NodeClock {
  clock: string;
  offset: string;
  calls: number;
}

export interface TraceLogsAnswer {
  /** In the order of their places. */
  lines: PlacedLine[];
  order: 'causal' | 'mixed' | 'time';
  moved: number;
  clocks: NodeClock[];
  /** Why the spans were not read; else empty. */
  spans_refused: string;
  /** The trace has more lines than were asked for. */
  more: boolean;
  coverage: Coverage;
}

export interface VolumeBucket {
  t: string;
  level: string;
  lines: number;
  bytes: number;
}

export interface VolumeAnswer {
  buckets: VolumeBucket[];
  step: string;
  coverage: Coverage;
}

export interface SpanEvent {
  t: string;
  name: string;
  attributes: Record<string, unknown>;
}

export interface Span {
  id: string;
  parent_id: string;
  service: string;
  name: string;
  kind: string;
  start: string;
  duration: string;
  status: string;
  status_message: string;
  attributes: Record<string, unknown>;
  resource: Record<string, unknown>;
  scope: string;
  events: SpanEvent[];
  links: { trace_id: string; span_id: string; attributes: Record<string, unknown> }[];
  orphan: boolean;
}

export interface Trace {
  id: string;
  state: string;
  revision: number;
  spans: Span[];
}

export interface TraceSummary {
  id: string;
  root_service: string;
  root_name: string;
  has_root: boolean;
  start: string;
  duration: string;
  spans: number;
  errors: number;
  matched: number;
}

export interface PartitionStatus {
  topic: string;
  partition: number;
  owner: string;
  epoch: number;
  answers: boolean;
  on_bus: number;
  searchable: number;
  sealed: number;
  lag: number;
  head_bytes: number;
  head_records: number;
  blocks: number;
  block_bytes: number;
  /** Of blocks in which samples are downsampled, by seconds of the resolution; absent where there are none. */
  downsampled_bytes?: Record<string, number>;
  duplicates: number;
  gaps: number;
  quarantined: number;
  losses: [number, number][];
}

export interface Queue {
  queued_bytes: number | null;
  queue_bytes_max: number | null;
  unacknowledged_seconds: number | null;
}

export interface CollectorStatus {
  node: string;
  version: string;
  /** When it was last heard of. */
  seen: string;
  silent: boolean;
  /** By topic. */
  queues: Record<string, Queue>;
}

/** The whole path, from the collectors to the blocks. */
export interface Path {
  version: string;
  started: string;
  outages: OutageStatus[];
  collectors: CollectorStatus[];
  owners: { owner: string; answers: boolean; partitions: number; lag: number; head_bytes: number }[];
  partitions: PartitionStatus[];
  coverage: Coverage;
}

/** How far a receiver of remote write is. */
export interface ReceiverStatus {
  name: string;
  /** Records of the bus that are not sent yet. */
  pending_records: number;
  /** Of its queue on disk. */
  pending_bytes: number;
  /** 0 where nothing waits; null where it has taken nothing since the start. */
  lag_seconds: number | null;
  last_error: { time: string; text: string } | null;
}

/** Of the process that is asked. */
export interface Status {
  remote_write: ReceiverStatus[];
}

/** A series of a Prometheus answer. `value` for instants, `values` for ranges. */
export interface Series {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
  histogram?: [number, Histogram];
  histograms?: [number, Histogram][];
}

/** A native histogram; buckets without observations are left out. */
export interface Histogram {
  count: string;
  sum: string;
  buckets?: Bucket[];
}

/** Which bounds belong to it (0 the upper, 1 the lower, 2 none, 3 both), lower and upper bound, observations. */
export type Bucket = [number, string, string, string];

export interface PromData {
  resultType: 'matrix' | 'vector' | 'scalar' | 'string';
  result: Series[] | [number, string];
}

export interface Alert {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  state: string;
  activeAt?: string;
  value: string;
}

export interface Rule {
  name: string;
  query: string;
  type: string;
  state?: string;
  health: string;
  lastError?: string;
  duration?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  alerts?: Alert[];
  lastEvaluation?: string;
  keepFiringFor?: number;
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
}
