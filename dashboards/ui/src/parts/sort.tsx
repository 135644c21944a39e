// Table headings that sort; the order is in the address as `sort=-cpu`.
import { setParams } from '../core/route';

export interface Column<T> {
  key: string;
  title: string;
  /** What rows are ordered by; none: the column does not sort. */
  by?: (row: T) => string | number;
  /** Numbers stand right, and start with the largest. */
  number?: boolean;
  hint?: string;
}

export function Heading<T>({ column, sort }: { column: Column<T>; sort: string }) {
  const key = sort.replace(/^-/, '');
  const active = key === column.key;
  const order = active ? (sort.startsWith('-') ? 'descending' : 'ascending') : undefined;
  const next = active ? (sort.startsWith('-') ? column.key : `-${column.key}`) : column.number ? `-${column.key}` : column.key;
  return (
    <th scope="col" class={column.number ? 'number' : undefined} aria-sort={order} title={column.hint}>
      {column.by
        ? <button type="button" onClick={() => setParams({ sort: next }, 'replace')}>{column.title}<span aria-hidden="true" class="order">{order ? (order === 'ascending' ? '▲' : '▼') : ''}</span></button>
        : column.title}
    </th>
  );
}

/** The rows in the order `sort` names; rows that are equal keep their order. */
export function sorted<T>(rows: T[], columns: Column<T>[], sort: string): T[] {
  const by = columns.find((column) => column.key === sort.replace(/^-/, ''))?.by;
  if (!by) return rows;
  const turn = sort.startsWith('-') ? -1 : 1;
  return [...rows].sort((one, two) => {
    const [a, b] = [by(one), by(two)];
    if (typeof a === 'number' && typeof b === 'number') return (a - b) * turn;
    return String(a).localeCompare(String(b), 'en', { numeric: true }) * turn;
  });
}
