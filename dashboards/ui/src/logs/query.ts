// What a search means as LogQL. Words, and the lines of a trace or span, are translated by the server (docs/logql.md): page, CLI and
// API mean the same. What starts with a brace is LogQL as it is.
import { api, type ApiError } from '../core/api';
import { useAsk } from '../core/ask';
import type { LogsState } from './state';

export interface Translated {
  /** Undefined while it is not known yet, and when there is an error. */
  query: string | undefined;
  error: ApiError | undefined;
  /** Whether `query` is something else than what was typed. */
  other: boolean;
}

export function useTranslated({ q, trace, span }: LogsState): Translated {
  const search = q.trim();
  const same = trace === '' && span === '' && (search === '' || search.startsWith('{'));
  const key = JSON.stringify([search, trace, span]);
  const asked = useAsk(same ? undefined : key, async (signal) => ({ key, query: await api.logQuery({ search, trace, span }, signal) }));
  if (same) return { query: search || '{}', error: undefined, other: false };
  // The answer to what was typed before is not this one's.
  const query = asked.error || asked.data?.key !== key ? undefined : asked.data.query;
  return { query, error: asked.error, other: query !== undefined && query !== search };
}
