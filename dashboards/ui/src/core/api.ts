// The page's only way to the server: docs/api.md under /api/weir/v1, and Prometheus under /api/v1. Errors say what and where.
import { signal } from '@preact/signals';
import { MS, nowNanos } from './time';
import type {
  Alert, Cgroup, Container, Coverage, Line, LogsAnswer, Node, Outage, Path, PromData, RuleGroup, Status, Trace, TraceLogsAnswer, TraceSummary,
  Usage, VolumeAnswer,
} from './types';

/** What went wrong, in the server's words; `status` 0 when no answer came. */
export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** Since when weir has not answered (by this browser's clock), and when it last did (by its own; 0: never). Undefined while it answers. */
export const silence = signal<{ since: bigint; last: bigint } | undefined>(undefined);
/** What weir cannot write now, as its latest answer says; empty while all is well. */
export const outages = signal<Outage[]>([]);

/** Whether the latest answer was that nobody is signed in. */
export const signedOut = signal(false);

/** Of a header of every answer. A list as it was is not set again: it is read out aloud when it changes. */
function heardOutages(answer: Response): void {
  try {
    const told = JSON.parse(answer.headers.get('x-weir-outage') ?? '[]') as Outage[];
    if (JSON.stringify(told) !== JSON.stringify(outages.value)) outages.value = told;
  } catch {
    // A proxy has mangled it: it says neither that something is wrong nor that nothing is.
  }
}

/** How often weir has come back: what failed for its silence is asked again when this grows. */
export const returns = signal(0);
let last = 0n;

function heard(at: bigint): void {
  if (at > 0n) last = at;
  if (!silence.value) return;
  silence.value = undefined;
  returns.value += 1;
}

/** What an answer has covered cannot be later than when it was asked for: the server's clock, less the time it took. */
function askedAt(answer: Response, took: number): bigint {
  const date = Date.parse(answer.headers.get('date') ?? '');
  return Number.isNaN(date) ? 0n : BigInt(Math.floor(date - took)) * MS;
}

/** The tenant that the address names. */
const namedTenant = () => new URLSearchParams(window.location.search).get('tenant');

type Query = Record<string, string | number | undefined>;

export async function get<T>(url: string, query: Query, signal?: AbortSignal): Promise<T> {
  const text = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') text.set(name, String(value));
  }
  const full = text.size > 0 ? `${url}?${text}` : url;
  const begun = performance.now();
  const silent = (cause: unknown): never => {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    silence.value ??= { since: nowNanos(), last };
    throw new ApiError('weir does not answer; it is asked again', 0);
  };
  const tenant = namedTenant();
  const headers = { accept: 'application/json', ...(tenant ? { 'x-scope-orgid': tenant } : {}) };
  const answer = await fetch(full, { headers, signal: signal ?? null }).catch(silent);
  const at = askedAt(answer, performance.now() - begun);
  const body = await answer.text().catch(silent);
  heard(at);
  heardOutages(answer);
  if (answer.status === 401) signedOut.value = true;
  if (!answer.ok) throw new ApiError(errorOf(body) || `${url} answered ${answer.status}`, answer.status);
  try {
    // A body that was kept (304) has the coverage and statistics of when it was sent; the headers have those of now.
    const told = { ...JSON.parse(body) as T & { coverage?: Coverage; stats?: unknown } };
    const [coverage, stats] = ['x-weir-coverage', 'x-weir-stats'].map((name) => answer.headers.get(name));
    if (told.coverage && coverage && !coverage.includes('"truncated":true')) told.coverage = JSON.parse(coverage) as Coverage;
    if (told.stats && stats) told.stats = JSON.parse(stats) as unknown;
    if (told.coverage) told.coverage.at = at;
    return told;
  } catch {
    throw new ApiError(`${url} answered something that is no JSON`, answer.status);
  }
}

function errorOf(body: string): string {
  try {
    const said = JSON.parse(body) as { error?: unknown };
    return typeof said.error === 'string' ? said.error : '';
  } catch {
    return body.length < 500 ? body.trim() : '';
  }
}

const own = '/api/weir/v1';

export const api = {
  containers: (signal?: AbortSignal) => get<{ containers: Container[]; ended_more: number; nodes: Node[]; cgroups: Cgroup[]; coverage: Coverage }>(`${own}/containers`, {}, signal),
  lastLines: (container: string, signal?: AbortSignal) => get<{ lines: Line[]; finished: string; coverage: Coverage }>(`${own}/containers/${encodeURIComponent(container)}/lines`, { limit: '10' }, signal),
  logs: (query: Query, signal?: AbortSignal) => get<LogsAnswer>(`${own}/logs`, query, signal),
  /** What a search, or the lines of a trace or span, are as LogQL. */
  logQuery: (query: { search?: string; trace?: string; span?: string }, signal?: AbortSignal) => get<{ query: string }>(`${own}/logs/query`, query, signal).then((answer) => answer.query),
  volume: (query: Query, signal?: AbortSignal) => get<VolumeAnswer>(`${own}/logs/volume`, query, signal),
  line: (id: string, context: number, signal?: AbortSignal) =>
    get<LogsAnswer>(`${own}/logs/line/${encodeURIComponent(id)}`, { context }, signal),
  trace: (id: string, signal?: AbortSignal) =>
    get<{ trace: Trace; coverage: Coverage }>(`${own}/traces/${encodeURIComponent(id)}`, {}, signal),
  traceLogs: (id: string, limit: number, signal?: AbortSignal) =>
    get<TraceLogsAnswer>(`${own}/traces/${encodeURIComponent(id)}/logs`, { limit }, signal),
  traces: (query: Query, signal?: AbortSignal) => get<{ traces: TraceSummary[]; coverage: Coverage }>(`${own}/traces`, query, signal),
  services: (signal?: AbortSignal) => get<{ services: string[] }>(`${own}/traces/services`, {}, signal),
  operations: (service: string, signal?: AbortSignal) =>
    get<{ operations: { name: string; kind: string }[] }>(`${own}/traces/operations`, { service }, signal),
  usage: (start: bigint, end: bigint, all: boolean, signal?: AbortSignal) =>
    get<Usage>(`${own}/usage`, { start: start.toString(), end: end.toString(), all: all ? 'true' : undefined }, signal),
  status: (signal?: AbortSignal) => get<Status>(`${own}/status`, {}, signal),
  path: (signal?: AbortSignal) => get<Path>(`${own}/path`, {}, signal),
  promRange: (query: Query, signal?: AbortSignal) => prom<PromData>('query_range', query, signal),
  promInstant: (query: Query, signal?: AbortSignal) => prom<PromData>('query', query, signal),
  metricNames: (signal?: AbortSignal) => prom<string[]>('label/__name__/values', {}, signal),
  labelNames: (signal?: AbortSignal) => prom<string[]>('labels', {}, signal),
  logLabelNames: (signal?: AbortSignal) => get<{ data?: string[] }>('/loki/api/v1/labels', {}, signal).then((answer) => answer.data ?? []),
  rules: (signal?: AbortSignal) => prom<{ groups: RuleGroup[] }>('rules', {}, signal),
  alerts: (signal?: AbortSignal) => prom<{ alerts: Alert[] }>('alerts', {}, signal),
};

async function prom<T>(call: string, query: Query, signal?: AbortSignal): Promise<T> {
  return (await get<{ data: T }>(`/api/v1/${call}`, query, signal)).data;
}

/** Where a live tail connects. A browser sends no header of ours with it, so the address names the tenant. */
export function tailUrl(query: string): string {
  const scheme = window.location.protocol === 'https:' ? 'wss' : 'ws';
  const tenant = namedTenant();
  return `${scheme}://${window.location.host}${own}/logs/tail?query=${encodeURIComponent(query)}${tenant ? `&tenant=${encodeURIComponent(tenant)}` : ''}`;
}
