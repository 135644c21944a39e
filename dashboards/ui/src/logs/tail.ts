// The live tail's connection: opens, reports lines, comes back by itself after a break with growing pauses, but not where weir has
// ended it because its credentials or rights have. Keeps no lines.
import { tailUrl } from '../core/api';
import { learnCaller } from '../core/caller';
import type { Line } from '../core/types';

export type TailState = 'connecting' | 'open' | 'lost' | 'ended';

export interface TailEvents {
  /** `why`: weir's reason for an end. */
  onState: (state: TailState, why?: string) => void;
  /** New lines; `dropped` is how many the server left out because we were slow. */
  onLines: (lines: Line[], dropped: number) => void;
}

/** The code of a close when credentials or rights have ended (RFC 6455 7.4.1). */
const POLICY = 1008;
const PAUSE_MS = [500, 1000, 2000, 5000, 10_000];

/** Starts a tail; call the result to end it. */
export function tail(query: string, events: TailEvents): () => void {
  let socket: WebSocket | undefined;
  let timer: number | undefined;
  let failures = 0;
  let ended = false;
  const connect = () => {
    events.onState(failures === 0 ? 'connecting' : 'lost');
    socket = new WebSocket(tailUrl(query));
    socket.onopen = () => {
      failures = 0;
      events.onState('open');
    };
    socket.onmessage = (message) => {
      const told = parse(message.data);
      if (told && !ended) events.onLines(told.lines, told.dropped);
    };
    socket.onclose = (event) => {
      if (ended) return;
      if (event.code === POLICY) {
        events.onState('ended', event.reason);
        // Where nobody is signed in any more, the page shows that.
        void learnCaller();
        return;
      }
      events.onState('lost');
      timer = window.setTimeout(connect, PAUSE_MS[Math.min(failures, PAUSE_MS.length - 1)]);
      failures += 1;
    };
  };
  connect();
  return () => {
    ended = true;
    window.clearTimeout(timer);
    socket?.close();
  };
}

function parse(data: unknown): { lines: Line[]; dropped: number } | undefined {
  if (typeof data !== 'string') return undefined;
  try {
    const told = JSON.parse(data) as { lines?: Line[]; dropped?: number };
    return { lines: Array.isArray(told.lines) ? told.lines : [], dropped: told.dropped ?? 0 };
  } catch {
    return undefined;
  }
}
