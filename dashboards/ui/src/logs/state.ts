// What the logs view shows, as its address says it.
import { readOrder, type Order } from './order';

export interface LogsState {
  q: string;
  /** Hex ids: only lines of this trace, of this span. */
  trace: string;
  span: string;
  from: string;
  to: string;
  live: boolean;
  wrap: boolean;
  order: Order;
}

export function readLogs(params: URLSearchParams): LogsState {
  return {
    q: params.get('q') ?? '',
    trace: params.get('trace') ?? '',
    span: params.get('span') ?? '',
    from: params.get('from') || 'now-1h',
    to: params.get('to') || 'now',
    live: params.get('live') === '1',
    wrap: params.get('wrap') === '1',
    order: readOrder(params, 'newest'),
  };
}
