// The row that j and k move to, kept by its key: rows that arrive above it do not move it. Keys may come faster than the page draws.
import { useEffect, useRef, useState } from 'preact/hooks';
import { listen } from '../core/keys';

interface Rows {
  count: number;
  keyOf: (index: number) => string;
  /** Enter. */
  open: (index: number) => void;
  /** After a move, to bring the row into view. */
  moved?: (index: number) => void;
  /** Whether the keys are this list's; a view has one list that they belong to. */
  active?: boolean;
}

/** The key of the selected row, empty at first. */
export function useSelection({ active = true, ...rows }: Rows): string {
  const [selected, select] = useState('');
  const at = useRef('');
  const latest = useRef(rows);
  latest.current = rows;
  useEffect(() => (active ? listen({
    move: (by) => {
      const { count, keyOf, moved } = latest.current;
      if (count === 0) return;
      const next = Math.min(count - 1, Math.max(0, indexOf(at.current, latest.current) + by));
      at.current = keyOf(next);
      select(at.current);
      moved?.(next);
    },
    open: () => {
      const index = indexOf(at.current, latest.current);
      if (index >= 0) latest.current.open(index);
    },
  }) : undefined), [active]);
  return selected;
}

function indexOf(key: string, { count, keyOf }: Rows): number {
  for (let i = 0; i < count; i += 1) if (keyOf(i) === key) return i;
  return -1;
}

/** Brings the selected row of a table into view once it is drawn. */
export function useInView(selected: string): void {
  useEffect(() => {
    document.querySelector('tr[data-selected]')?.scrollIntoView({ block: 'nearest' });
  }, [selected]);
}
