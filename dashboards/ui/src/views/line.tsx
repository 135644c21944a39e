// One line by its permanent link, among its neighbours in its stream.
import { api } from '../core/api';
import { useAsk } from '../core/ask';
import { quote } from '../core/logql';
import { params, setParams, to } from '../core/route';
import type { Line } from '../core/types';
import { LineList } from '../logs/list';
import { CoverageNote, ErrorNote } from '../parts/notes';

export function LinePage({ id }: { id: string }) {
  const context = Math.min(500, Math.max(0, Number(params.value.get('context') ?? '10') || 0));
  const wrap = params.value.get('wrap') === '1';
  const asked = useAsk(`${id} ${context}`, (signal) => api.line(id, context, signal));
  const line = asked.data?.lines.find((one) => one.id === id);
  return (
    <section class="fill">
      <div class="bar">
        <h1>Line <code>{id}</code></h1>
        <div class="toggles">
          <button type="button" disabled={context >= 500} onClick={() => setParams({ context: String(context * 2 || 10) })}>More context</button>
          <button type="button" aria-pressed={wrap} onClick={() => setParams({ wrap: wrap ? undefined : '1' }, 'replace')}>Wrap</button>
          {line && <a class="button" href={to('/logs', { q: selector(line) })}>Search this stream</a>}
        </div>
      </div>
      <ErrorNote error={asked.error} />
      {asked.data && <CoverageNote coverage={asked.data.coverage} />}
      {asked.data && <LineList key={context} lines={asked.data.lines} wanted={[]} wrap={wrap} day marked={id} label="The line and its neighbours, oldest first" />}
    </section>
  );
}

function selector(line: Line): string {
  return `{${Object.entries(line.stream).map(([name, value]) => `${name}=${quote(value)}`).join(', ')}}`;
}
