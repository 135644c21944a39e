// Lines over time, stacked by level; dragging over it zooms. Drawn as one SVG path a level: cheap at any number of buckets.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { clock, count, counted } from '../core/format';
import type { Range } from '../core/time';
import { LEVELS, type Level } from './lines';
import { barPaths, ticks, type Stacks } from './volume';

const HEIGHT = 84;

interface Props {
  stacks: Stacks;
  range: Range;
  onZoom: (range: Range) => void;
  onLevel: (level: Level) => void;
}

export function Histogram({ stacks, range, onZoom, onLevel }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const drag = useDrag(range, width, stacks.step, onZoom);
  const total = stacks.sums.reduce((sum, lines) => sum + lines, 0);
  const at = drag.hover === undefined ? -1 : Number((drag.hover - stacks.start) / stacks.step);
  return (
    <figure class="histogram" data-lines={total}>
      <div ref={box} class="histogram-box" {...drag.handlers}>
        <svg width={width} height={HEIGHT + 18} role="img" aria-label={`${counted(total, 'line')} from ${clock(range.start, true)} to ${clock(range.end, true)}, at most ${count(stacks.most)} in ${Number(stacks.step) / 1e9} seconds`}>
          <line class="axis" x1="0" x2={width} y1={HEIGHT + 0.5} y2={HEIGHT + 0.5} />
          {barPaths(stacks, range, width, HEIGHT).map(({ level, path }) => <path key={level} class={`bar-${level}`} d={path} />)}
          {ticks(range, width).map((tick) => <Tick key={tick} at={tick} range={range} width={width} />)}
          {drag.box && <rect class="selection" x={drag.box[0]} width={drag.box[1] - drag.box[0]} y="0" height={HEIGHT} />}
        </svg>
        <span class="most" aria-hidden="true">{stacks.most > 0 ? count(stacks.most) : ''}</span>
      </div>
      <figcaption>
        {LEVELS.filter((level) => stacks.totals[level] > 0).reverse().map((level) => (
          <button type="button" key={level} class="key" title="only these lines" onClick={() => onLevel(level)}><span class="hidden">Only </span><span class={`swatch level-${level}`} aria-hidden="true" />{level === 'none' ? 'no level' : level} {count(at >= 0 ? stacks.levels[level][at] ?? 0 : stacks.totals[level])}</button>
        ))}
        <span class="muted">{at >= 0 && drag.hover !== undefined ? `${clock(stacks.start + BigInt(at) * stacks.step)}: ${counted(stacks.sums[at] ?? 0, 'line')}` : `${counted(total, 'line')} in all; drag to zoom`}</span>
      </figcaption>
    </figure>
  );
}

function Tick({ at, range, width }: { at: bigint; range: Range; width: number }) {
  const x = (Number(at - range.start) / Number(range.end - range.start)) * width;
  const long = range.end - range.start > 86_400_000_000_000n;
  const text = long ? clock(at, true).slice(5, 16) : clock(at).slice(0, range.end - range.start < 600_000_000_000n ? 8 : 5);
  return <text x={x} y={HEIGHT + 14} text-anchor="middle">{text}</text>;
}

/** The width of an element, as it changes. */
export function useWidth(box: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(600);
  // Before the first drawing is seen: nothing is ever wider than its box.
  useLayoutEffect(() => { if (box.current) setWidth(Math.max(50, box.current.clientWidth)); }, []);
  useEffect(() => {
    const seen = new ResizeObserver(([entry]) => { if (entry) setWidth(Math.max(50, Math.floor(entry.contentRect.width))); });
    if (box.current) seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  return width;
}

function useDrag(range: Range, width: number, step: bigint, onZoom: (range: Range) => void) {
  const [hover, setHover] = useState<bigint>();
  const [from, setFrom] = useState<number>();
  const [until, setUntil] = useState(0);
  const place = (event: PointerEvent) => {
    const left = (event.currentTarget as HTMLElement).getBoundingClientRect().left;
    return Math.min(width, Math.max(0, event.clientX - left));
  };
  const instant = (x: number) => range.start + BigInt(Math.round((x / width) * Number(range.end - range.start)));
  const box: [number, number] | undefined = from === undefined ? undefined : [Math.min(from, until), Math.max(from, until)];
  const handlers = {
    onPointerDown: (event: PointerEvent) => {
      if (event.button !== 0) return;
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      setFrom(place(event));
      setUntil(place(event));
    },
    onPointerMove: (event: PointerEvent) => {
      setHover(instant(place(event)));
      setUntil(place(event));
    },
    onPointerUp: () => {
      setFrom(undefined);
      if (!box || box[1] - box[0] < 4) return;
      const [start, end] = [instant(box[0]), instant(box[1])];
      // Whole buckets, unless the stroke lies within one: then just what was marked.
      const wide = end - start >= step;
      onZoom({ start: wide ? (start / step) * step : start, end: wide ? ((end + step - 1n) / step) * step : end });
    },
    onPointerLeave: () => setHover(undefined),
    onPointerCancel: () => setFrom(undefined),
  };
  return { hover, box, handlers };
}
