// The lines of a query: asked once, continued towards the past or the present, and followed live. One hook, used by the logs view.
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, ApiError } from '../core/api';
import { together } from '../core/coverage';
import { nanos } from '../core/format';
import { nowNanos, SECOND, type Range } from '../core/time';
import type { Coverage, Line, LogsAnswer } from '../core/types';
import { join, type Order } from './order';
import { tail, type TailState } from './tail';

const PAGE = 200;
/** Lines the page holds at most: about 20 MB of usual lines. To see older ones, narrow the range. */
export const LINES_MAX = 20_000;
/** Lines a live tail holds at most. */
export const LIVE_LINES_MAX = 5000;

export interface Search {
  lines: Line[];
  coverage: Coverage | undefined;
  stats: LogsAnswer['stats'];
  error: ApiError | undefined;
  busy: boolean;
  /** Whether more lines may exist: older ones, or newer ones where the oldest stand first. */
  more: boolean;
  loadMore: () => void;
  tail: TailState | undefined;
  /** Why weir ended the tail. */
  ended: string;
  dropped: number;
}

type State = Omit<Search, 'loadMore' | 'tail' | 'ended' | 'dropped'>;
const NOTHING: State = { lines: [], coverage: undefined, stats: undefined, error: undefined, busy: true, more: false };

export interface Wanted {
  query: string;
  /** Undefined asks nothing. */
  range: Range | undefined;
  live: boolean;
  order: Order;
  /** Counts repeated asks of the same. */
  round: number;
}

/** Asks for the lines that are wanted: from the oldest where they stand first, from the newest otherwise and in a live tail. */
export function useSearch({ query, range, live, order, round }: Wanted): Search {
  const backward = live || order === 'newest';
  // A live list that grows at its end drops its first lines.
  const keepLast = live && order === 'oldest';
  const [state, setState] = useState<State>(NOTHING);
  const [limit, setLimit] = useState(PAGE);
  const stop = useRef(new AbortController());
  const key = `${query}\u0000${range?.start}\u0000${range?.end}\u0000${round} ${order} ${backward}`;
  useEffect(() => {
    stop.current.abort();
    stop.current = new AbortController();
    setLimit(PAGE);
    if (!range) return;
    setState((old) => ({ ...old, busy: true, error: undefined }));
    ask(query, range, PAGE, backward, stop.current.signal).then(
      (answer) => setState({ ...fields(answer), lines: join([], answer.lines, LINES_MAX, order), more: answer.lines.length >= PAGE }),
      (cause: unknown) => fail(cause, stop.current.signal, setState, true),
    );
    return () => stop.current.abort();
  }, [key]);
  const loadMore = () => {
    const last = keepLast ? state.lines[0] : state.lines[state.lines.length - 1];
    if (!last || !range || state.busy) return;
    const size = Math.max(limit, 500);
    setState((old) => ({ ...old, busy: true }));
    // One instant may hold more lines than a page: ask for it again, and drop what is known.
    const rest = backward ? { start: range.start, end: nanos(last.t) + 1n } : { start: nanos(last.t), end: range.end };
    ask(query, rest, size, backward, stop.current.signal).then((answer) => setState((old) => {
      const lines = join(old.lines, answer.lines, LINES_MAX, order);
      if (lines.length === old.lines.length) setLimit(Math.min(size * 2, 5000));
      return { ...old, busy: false, lines, more: answer.lines.length >= size && lines.length < LINES_MAX, coverage: together(old.coverage, answer.coverage), stats: sum(old.stats, answer.stats) };
    }), (cause: unknown) => fail(cause, stop.current.signal, setState, false));
  };
  const covered = useRef(0n);
  covered.current = state.coverage?.at ?? 0n;
  const followed = useTail({ query, live: live && range !== undefined, order, covered }, setState);
  return { ...state, loadMore, ...followed };
}

interface Followed extends Pick<Wanted, 'query' | 'live' | 'order'> {
  /** Until when the list has everything. */
  covered: { current: bigint };
}

function useTail({ query, live, order, covered }: Followed, setState: (change: (old: State) => State) => void) {
  const [at, setAt] = useState<TailState>();
  const [dropped, setDropped] = useState(0);
  const [ended, setEnded] = useState('');
  useEffect(() => {
    if (!live) return;
    const stop = new AbortController();
    setDropped(0);
    // Until when the tail was heard; 0 before it is.
    let heard = 0n;
    let open = false;
    const add = (lines: Line[]) => setState((old) => ({ ...old, lines: join(old.lines, lines, LIVE_LINES_MAX, order, order === 'oldest') }));
    const end = tail(query, {
      onState: (next, why = '') => {
        setAt(next);
        setEnded(why);
        if (open && next !== 'open') heard = nowNanos();
        open = next === 'open';
        if (!open) return;
        // What was written between the search and the opening, or while the connection was away, and a while before: lines may come
        // late. Where that is more than a live list holds, it holds the newest, and none is missing among them.
        const since = (heard || covered.current || nowNanos()) - 120n * SECOND;
        ask(query, { start: since, end: nowNanos() + 5n * SECOND }, LIVE_LINES_MAX, true, stop.signal).then((answer) => {
          add(answer.lines);
          setState((old) => ({ ...old, coverage: answer.coverage }));
        }, () => undefined);
      },
      onLines: (lines, left) => {
        if (left > 0) setDropped((old) => old + left);
        add(lines);
      },
    });
    return () => {
      stop.abort();
      end();
      setAt(undefined);
    };
  }, [query, live, order]);
  return { tail: at, dropped, ended };
}

function ask(query: string, range: Range, limit: number, backward: boolean, signal: AbortSignal): Promise<LogsAnswer> {
  return api.logs({ query, start: String(range.start), end: String(range.end), limit, direction: backward ? 'backward' : 'forward' }, signal);
}

/** Of all answers that the list is made of: what was found is never more than what was scanned for it. */
function sum(one: LogsAnswer['stats'], two: LogsAnswer['stats']): LogsAnswer['stats'] {
  return one && two ? { lines_scanned: one.lines_scanned + two.lines_scanned, took_ms: one.took_ms + two.took_ms } : one ?? two;
}

function fields(answer: LogsAnswer): Omit<State, 'lines' | 'more'> {
  return { coverage: answer.coverage, stats: answer.stats, error: undefined, busy: false };
}

function fail(cause: unknown, signal: AbortSignal, setState: (change: (old: State) => State) => void, clear: boolean): void {
  if (signal.aborted) return;
  const error = cause instanceof ApiError ? cause : new ApiError(String(cause), 0);
  setState((old) => ({ ...(clear ? NOTHING : old), error, busy: false }));
}
