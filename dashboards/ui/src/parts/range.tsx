// The time range picker: relative or absolute, kept in the address as `from` and `to`.
import { useRef, useState } from 'preact/hooks';
import { clock } from '../core/format';
import { setParams } from '../core/route';
import { nowNanos, parseInstant, resolveRange } from '../core/time';

const QUICK: [string, string][] = [
  ['now-5m', 'Last 5 minutes'], ['now-15m', 'Last 15 minutes'], ['now-1h', 'Last hour'], ['now-3h', 'Last 3 hours'],
  ['now-6h', 'Last 6 hours'], ['now-24h', 'Last 24 hours'], ['now-2d', 'Last 2 days'], ['now-7d', 'Last 7 days'],
  ['now-30d', 'Last 30 days'],
];

/** In words: the quick name, or both ends. */
export function rangeText(from: string, to: string): string {
  const quick = to === 'now' ? QUICK.find(([value]) => value === from) : undefined;
  if (quick) return quick[1];
  if (to === 'now' && from.startsWith('now-')) return `Last ${from.slice(4)}`;
  return `${endText(from)} to ${endText(to)}`;
}

function endText(text: string): string {
  if (text.startsWith('now')) return text;
  const at = parseInstant(text, 0n);
  return at === undefined ? text : clock(at, true).slice(0, 19);
}

export function RangePicker({ from, to }: { from: string; to: string }) {
  const details = useRef<HTMLDetailsElement>(null);
  const [draft, setDraft] = useState<{ from: string; to: string }>();
  const [wrong, setWrong] = useState('');
  const choose = (nextFrom: string, nextTo: string) => {
    const range = resolveRange(nextFrom, nextTo, nowNanos());
    if (typeof range === 'string') return setWrong(range);
    setWrong('');
    setDraft(undefined);
    if (details.current) details.current.open = false;
    setParams({ from: nextFrom, to: nextTo === 'now' ? undefined : nextTo });
  };
  const shown = draft ?? { from, to };
  const leave = (event: FocusEvent) => {
    if (details.current && !details.current.contains(event.relatedTarget as Node | null)) details.current.open = false;
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || !details.current?.open) return;
    event.stopPropagation();
    details.current.open = false;
    details.current.querySelector('summary')?.focus();
  };
  return (
    <details class="range" ref={details} onFocusOut={leave} onKeyDown={onKey}>
      <summary aria-label={`Time range: ${rangeText(from, to)}`}><span aria-hidden="true">◷ </span>{rangeText(from, to)}</summary>
      <div class="range-box">
        <div class="quick">
          {QUICK.map(([value, name]) => (
            <button type="button" key={value} aria-pressed={from === value && to === 'now'} onClick={() => choose(value, 'now')}>{name}</button>
          ))}
        </div>
        <form onSubmit={(event) => { event.preventDefault(); choose(shown.from, shown.to); }}>
          <label>From<input value={shown.from} onInput={(event) => setDraft({ ...shown, from: event.currentTarget.value })} spellcheck={false} /></label>
          <label>To<input value={shown.to} onInput={(event) => setDraft({ ...shown, to: event.currentTarget.value })} spellcheck={false} /></label>
          <p class="hint">now-90m, 2026-11-21 12:00:05, or Unix nanoseconds</p>
          {wrong && <p class="field-error" role="alert">{wrong}</p>}
          <button type="submit" class="primary">Apply</button>
        </form>
      </div>
    </details>
  );
}
