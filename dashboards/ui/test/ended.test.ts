import { expect, test } from 'vitest';
import type { Container } from '../src/core/types';
import { ending, fate, folded } from '../src/parts/ended';

const NOW = 1_790_000_000_000_000_000n;
const ago = (seconds: number) => String(NOW - BigInt(seconds) * 1_000_000_000n);
const row = (id: string, more: Partial<Container>): Container => ({
  id, name: 'web', node: 'n', namespace: '', pod: '', image: '', runtime: 'docker', state: 'exited', started: '', restarts: 0, labels: {},
  cpu_cores: 0, cpu_limit_cores: null, memory_bytes: 0, memory_limit_bytes: null, throttled_ratio: 0, oom_kills: 0, pids: 0, cpu_history: [], memory_history: [],
  exit_code: null, signal: '', oom_killed: false, finished: '', runs_ended: 0, ...more,
});

test('how a container ended is said in words', () => {
  const killed = row('a', { exit_code: 137, signal: 'SIGKILL', finished: ago(180), runs_ended: 1 });
  expect([fate(killed).word, ending(killed, NOW)]).toEqual(['killed', 'exit 137 (SIGKILL), 3 min ago']);
  expect(fate({ ...killed, oom_killed: true })).toEqual({ word: 'OOM killed', kind: 'oom' });
  expect(fate(row('a', { exit_code: 0 }))).toEqual({ word: 'completed', kind: 'done' });
  expect(fate(row('a', { exit_code: 143, signal: 'SIGTERM' })).word).toBe('exited');
  expect(ending(row('a', { finished: ago(5) }), NOW)).toBe('exit code not known, 5 s ago');
  expect(ending(row('a', { state: 'running' }), NOW)).toBe('');
});

test('one name is one row: the one that runs, else the one that ended last', () => {
  const [old, last, other] = [row('a', { finished: ago(90) }), row('b', { finished: ago(10) }), row('c', { name: 'job', finished: ago(20) })];
  const both = folded([last, other, old]);
  expect(both.rows).toEqual([last, other]);
  expect([both.earlier.get(last), both.earlier.get(other)]).toEqual([1, undefined]);
  const runs = row('d', { state: 'running' });
  const three = folded([runs, last, old]);
  expect([three.rows, three.earlier.get(runs)]).toEqual([[runs], 2]);
  // Two that run are two; what has no name is nobody's like; another node's is another's.
  expect(folded([runs, row('e', { state: 'running' })]).rows).toHaveLength(2);
  expect(folded([row('f', { name: '' }), row('g', { name: '' })]).rows).toHaveLength(2);
  expect(folded([last, row('h', { node: 'm', finished: ago(1) })]).rows).toHaveLength(2);
});
