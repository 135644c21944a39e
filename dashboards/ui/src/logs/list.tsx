// The long list of lines: virtual, j/k/Enter, a footer to go on. Holds which lines are open, nothing of the query.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { useSelection } from '../parts/selection';
import { useVirtual } from '../parts/virtual';
import type { Line } from '../core/types';
import { LineRow } from './row';

interface Props {
  lines: Line[];
  wanted: string[];
  wrap: boolean;
  day: boolean;
  /** The line that a permanent link names: open and marked. */
  marked?: string;
  label: string;
  footer?: ComponentChildren;
  onTop?: (top: boolean) => void;
  /** Whether j, k and Enter are this list's; a view has one list that they belong to. */
  keys?: boolean;
}

const ROW_PX = 22;

export function LineList({ lines, wanted, wrap, day, marked, label, footer, onTop, keys = true }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set(marked ? [marked] : []));
  const virtual = useVirtual({ count: lines.length, scroller, estimate: () => ROW_PX, keyOf: (i) => lines[i]?.id ?? String(i) });
  const toggle = (id: string) => setOpen((old) => {
    const next = new Set(old);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  const selected = useSelection({
    count: lines.length,
    keyOf: (i) => lines[i]?.id ?? '',
    open: (i) => toggle(lines[i]!.id),
    moved: (i) => virtual.scrollToIndex(i, { align: 'auto' }),
    active: keys,
  });
  useEffect(() => {
    const at = marked ? lines.findIndex((line) => line.id === marked) : -1;
    if (at > 0) virtual.scrollToIndex(at, { align: 'center' });
  }, [marked, lines.length]);
  return (
    <div
      class={`lines${wrap ? ' wrapped' : ''}`} ref={scroller} tabIndex={0} role="region" aria-label={label}
      onScroll={(event) => onTop?.(event.currentTarget.scrollTop < 4)}
    >
      <div class="lines-inner" role="list" style={{ height: `${virtual.getTotalSize()}px` }}>
        {virtual.getVirtualItems().map((item) => {
          const line = lines[item.index];
          return line && (
            <div
              key={line.id} role="listitem" class="line-box" data-index={item.index} data-line={line.id}
              data-selected={line.id === selected || undefined} aria-setsize={lines.length} aria-posinset={item.index + 1}
              ref={(node) => { if (node) virtual.measureElement(node); }} style={{ transform: `translateY(${item.start}px)` }}
            >
              <LineRow line={line} open={open.has(line.id)} wanted={wanted} day={day} marked={line.id === marked} onToggle={() => toggle(line.id)} />
            </div>
          );
        })}
      </div>
      {footer}
    </div>
  );
}
