// Remote write out: of each receiver what waits for it, how far it is behind, and why it took last something not.
import { ago, bytes, count, duration, nanos } from '../core/format';
import { SECOND } from '../core/time';
import type { ReceiverStatus } from '../core/types';

/** Behind by more than this is worth a colour: twelve times what records wait for company. */
const LAG_SECONDS_MAX = 60;

/** How old the newest sample is that it has, in words. */
export function lag(one: ReceiverStatus): string {
  if (one.lag_seconds === null) return 'took nothing yet';
  return one.lag_seconds === 0 ? 'none' : duration(BigInt(Math.round(one.lag_seconds * 1000)) * (SECOND / 1000n));
}

/** Whether records wait for longer than they should. */
export function isBehind(one: ReceiverStatus): boolean {
  return one.lag_seconds === null ? one.pending_records > 0 && one.last_error !== null : one.lag_seconds > LAG_SECONDS_MAX;
}

/** Its last failure with its age; empty where there was none since the start. */
export function failure(one: ReceiverStatus, now: bigint): string {
  return one.last_error ? `${one.last_error.text}, ${ago(nanos(one.last_error.time), now)} ago` : '';
}

export function Receivers({ receivers, now }: { receivers: ReceiverStatus[]; now: bigint }) {
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Remote write">
      <table>
        <thead><tr><th scope="col">Remote write</th><th scope="col" class="number" title="records of the bus that are not sent yet">Pending</th><th scope="col" class="number" title="of its queue on disk">Queue</th><th scope="col" class="number" title="how old the newest sample is that it has">Lag</th><th scope="col">Last failure</th></tr></thead>
        <tbody>{receivers.map((one) => <ReceiverRow key={one.name} one={one} now={now} />)}</tbody>
      </table>
    </div>
  );
}

function ReceiverRow({ one, now }: { one: ReceiverStatus; now: bigint }) {
  return (
    <tr>
      <th scope="row">{one.name}</th>
      <td class="number">{count(one.pending_records)}</td>
      <td class="number">{bytes(one.pending_bytes)}</td>
      <td class={`number ${isBehind(one) ? 'bad' : ''}`}>{lag(one)}</td>
      <td>{failure(one, now) || 'none'}</td>
    </tr>
  );
}
