// One question to the server as a hook: its answer, its error, and whether it is under way. A new key drops the old answer's request.
import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, returns } from './api';

/** A view that asks again and again gives up on one answer after this: a server that hangs is a server that is away. */
const PATIENCE_MS = 10_000;

export interface Asked<T> {
  data: T | undefined;
  error: ApiError | undefined;
  busy: boolean;
  again: () => void;
}

/**
 * Asks when `key` changes, and every `every` ms while the page is visible (0: once). An undefined key asks nothing.
 * The last answer stays while the next is under way, and after an error.
 */
export function useAsk<T>(key: string | undefined, ask: (signal: AbortSignal) => Promise<T>, every = 0): Asked<T> {
  const [state, setState] = useState<{ key?: string; data?: T; error?: ApiError; busy: boolean }>({ busy: key !== undefined });
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (key === undefined) return;
    const stop = new AbortController();
    let timer: number | undefined;
    const once = async () => {
      setState((old) => ({ ...old, busy: true }));
      try {
        const data = await latest.current(every > 0 ? AbortSignal.any([stop.signal, AbortSignal.timeout(PATIENCE_MS)]) : stop.signal);
        if (!stop.signal.aborted) setState({ key, data, busy: false });
      } catch (cause) {
        if (stop.signal.aborted) return;
        const error = cause instanceof ApiError ? cause : new ApiError(String(cause), 0);
        setState((old) => ({ ...(old.key === key ? old : {}), key, error, busy: false }));
      }
      if (every > 0 && !stop.signal.aborted) timer = window.setTimeout(tick, every);
    };
    const tick = () => {
      if (document.visibilityState === 'visible') void once();
      else timer = window.setTimeout(tick, every);
    };
    void once();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
  }, [key, every, round]);
  const again = () => setRound((old) => old + 1);
  const silent = useRef(false);
  silent.current = state.error?.status === 0;
  // What was asked of a silent server is asked again when it is back.
  useEffect(() => { if (silent.current) again(); }, [returns.value]);
  return { data: state.data, error: state.error, busy: state.busy, again };
}
