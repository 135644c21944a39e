// Log search: query, range, histogram, list, live tail. Its whole state is in the address.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { api, returns, silence } from '../core/api';
import { useAsk } from '../core/ask';
import { count, counted, nanos } from '../core/format';
import { withLabelFilter } from '../core/logql';
import { params, setParams } from '../core/route';
import { isoNanos, nowNanos, resolveRange, roundStep, SECOND, stepText, type Range } from '../core/time';
import { Histogram } from '../logs/histogram';
import { levelTest, literals } from '../logs/lines';
import { LineList } from '../logs/list';
import { useTranslated, type Translated } from '../logs/query';
import { LINES_MAX, useSearch, type Search } from '../logs/search';
import { readLogs, type LogsState } from '../logs/state';
import { stack, type Stacks } from '../logs/volume';
import { CoverageNote, Empty, ErrorNote } from '../parts/notes';
import { OrderPicker } from '../parts/order';
import { QueryField } from '../parts/query';
import { RangePicker, rangeText } from '../parts/range';
import { Unknown } from '../parts/unknown';

const BARS = 120;

export function Logs() {
  const state = readLogs(params.value);
  const [round, setRound] = useState(0);
  const translated = useTranslated(state);
  const query = translated.query ?? '{}';
  // The range is settled once an ask, so that lines, histogram and “older” speak of the same time.
  const range = useMemo(() => resolveRange(state.from, state.to, nowNanos()), [query, state.from, state.to, round]);
  const fixed = typeof range === 'string' || translated.query === undefined ? undefined : range;
  const search = useSearch({ query, range: fixed, live: state.live, order: state.order, round });
  // What a silent server did not answer is asked again when it is back.
  useEffect(() => { if (search.error?.status === 0) setRound((old) => old + 1); }, [returns.value]);
  const run = (text: string) => {
    setParams({ q: text || undefined });
    setRound((old) => old + 1);
  };
  return (
    <section class="fill">
      <div class="bar">
        <h1 class="hidden">Logs</h1>
        <QueryField value={state.q} label="Log query" store="logql" onRun={run} placeholder='Words, "a phrase", -not, field:value, one OR other; or LogQL: {namespace="shop"} |= "timeout"   ( / )' />
        <RangePicker from={state.from} to={state.to} />
        <OrderPicker preferred="newest" />
        <Toggles state={state} search={search} />
      </div>
      {typeof range === 'string' && <p class="note error" role="alert">{range}</p>}
      <Meaning state={state} translated={translated} />
      <ErrorNote error={translated.error} query={state.q.trim()} />
      <ErrorNote error={translated.error ? undefined : search.error} query={query} />
      {fixed && !search.error && <Volume query={query} range={fixed} live={state.live} round={round} />}
      {!search.error && !translated.error && <Answered search={search} live={state.live} />}
      {!translated.error && <Lines search={search} state={state} query={query} range={fixed} />}
    </section>
  );
}

/** What is asked beside the words: a trace or span, which can be left out; and the LogQL that it all is, to be edited. */
function Meaning({ state, translated }: { state: LogsState; translated: Translated }) {
  const edit = () => {
    setParams({ q: translated.query, trace: undefined, span: undefined });
    document.querySelector<HTMLElement>('[data-search]')?.focus();
  };
  const ids = ([['trace', state.trace], ['span', state.span]] as const).filter(([, id]) => id !== '');
  if (ids.length === 0 && !translated.other) return null;
  return (
    <p class="meaning">
      {ids.map(([name, id]) => (
        <span key={name} class="label">{name} {name === 'trace' ? <a href={`/trace/${encodeURIComponent(id)}`}>{id}</a> : id} <button type="button" class="link" aria-label={`Not only this ${name}`} onClick={() => setParams({ [name]: undefined })}>×</button></span>
      ))}
      {translated.other && <><span class="muted">as LogQL:</span> <code>{translated.query}</code> <button type="button" class="link" onClick={edit}>Edit as LogQL</button></>}
    </p>
  );
}

function Toggles({ state, search }: { state: LogsState; search: Search }) {
  const live = { connecting: 'Connecting …', open: 'Live', lost: 'Reconnecting …', ended: 'Ended' }[search.tail ?? 'connecting'];
  return (
    <div class="toggles">
      <button type="button" aria-pressed={state.live} class={`live ${state.live ? search.tail ?? '' : ''}`} onClick={() => setParams({ live: state.live ? undefined : '1', ...(state.live ? {} : { to: undefined }) })}>
        <span class="dot" aria-hidden="true" />{state.live ? live : 'Live tail'}
      </button>
      <span class="hidden" role="status">{state.live ? live : ''}</span>
      <button type="button" aria-pressed={state.wrap} onClick={() => setParams({ wrap: state.wrap ? undefined : '1' }, 'replace')}>Wrap</button>
    </div>
  );
}

function Volume({ query, range, live, round }: { query: string; range: Range; live: boolean; round: number }) {
  const window = (): Range => (live ? { start: nowNanos() - (range.end - range.start), end: nowNanos() } : range);
  const step = roundStep(range, BARS);
  const key = `${query} ${range.start} ${range.end} ${round} ${live}`;
  const asked = useAsk(key, async (signal) => {
    const shown = window();
    return { shown, stacks: await countLines(query, shown, step, signal) };
  }, live ? 3000 : 0);
  const zoom = (to: Range) => setParams({ from: isoNanos(to.start), to: isoNanos(to.end), live: undefined });
  if (asked.error) return <p class="coverage partial"><span class="dot" aria-hidden="true" /><span>No histogram: {asked.error.message}</span></p>;
  if (!asked.data) return <div class="histogram waiting" />;
  return <Histogram stacks={asked.data.stacks} range={asked.data.shown} onZoom={zoom} onLevel={(level) => setParams({ q: withLabelFilter(query, 'detected_level', levelTest(level)), trace: undefined, span: undefined })} />;
}

async function countLines(query: string, range: Range, step: bigint, signal: AbortSignal): Promise<Stacks> {
  const answer = await api.volume({ query, start: String(range.start), end: String(range.end), step: stepText(step) }, signal);
  return stack(answer.buckets, nanos(answer.step) || step, range);
}

function Answered({ search, live }: { search: Search; live: boolean }) {
  return (
    <CoverageNote coverage={search.coverage}>
      {live && search.tail === 'open' && !silence.value && <span>followed live since</span>}
      <span class="muted" role="status">{counted(search.lines.length, 'line')}{search.more ? ' so far' : ''}{search.stats && !live ? `, ${count(search.stats.lines_scanned)} scanned in ${search.stats.took_ms.toFixed(1)} ms` : ''}</span>
      {live && search.tail === 'ended' && <span class="warn" role="alert">the live tail was ended: {search.ended}</span>}
      {search.dropped > 0 && <span class="warn">{counted(search.dropped, 'live line')} left out: too many to show</span>}
    </CoverageNote>
  );
}

function Lines({ search, state, query, range }: { search: Search; state: LogsState; query: string; range: Range | undefined }) {
  const [held, setHeld] = useState<Search['lines']>();
  const wanted = useMemo(() => literals(query), [query]);
  // While the reader is further down, what arrives waits above, so that nothing moves under the eyes.
  const lines = state.live && held ? held : search.lines;
  const day = range !== undefined && range.end - range.start > 12n * 3600n * SECOND;
  const edge = (at: boolean) => {
    if (at) setHeld(undefined);
    else if (state.live && !held) setHeld(search.lines);
  };
  if (search.lines.length === 0) return search.error || !range ? null : <NoLines search={search} state={state} query={query} />;
  // A live list with the oldest first grows at its end, as a terminal does, and goes on to older lines at its beginning.
  const ends = state.live && state.order === 'oldest';
  const more = <More search={search} newer={state.order === 'oldest' && !state.live} />;
  const waiting = search.lines.length - lines.length;
  const showNew = () => {
    setHeld(undefined);
    const list = document.querySelector('.lines');
    list?.scrollTo({ top: ends ? list.scrollHeight : 0 });
  };
  return (
    <>
      {waiting > 0 && <button type="button" class="newer" onClick={showNew}>{counted(waiting, 'new line')}: show</button>}
      <LineList key={`${state.order} ${ends}`} lines={lines} order={state.order} query={query} wanted={wanted} wrap={state.wrap} day={day} label={`Log lines, ${state.order} first`} onEdge={edge} {...(ends ? { edge: 'bottom' as const, header: more } : { footer: more })} />
    </>
  );
}

function More({ search, newer }: { search: Search; newer: boolean }) {
  const what = newer ? 'newer' : 'older';
  return (
    <div class="lines-end">
      {search.more
        ? <button type="button" disabled={search.busy} onClick={search.loadMore}>{search.busy ? 'Loading …' : `Load ${what} lines`}</button>
        : <span class="muted">{search.lines.length >= LINES_MAX ? `The page holds ${count(LINES_MAX)} lines at most; narrow the range to see ${what} ones.` : `No ${what} lines in this range.`}</span>}
    </div>
  );
}

function NoLines({ search, state, query }: { search: Search; state: LogsState; query: string }) {
  if (search.busy) return <p class="muted pad" role="status">Searching …</p>;
  return (
    <Empty title={state.live ? 'Nothing yet; new lines appear here' : `No line matches in “${rangeText(state.from, state.to)}”`}>
      {search.coverage?.complete === false
        ? 'Not everything could be searched; what is missing is said above.'
        : 'Everything collected in this range has been searched. A longer range or fewer filters may find more.'}
      <Unknown query={query} language="logql" ask={async (signal) => ({ metrics: [], labels: await api.logLabelNames(signal) })} onPick={(next) => setParams({ q: next, trace: undefined, span: undefined })} />
    </Empty>
  );
}
