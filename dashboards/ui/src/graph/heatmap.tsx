// A series of native histograms: a heat map of its buckets over time, read by pointer or arrow keys, and one histogram as bars.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { clock, short } from '../core/format';
import { dark } from '../core/theme';
import type { Histogram, Series } from '../core/types';
import { useWidth } from '../logs/histogram';
import { bars, heat, interval, type Heat } from './heat';
import { seriesName, type Steps } from './series';
import { boundUnit, inUnit, isRate, type Unit } from './unit';

const HEIGHT = 220;
/** Bounds that are named beside the map. */
const NAMED = 6;
/** The faintest that a cell with an observation is. */
const FAINT = 0.12;

interface Place {
  column: number;
  row: number;
}

/** A bound in the query's unit; the infinite ones as they are. */
function boundText(bound: number, unit: Unit): string {
  return Number.isFinite(bound) ? inUnit(bound, unit) : bound > 0 ? '+Inf' : '-Inf';
}

export function HeatMap({ series, steps, query }: { series: Series; steps: Steps; query: string }) {
  const unit = boundUnit(query);
  const observations = isRate(query) ? 'observations a second' : 'observations';
  const map = useMemo(() => heat(series, steps), [series, steps]);
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(box);
  const [place, setPlace] = useState<Place>();
  const rows = map.bounds.length - 1;
  useEffect(() => { if (canvas.current) draw(canvas.current, map, width, place); }, [map, width, place, dark.value]);
  const move = (next: Place) => setPlace({ column: clamp(next.column, map.times.length), row: clamp(next.row, rows) });
  const onKey = (event: KeyboardEvent) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [-10, 0], PageDown: [10, 0] }[event.key];
    if (!by || rows < 1) return;
    event.preventDefault();
    move(place ? { column: place.column + by[0]!, row: place.row + by[1]! } : { column: map.times.length - 1, row: 0 });
  };
  const onPointer = (event: PointerEvent) => {
    const at = canvas.current!.getBoundingClientRect();
    if (rows > 0) move({ column: Math.floor(((event.clientX - at.left) / at.width) * map.times.length), row: Math.floor((1 - (event.clientY - at.top) / at.height) * rows) });
  };
  const name = seriesName(series.metric);
  const named = Array.from({ length: Math.min(NAMED, rows + 1) }, (_, i) => Math.round((i * rows) / Math.max(1, Math.min(NAMED, rows + 1) - 1)));
  return (
    <figure class="heat">
      <figcaption class="series-name mono">{name}</figcaption>
      {rows < 1 ? <p class="muted">No histogram here has an observation.</p> : (
        <div class="heat-plot" tabIndex={0} role="group" aria-label={`Heat map of ${name}: its buckets over time. Arrow keys read it.`} onKeyDown={onKey}>
          <div class="heat-bounds" aria-hidden="true">{named.map((i) => <span key={i} style={{ bottom: `${(100 * i) / rows}%` }}>{boundText(map.bounds[i]!, unit)}</span>)}</div>
          <div class="heat-box" ref={box}><canvas ref={canvas} aria-hidden="true" onPointerMove={onPointer} onPointerLeave={() => setPlace(undefined)} /></div>
        </div>
      )}
      <p class="muted heat-said" role="status">{place && rows > 0 ? `${saidOf(map, place, unit)}${map.cells[place.column] ? ` ${observations}` : ''}` : `From ${time(map.times[0]!)} to ${time(map.times[map.times.length - 1]!)}; the darkest cell has ${short(map.most)} ${observations}`}</p>
    </figure>
  );
}

function clamp(value: number, count: number): number {
  return Math.max(0, Math.min(count - 1, value));
}

function time(seconds: number): string {
  return clock(BigInt(Math.round(seconds * 1000)) * 1_000_000n, true).slice(0, 19);
}

function saidOf(map: Heat, { column, row }: Place, unit: Unit): string {
  const rows = map.cells[column];
  const bucket = `${boundText(map.bounds[row]!, unit)} to ${boundText(map.bounds[row + 1]!, unit)}`;
  if (!rows) return `${time(map.times[column]!)}: no histogram`;
  return `${time(map.times[column]!)}, ${bucket}: ${short(rows[row]!)} of ${short(rows.reduce((sum, count) => sum + count, 0))}`;
}

function draw(canvas: HTMLCanvasElement, map: Heat, width: number, place: Place | undefined) {
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(HEIGHT * ratio)];
  const context = canvas.getContext('2d');
  if (!context) return;
  const [cell, row] = [canvas.width / map.times.length, canvas.height / (map.bounds.length - 1)];
  map.cells.forEach((rows, column) => rows?.forEach((count, i) => {
    if (count === 0) return;
    // The root shows small counts beside large ones.
    context.fillStyle = `rgb(63 143 191 / ${FAINT + (1 - FAINT) * Math.sqrt(count / map.most)})`;
    context.fillRect(column * cell, canvas.height - (i + 1) * row, Math.ceil(cell), Math.ceil(row));
  }));
  if (!place) return;
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue('--text');
  context.lineWidth = ratio;
  context.strokeRect(place.column * cell, canvas.height - (place.row + 1) * row, cell, row);
}

/** One histogram: count and sum, and its buckets on demand. */
export function HistogramCell({ histogram }: { histogram: Histogram }) {
  const rows = bars(histogram);
  return (
    <details class="buckets">
      <summary>count {histogram.count}, sum {histogram.sum}, {rows.length === 1 ? '1 bucket' : `${rows.length} buckets`}</summary>
      {rows.length > 0 && (
        <table>
          <thead><tr><th scope="col">Bucket</th><th scope="col"><span class="hidden">Share of the largest</span></th><th scope="col" class="number">Observations</th></tr></thead>
          <tbody>{rows.map(({ bucket, share }) => <tr key={`${bucket[1]} ${bucket[2]}`}><th scope="row" class="mono">{interval(bucket)}</th><td><span class="bucket-bar" style={{ width: `${Math.round(share * 100)}%` }} /></td><td class="number mono">{bucket[3]}</td></tr>)}</tbody>
        </table>
      )}
    </details>
  );
}
