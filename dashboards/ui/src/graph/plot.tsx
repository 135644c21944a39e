// uPlot in a Preact shape: made anew when the data's form changes, sized by its box, zoomed by dragging, read by pointer or arrow keys.
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { clock } from '../core/format';
import { dark } from '../core/theme';
import { useWidth } from '../logs/histogram';
import { lonely, timeLabels, type Steps } from './series';
import { BYTE_STEPS, inUnit, tickLabels, type Unit } from './unit';

export const COLORS = ['#3f8fbf', '#c9803a', '#4f9d69', '#8d77c4', '#b95f86', '#5aa5a0', '#a69137', '#7688a0', '#b86a52', '#6f9a3c'];
const HEIGHT = 300;
/** Series that the tooltip names; the rest is counted. */
const TOLD = 12;

interface Props {
  data: [number[], ...(number | null)[][]];
  names: string[];
  hidden: ReadonlySet<string>;
  steps: Steps;
  unit: Unit;
  onZoom: (from: number, to: number) => void;
  summary: string;
}

/** Where the cursor stands: an instant's place in the data, and pixels in the box. */
interface Cursor {
  at: number;
  left: number;
}

export function Plot({ data, names, hidden, steps, unit, onZoom, summary }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useWidth(box);
  const [cursor, setCursor] = useState<Cursor>();
  useEffect(() => {
    const made = new uPlot(options({ names, hidden, steps, unit, onZoom }, width, setCursor), data as uPlot.AlignedData, box.current!);
    plot.current = made;
    return () => made.destroy();
  }, [data, hidden, unit, dark.value]);
  useEffect(() => plot.current?.setSize({ width, height: HEIGHT }), [width]);
  const onKey = (event: KeyboardEvent) => {
    const made = plot.current;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (!made || by === undefined) return;
    event.preventDefault();
    const last = data[0].length - 1;
    const at = Math.min(last, Math.max(0, (made.cursor.idx ?? last + (by < 0 ? 1 : 0)) + by));
    made.setCursor({ left: made.valToPos(data[0][at]!, 'x'), top: HEIGHT / 3 });
  };
  return (
    <div class="plot" tabIndex={0} role="group" aria-label={`${summary}. Arrow keys read it.`} onKeyDown={onKey}>
      <div ref={box} />
      {cursor && <Tooltip cursor={cursor} data={data} names={names} hidden={hidden} unit={unit} right={cursor.left > width / 2} />}
    </div>
  );
}

function Tooltip({ cursor, data, names, hidden, unit, right }: Pick<Props, 'data' | 'names' | 'hidden' | 'unit'> & { cursor: Cursor; right: boolean }) {
  const at = data[0][cursor.at];
  if (at === undefined) return null;
  const rows = names.map((name, i) => ({ name, i, value: data[i + 1]?.[cursor.at] })).filter(({ name, value }) => !hidden.has(name) && value != null)
    .sort((one, two) => two.value! - one.value!);
  return (
    <div class="tooltip" role="status" style={right ? { right: `calc(100% - ${cursor.left - 10}px)` } : { left: `${cursor.left + 14}px` }}>
      <time>{clock(BigInt(Math.round(at * 1000)) * 1_000_000n, true).slice(0, 19)}</time>
      {rows.length === 0 && <span class="muted">no value</span>}
      {rows.slice(0, TOLD).map(({ name, i, value }) => (
        <span key={i} class="told"><span class="swatch" style={{ background: COLORS[i % COLORS.length]! }} aria-hidden="true" /><span class="told-name">{name}</span> <b>{inUnit(value!, unit)}</b></span>
      ))}
      {rows.length > TOLD && <span class="muted">and {rows.length - TOLD} more</span>}
    </div>
  );
}

function options({ names, hidden, steps, unit, onZoom }: Pick<Props, 'names' | 'hidden' | 'steps' | 'unit' | 'onZoom'>, width: number, onCursor: (at: Cursor | undefined) => void): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const [muted, border] = [style.getPropertyValue('--muted'), style.getPropertyValue('--border')];
  const axis = { stroke: muted, grid: { stroke: border, width: 1 }, ticks: { stroke: border, width: 1 }, font: '11px system-ui, sans-serif' };
  const left = 78;
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false } },
    // The range that was asked for, also where nothing was stored in it.
    scales: { x: { range: () => [steps.start, steps.end] } },
    axes: [
      { ...axis, space: 70, values: (_plot, ticks) => timeLabels(ticks) },
      { ...axis, size: left, ...(unit.startsWith('bytes') ? { incrs: BYTE_STEPS } : {}), values: (_plot, ticks) => tickLabels(ticks, unit) },
    ],
    series: [{}, ...names.map((name, i) => ({
      label: name, stroke: COLORS[i % COLORS.length]!, width: 1.4, show: !hidden.has(name), spanGaps: false,
      points: { show: true, size: 4, fill: COLORS[i % COLORS.length]!, filter: (made: uPlot, series: number) => lonely(Array.from(made.data[series]!)) },
    }))],
    hooks: {
      setCursor: [(made) => {
        const at = made.cursor.idx;
        onCursor(at == null || (made.cursor.left ?? -1) < 0 ? undefined : { at, left: made.cursor.left! + left });
      }],
      setSelect: [(made) => {
        if (made.select.width < 4) return;
        onZoom(made.posToVal(made.select.left, 'x'), made.posToVal(made.select.left + made.select.width, 'x'));
        made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}
