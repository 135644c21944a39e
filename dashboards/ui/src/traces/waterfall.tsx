// The waterfall: one row a span, virtual, j/k/Enter. Which span is chosen is the view's; which are folded is its own.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { counted, duration } from '../core/format';
import { listen } from '../core/keys';
import { useVirtual } from '../parts/virtual';
import { MARKS_MAX } from './place';
import { DEPTH_MAX, unfolded, type Row, type Tree } from './tree';

const ROW_PX = 26;
const HUES = 10;

/** The colour of a service: by its place in the trace. */
export function hue(services: string[], service: string): string {
  return `hue-${Math.max(0, services.indexOf(service)) % HUES}`;
}

interface Props {
  tree: Tree;
  /** When each span's lines were written. */
  marks: ReadonlyMap<string, bigint[]>;
  chosen: string;
  onChoose: (id: string) => void;
}

export function Waterfall({ tree, marks, chosen, onChoose }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const rows = useMemo(() => unfolded(tree.rows, folded), [tree, folded]);
  const virtual = useVirtual({ count: rows.length, scroller, estimate: () => ROW_PX, keyOf: (i) => rows[i]?.span.id ?? String(i) });
  const fold = (id: string) => setFolded((old) => {
    const next = new Set(old);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  // The chosen span is the address's; the keys start from it, also when the reader clicked.
  const at = useRef(chosen);
  at.current = chosen;
  const latest = useRef({ rows, onChoose });
  latest.current = { rows, onChoose };
  useEffect(() => listen({
    move: (by) => {
      const index = latest.current.rows.findIndex((row) => row.span.id === at.current);
      const next = latest.current.rows[Math.min(latest.current.rows.length - 1, Math.max(0, index + by))];
      if (!next || next.span.id === at.current) return;
      at.current = next.span.id;
      latest.current.onChoose(next.span.id);
      virtual.scrollToIndex(latest.current.rows.indexOf(next), { align: 'auto' });
    },
    open: () => { if (at.current) fold(at.current); },
  }), []);
  return (
    <div class="waterfall">
      <Axis tree={tree} />
      <div class="lines" ref={scroller} tabIndex={0} role="region" aria-label="Spans of the trace">
        <div class="lines-inner" role="list" style={{ height: `${virtual.getTotalSize()}px` }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            return row && (
              <div
                key={item.key} role="listitem" class="line-box" data-index={item.index} data-span={row.span.id}
                aria-setsize={rows.length} aria-posinset={item.index + 1}
                ref={(node) => { if (node) virtual.measureElement(node); }} style={{ transform: `translateY(${item.start}px)` }}
              >
                <SpanRow row={row} tree={tree} marks={marks.get(row.span.id) ?? []} chosen={row.span.id === chosen} folded={folded.has(row.span.id)} onFold={() => fold(row.span.id)} onChoose={() => onChoose(row.span.id)} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Axis({ tree }: { tree: Tree }) {
  const whole = tree.end - tree.start;
  return (
    <div class="waterfall-axis" aria-hidden="true">
      <span>Service and operation</span>
      <span>{[0n, 1n, 2n, 3n, 4n].map((part) => <span key={part}>{part === 0n ? '0' : duration((whole * part) / 4n)}</span>)}</span>
    </div>
  );
}

interface RowProps {
  row: Row;
  tree: Tree;
  marks: bigint[];
  chosen: boolean;
  folded: boolean;
  onFold: () => void;
  onChoose: () => void;
}

function SpanRow({ row, tree, marks, chosen, folded, onFold, onChoose }: RowProps) {
  const { span } = row;
  const failed = span.status === 'error';
  return (
    <div class={`span-row${chosen ? ' chosen' : ''}`} onClick={onChoose}>
      <div class="span-name" style={{ paddingLeft: `${6 + Math.min(row.depth, DEPTH_MAX) * 13}px` }}>
        {row.children > 0
          ? <button type="button" class="fold" aria-expanded={!folded} aria-label={`Children of ${span.name}`} onClick={(event) => { event.stopPropagation(); onFold(); }}>{folded ? '▸' : '▾'}</button>
          : <span class="fold" />}
        <span class={`swatch ${hue(tree.services, span.service)}`} aria-hidden="true" style={{ background: 'var(--hue)', margin: 0, flex: 'none' }} />
        <span class="who">{span.service}</span>
        <button type="button" class="link what" aria-pressed={chosen} title={span.name}>{span.name}</button>
        {marks.length > 0 && <span class="wrote">{marks.length < MARKS_MAX ? counted(marks.length, 'line') : `${MARKS_MAX} or more lines`}</span>}
        {failed && <span class="flag err">error</span>}
        {(row.place === 'orphan' || span.orphan) && <span class="flag lost" title="Its parent is named but has not been seen">parent not seen</span>}
        {row.place === 'ring' && <span class="flag lost" title="Its parents lead back to itself">ring of parents</span>}
      </div>
      <Bar row={row} tree={tree} marks={marks} failed={failed} />
    </div>
  );
}

function Bar({ row, tree, marks, failed }: { row: Row; tree: Tree; marks: bigint[]; failed: boolean }) {
  const whole = Number(tree.end - tree.start) || 1;
  const placeOf = (at: bigint) => (Number(at - tree.start) / whole) * 100;
  const left = placeOf(row.start);
  const width = (Number(row.duration) / whole) * 100;
  return (
    <div class="span-time">
      <span class={`span-bar ${hue(tree.services, row.span.service)}${failed ? ' err' : ''}`} style={{ left: `${left.toFixed(3)}%`, width: `${width.toFixed(3)}%` }} />
      {marks.map(placeOf).filter((place) => place >= 0 && place <= 100).map((place, i) => <span key={i} class="span-mark" aria-hidden="true" style={{ left: `${place.toFixed(3)}%` }} />)}
      <span class={`span-took${left + width > 85 && left < 15 ? ' inside' : ''}`} style={labelPlace(left, width)}>{duration(row.duration)}</span>
    </div>
  );
}

/** Beside the bar where there is room: right of it, else left of it, else on its end. */
function labelPlace(left: number, width: number): Record<string, string> {
  if (left + width <= 85) return { left: `${(left + width).toFixed(3)}%` };
  return left < 15 ? { right: '0' } : { right: `${(100 - left).toFixed(3)}%` };
}
