// One line by its permanent link, among its neighbours: those of its whole container, or of its own stream alone.
import { useMemo } from 'preact/hooks';
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { nanos } from '../core/format';
import { quote } from '../core/logql';
import { params, setParams, to } from '../core/route';
import { SECOND } from '../core/time';
import type { Line, LogsAnswer } from '../core/types';
import { LineList } from '../logs/list';
import { join, readOrder } from '../logs/order';
import { CoverageNote, ErrorNote } from '../parts/notes';
import { OrderPicker } from '../parts/order';

const CONTEXT_MAX = 500;
/** Neighbours further away than this are no context. */
const AWAY = 6n * 3600n * SECOND;

export function LinePage({ id }: { id: string }) {
  const context = Math.min(CONTEXT_MAX, Math.max(0, Number(params.value.get('context') ?? '10') || 0));
  const wrap = params.value.get('wrap') === '1';
  const alone = params.value.get('streams') === 'one';
  const order = readOrder(params.value, 'oldest');
  const asked = useAsk(`${id} ${context} ${alone}`, (signal) => (alone ? api.line(id, context, signal) : around(id, context, signal)));
  const line = asked.data?.lines.find((one) => one.id === id);
  const lines = useMemo(() => join([], asked.data?.lines ?? [], 2 * CONTEXT_MAX + 1, order), [asked.data, order]);
  const stream = line?.stream['stream'];
  return (
    <section class="fill">
      <div class="bar">
        <h1>Line <code>{id}</code></h1>
        <OrderPicker preferred="oldest" />
        <div class="toggles">
          <button type="button" disabled={context >= CONTEXT_MAX} onClick={() => setParams({ context: String(context * 2 || 10) })}>More context</button>
          {stream && <button type="button" aria-pressed={alone} onClick={() => setParams({ streams: alone ? undefined : 'one' })}>Only {stream}</button>}
          <button type="button" aria-pressed={wrap} onClick={() => setParams({ wrap: wrap ? undefined : '1' }, 'replace')}>Wrap</button>
          {line && <a class="button" href={to('/logs', { q: selector(alone ? line.stream : containerOf(line)) })}>Search {alone || !stream ? 'this stream' : 'this container'}</a>}
        </div>
      </div>
      <ErrorNote error={asked.error} />
      <CoverageNote coverage={asked.data?.coverage} />
      {lines.length > 0 && <LineList key={`${context} ${order} ${alone}`} lines={lines} order={order} wanted={[]} wrap={wrap} day marked={id} label={`The line and its neighbours, ${order} first`} />}
    </section>
  );
}

/** The line and its neighbours in all streams of its container: stderr beside stdout, as they were written. */
async function around(id: string, context: number, signal: AbortSignal): Promise<LogsAnswer> {
  const alone = await api.line(id, 0, signal);
  const line = alone.lines.find((one) => one.id === id);
  if (!line || context === 0) return alone;
  const [query, at, limit] = [selector(containerOf(line)), nanos(line.t), context + 1];
  const [before, after] = await Promise.all([
    api.logs({ query, start: String(at - AWAY), end: String(at + 1n), limit, direction: 'backward' }, signal),
    api.logs({ query, start: String(at), end: String(at + AWAY), limit, direction: 'forward' }, signal),
  ]);
  const lines = join([line], [...before.lines, ...after.lines], Infinity, 'oldest');
  const place = lines.findIndex((one) => one.id === id);
  return { lines: lines.slice(Math.max(0, place - context), place + context + 1), coverage: before.coverage.complete ? after.coverage : before.coverage };
}

/** The labels of a line's stream that are its container's: all but the name of the stream. */
function containerOf(line: Line): Record<string, string> {
  return Object.fromEntries(Object.entries(line.stream).filter(([name]) => name !== 'stream'));
}

function selector(labels: Record<string, string>): string {
  return `{${Object.entries(labels).map(([name, value]) => `${name}=${quote(value)}`).join(', ')}}`;
}
