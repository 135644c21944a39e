// uPlot in a Preact shape: made anew when the data's form changes, sized by its box, zoomed by dragging.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { clock, short } from '../core/format';
import { dark } from '../core/theme';
import { useWidth } from '../logs/histogram';

export const COLORS = ['#3f8fbf', '#c9803a', '#4f9d69', '#8d77c4', '#b95f86', '#5aa5a0', '#a69137', '#7688a0', '#b86a52', '#6f9a3c'];

interface Props {
  data: [number[], ...(number | null)[][]];
  names: string[];
  hidden: ReadonlySet<string>;
  onZoom: (from: number, to: number) => void;
  summary: string;
}

export function Plot({ data, names, hidden, onZoom, summary }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const width = useWidth(box);
  useEffect(() => {
    const made = new uPlot(options(names, hidden, width, onZoom), data as uPlot.AlignedData, box.current!);
    plot.current = made;
    return () => made.destroy();
  }, [data, hidden, dark.value]);
  useEffect(() => plot.current?.setSize({ width, height: 300 }), [width]);
  return <div ref={box} role="img" aria-label={summary} />;
}

function options(names: string[], hidden: ReadonlySet<string>, width: number, onZoom: Props['onZoom']): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const [muted, border] = [style.getPropertyValue('--muted'), style.getPropertyValue('--border')];
  const axis = { stroke: muted, grid: { stroke: border, width: 1 }, ticks: { stroke: border, width: 1 }, font: '11px system-ui, sans-serif' };
  return {
    width,
    height: 300,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false } },
    axes: [{ ...axis, values: (_plot, values) => values.map((value, i) => instant(value, i === 0, values)) }, { ...axis, size: 60, values: (_plot, values) => values.map((value) => short(value)) }],
    series: [{}, ...names.map((name, i) => ({ label: name, stroke: COLORS[i % COLORS.length]!, width: 1.4, show: !hidden.has(name), spanGaps: false, points: { show: false } }))],
    hooks: {
      setSelect: [(made) => {
        if (made.select.width < 4) return;
        onZoom(made.posToVal(made.select.left, 'x'), made.posToVal(made.select.left + made.select.width, 'x'));
        made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}

/** The reader's own clock; with the day at the first mark, and with seconds where marks stand that close. */
function instant(seconds: number, first: boolean, all: number[]): string {
  const text = clock(BigInt(Math.round(seconds)) * 1_000_000_000n, true);
  const close = (all[1] ?? 0) - (all[0] ?? 0) < 60;
  const time = text.slice(11, close ? 19 : 16);
  return first || time === '00:00' ? `${time}\n${text.slice(0, 10)}` : time;
}
