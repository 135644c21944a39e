// Oldest or newest first: one control for every list of lines and traces, kept in the address as `order`.
import { params, setParams } from '../core/route';
import { readOrder, type Order } from '../logs/order';

export function OrderPicker({ preferred }: { preferred: Order }) {
  const order = readOrder(params.value, preferred);
  const choose = (next: string) => setParams({ order: next === preferred ? undefined : next });
  return (
    <select aria-label="Order" value={order} onChange={(event) => choose(event.currentTarget.value)}>
      <option value="newest">Newest first</option>
      <option value="oldest">Oldest first</option>
    </select>
  );
}
