// The keyboard: `g` then a letter goes to a view, `/` to its search, `j` `k` Enter through its list. Never takes a key from a field.
import { signal } from '@preact/signals';
import { go } from './route';

export const helpOpen = signal(false);

const PLACES: Record<string, string> = { c: '/', l: '/logs', t: '/traces', m: '/graph', a: '/alerts', h: '/health', u: '/usage' };

export const KEYS: [string, string][] = [
  ['g c', 'containers'], ['g l', 'logs'], ['g t', 'traces'], ['g m', 'metrics'], ['g a', 'alerts'], ['g h', 'health of the path'], ['g u', 'usage'],
  ['/', 'to the search field'], ['j  k', 'next, previous row'], ['Enter', 'open or close the row'],
  ['←  →', 'read the graph in focus'],
  ['Shift Enter', 'new line in a query'], ['↑  ↓', 'earlier queries, in an empty field or at its edge'],
  ['t', 'light or dark'], ['?', 'this help'], ['Esc', 'close, or leave the field'],
];

/** What a list does with j, k and Enter; the view on screen sets it. */
export interface ListKeys {
  move: (by: 1 | -1) => void;
  open: () => void;
}

let list: ListKeys | undefined;
let waiting = 0;

/** Makes a list answer to j, k and Enter; call the result to stop. */
export function listen(keys: ListKeys): () => void {
  list = keys;
  return () => {
    if (list === keys) list = undefined;
  };
}

function inField(target: EventTarget | null): target is HTMLElement {
  return target instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable);
}

export function onKey(event: KeyboardEvent, toggleTheme: () => void): void {
  if (event.key === 'Escape') {
    if (helpOpen.value) helpOpen.value = false;
    else if (inField(event.target)) event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || inField(event.target) || helpOpen.value) return;
  const used = afterG(event.key) || single(event, toggleTheme);
  if (used) event.preventDefault();
}

function afterG(key: string): boolean {
  const place = PLACES[key];
  const armed = performance.now() - waiting < 1500;
  waiting = key === 'g' ? performance.now() : 0;
  if (!armed || !place) return false;
  go(place);
  return true;
}

function single(event: KeyboardEvent, toggleTheme: () => void): boolean {
  switch (event.key) {
    case '/': return focusSearch();
    case '?': helpOpen.value = true; return true;
    case 't': toggleTheme(); return true;
    case 'j': list?.move(1); return list !== undefined;
    case 'k': list?.move(-1); return list !== undefined;
    case 'Enter': {
      if (event.target instanceof HTMLElement && event.target.closest('a,button,summary')) return false;
      list?.open();
      return list !== undefined;
    }
    default: return false;
  }
}

function focusSearch(): boolean {
  const field = document.querySelector<HTMLElement>('[data-search]');
  field?.focus();
  return field !== null;
}
