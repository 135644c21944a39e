// Oldest or newest first: one control for every list of lines and traces, kept in the address as `order`.
import { params, setParams } from '../core/route';
import { readOrder, type Order } from '../logs/order';

interface Props {
  preferred: Order;
  /** What the two are called where lines do not stand by their time. */
  names?: Record<Order, string>;
}

const BY_TIME = { newest: 'Newest first', oldest: 'Oldest first' };

export function OrderPicker({ preferred, names = BY_TIME }: Props) {
  const order = readOrder(params.value, preferred);
  const choose = (next: string) => setParams({ order: next === preferred ? undefined : next });
  return (
    <select aria-label="Order" value={order} onChange={(event) => choose(event.currentTarget.value)}>
      <option value="newest">{names.newest}</option>
      <option value="oldest">{names.oldest}</option>
    </select>
  );
}
