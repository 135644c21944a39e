// A sparkline and a bar against a limit. Decoration beside a number: the number is what is read out.

const WIDTH = 56;
const HEIGHT = 18;

/** The points as a filled line, from 0 to `top` (or their own maximum). */
export function Spark({ points, top }: { points: [number, number][] | undefined; top?: number | null | undefined }) {
  if (!points || points.length < 2) return <svg class="spark" width={WIDTH} height={HEIGHT} aria-hidden="true" />;
  const line = sparkPath(points, top ?? undefined);
  return (
    <svg class="spark" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <path class="fill" d={`${line}L${WIDTH},${HEIGHT}L0,${HEIGHT}Z`} />
      <path class="line" d={line} />
    </svg>
  );
}

/** The path of a sparkline: time to the width, value to the height. */
export function sparkPath(points: [number, number][], top?: number): string {
  const first = points[0]![0];
  const length = points[points.length - 1]![0] - first || 1;
  const most = Math.max(...points.map(([, value]) => value), 1e-12);
  const scale = top && top > 0 && most / top > 0.2 ? Math.max(top, most) : most * 1.15;
  return points
    .map(([at, value], i) => {
      const x = ((at - first) / length) * WIDTH;
      const y = HEIGHT - 1 - (Math.max(0, value) / scale) * (HEIGHT - 3);
      return `${i === 0 ? 'M' : 'L'}${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join('');
}

/** How much of a limit is used; nothing without a limit. */
export function Meter({ value, limit, what }: { value: number | null; limit: number | null; what: string }) {
  if (value === null || !limit || limit <= 0) return <span class="meter none" aria-hidden="true" />;
  const ratio = Math.min(1, value / limit);
  const grade = ratio > 0.95 ? 'bad' : ratio > 0.8 ? 'warn' : 'good';
  return (
    <span class={`meter ${grade}`} role="img" aria-label={`${Math.round(ratio * 100)}% of the ${what} limit`}>
      <span style={{ width: `${(ratio * 100).toFixed(1)}%` }} />
    </span>
  );
}
