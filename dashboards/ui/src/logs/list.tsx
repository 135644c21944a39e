// The long list of lines: virtual, j/k/Enter, what continues a line below it, room to go on at its ends. Holds which lines are open,
// nothing of the query.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { useSelection } from '../parts/selection';
import { useVirtual } from '../parts/virtual';
import type { Line } from '../core/types';
import { arrange, type Order } from './order';
import type { Mark } from './lines';
import { LineRow, type Beside } from './row';

interface Props<L extends Line> {
  lines: L[];
  /** The order that the lines are in. */
  order: Order;
  wanted: Mark[];
  /** The LogQL that clicks on a level or a label narrow; the view's own search, or all lines. */
  query?: string;
  wrap: boolean;
  day: boolean;
  /** The line that a permanent link names: open and marked. */
  marked?: string;
  label: string;
  header?: ComponentChildren;
  footer?: ComponentChildren;
  /** Where new lines come in while the list is followed. */
  edge?: 'top' | 'bottom';
  onEdge?: (there: boolean) => void;
  /** Whether j, k and Enter are this list's; a view has one list that they belong to. */
  keys?: boolean;
  /** What the view says beside a line, and when it puts it; else its time is its place. */
  beside?: (line: L) => Beside;
}

const ROW_PX = 22;

export function LineList<L extends Line>({ lines, order, wanted, query = '{}', wrap, day, marked, label, header, footer, edge, onEdge, keys = true, beside }: Props<L>) {
  const scroller = useRef<HTMLDivElement>(null);
  const placed = useMemo(() => arrange(lines, order), [lines, order]);
  const following = useRef(true);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set(marked ? [marked] : []));
  const virtual = useVirtual({ count: lines.length, scroller, estimate: () => ROW_PX, keyOf: (i) => placed[i]?.line.id ?? String(i) });
  const toggle = (id: string) => setOpen((old) => {
    const next = new Set(old);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  const selected = useSelection({
    count: lines.length,
    keyOf: (i) => placed[i]?.line.id ?? '',
    open: (i) => toggle(placed[i]!.line.id),
    moved: (i) => virtual.scrollToIndex(i, { align: 'auto' }),
    active: keys,
  });
  useEffect(() => {
    const at = marked ? placed.findIndex(({ line }) => line.id === marked) : -1;
    if (at > 0) virtual.scrollToIndex(at, { align: 'center' });
  }, [marked, lines.length]);
  useEffect(() => {
    if (edge === 'bottom' && following.current && placed.length > 0) virtual.scrollToIndex(placed.length - 1, { align: 'end' });
  }, [edge, placed]);
  const onScroll = ({ currentTarget: list }: { currentTarget: HTMLDivElement }) => {
    const there = edge === 'bottom' ? list.scrollHeight - list.scrollTop - list.clientHeight < 30 : list.scrollTop < 4;
    following.current = there;
    onEdge?.(there);
  };
  return (
    <div
      class={`lines${wrap ? ' wrapped' : ''}`} ref={scroller} tabIndex={0} role="region" aria-label={label}
      onScroll={onScroll}
    >
      {header}
      <div class="lines-inner" role="list" style={{ height: `${virtual.getTotalSize()}px` }}>
        {virtual.getVirtualItems().map((item) => {
          const at = placed[item.index];
          if (!at) return null;
          const { line, head } = at;
          return (
            <div
              key={line.id} role="listitem" class="line-box" data-index={item.index} data-line={line.id}
              data-selected={line.id === selected || undefined} aria-setsize={lines.length} aria-posinset={item.index + 1}
              ref={(node) => { if (node) virtual.measureElement(node); }} style={{ transform: `translateY(${item.start}px)` }}
            >
              <LineRow line={line} head={head} query={query} open={open.has(line.id)} wanted={wanted} day={day} marked={line.id === marked} beside={beside?.(line)} onToggle={() => toggle(line.id)} />
            </div>
          );
        })}
      </div>
      {footer}
    </div>
  );
}
