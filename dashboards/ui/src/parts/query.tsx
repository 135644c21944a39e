// The query field: a text area that grows, Enter asks, the arrows bring earlier queries back. No colours yet; any query pastes as it is.
import { useEffect, useRef, useState } from 'preact/hooks';
import { read, write } from '../core/theme';

const KEPT = 50;

interface Props {
  value: string;
  label: string;
  placeholder: string;
  /** Where earlier queries are kept, per language. */
  store: string;
  onRun: (query: string) => void;
}

export function QueryField({ value, label, placeholder, store, onRun }: Props) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(value);
  const [back, setBack] = useState(-1);
  useEffect(() => setText(value), [value]);
  useEffect(() => fit(field.current), [text]);
  const run = () => {
    const query = text.trim();
    if (query) remember(store, query);
    setBack(-1);
    onRun(query);
  };
  const recall = (step: 1 | -1): boolean => {
    const past = earlier(store);
    const next = back + step;
    if (next < -1 || next >= past.length) return false;
    setBack(next);
    setText(next === -1 ? '' : past[next]!);
    return true;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const area = event.currentTarget as HTMLTextAreaElement;
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      run();
    } else if (event.key === 'ArrowUp' && area.selectionStart === 0 && area.selectionEnd === 0 && recall(1)) event.preventDefault();
    else if (event.key === 'ArrowDown' && back >= 0 && area.selectionStart === text.length && recall(-1)) event.preventDefault();
  };
  return (
    <form class="query" role="search" onSubmit={(event) => { event.preventDefault(); run(); }}>
      <textarea
        ref={field} data-search rows={1} value={text} aria-label={label} placeholder={placeholder} spellcheck={false}
        autocomplete="off" autocapitalize="off" onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKeyDown}
      />
      <button type="submit" class="primary">Run</button>
    </form>
  );
}

function fit(area: HTMLTextAreaElement | null): void {
  if (!area) return;
  area.style.height = 'auto';
  area.style.height = `${Math.min(area.scrollHeight + 2, 220)}px`;
}

function earlier(store: string): string[] {
  try {
    const kept: unknown = JSON.parse(read(`weir.history.${store}`) ?? '[]');
    return Array.isArray(kept) ? kept.filter((entry) => typeof entry === 'string') : [];
  } catch {
    return [];
  }
}

function remember(store: string, query: string): void {
  const past = [query, ...earlier(store).filter((entry) => entry !== query)].slice(0, KEPT);
  write(`weir.history.${store}`, JSON.stringify(past));
}
