import { afterEach, expect, test, vi } from 'vitest';
import type { TailState } from '../src/logs/tail';

/** The last connection that was asked for. */
let last: { onclose: (event: { code: number; reason: string }) => void } | undefined;
let opened = 0;

vi.stubGlobal('window', {
  location: { protocol: 'http:', host: 'weir', pathname: '/logs', search: '' },
  addEventListener: () => undefined,
  setTimeout: (run: () => void, pause: number) => setTimeout(run, pause),
  clearTimeout: (timer: number) => clearTimeout(timer),
});
const { signedOut } = await import('../src/core/api');
const { tail } = await import('../src/logs/tail');

class Socket {
  onclose = () => undefined;
  constructor() {
    last = this as never;
    opened += 1;
  }
  close() {}
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('a tail comes back after a break, and not where its credentials have ended', async () => {
  vi.useFakeTimers();
  const asked = vi.fn(async (_url: string) => new Response('{"error": "no credentials"}', { status: 401 }));
  vi.stubGlobal('WebSocket', Socket);
  vi.stubGlobal('fetch', asked);
  const seen: [TailState, string | undefined][] = [];
  const end = tail('{app="x"}', { onState: (state, why) => seen.push([state, why]), onLines: () => undefined });
  last?.onclose({ code: 1013, reason: 'wait' });
  await vi.advanceTimersByTimeAsync(600);
  expect([opened, asked.mock.calls.length]).toEqual([2, 0]);
  last?.onclose({ code: 1008, reason: 'no credentials' });
  await vi.advanceTimersByTimeAsync(60_000);
  expect([opened, asked.mock.calls.map(([url]) => url)]).toEqual([2, ['/api/weir/v1/whoami']]);
  expect(seen.at(-1)).toEqual(['ended', 'no credentials']);
  expect(signedOut.value).toBe(true);
  end();
});
