// Where an alert leads: what its labels say of container and service, at its time. And which of an annotation's text is a link. Pure.
import { to } from '../core/address';
import { quote } from '../core/logql';
import { isoNanos, SECOND } from '../core/time';

export interface Leads {
  logs?: string;
  traces?: string;
  metrics: string;
  container?: string;
}

/** Before an alert became active, and after. */
const AROUND = 900n * SECOND;

/** Links for an alert of `query` that is active since `since`; what its labels do not name has none. */
export function leadsOf(labels: Record<string, string>, query: string, since: bigint, now: bigint): Leads {
  const range = { from: isoNanos(since - AROUND), ...(since + AROUND < now ? { to: isoNanos(since + AROUND) } : {}) };
  const container = labels['container'] || (labels['name'] ?? '');
  const found: [string, string][] = [['namespace', labels['namespace'] ?? ''], ['pod', labels['pod'] ?? ''], ['container', container]];
  const of = found.filter(([, value]) => value !== '');
  const named = of.some(([name]) => name !== 'namespace');
  const service = labels['service_name'] || labels['service'] || labels['app'] || container;
  return {
    ...(of.length > 0 ? { logs: to('/logs', { q: `{${of.map(([name, value]) => `${name}=${quote(value)}`).join(', ')}}`, ...range }) } : {}),
    ...(service ? { traces: to('/traces', { service, ...range }) } : {}),
    metrics: to('/graph', { q: query, ...range }),
    ...(named ? { container: to('/', { filter: of.map(([, value]) => value).join(' ') }) } : {}),
  };
}

/** The text in pieces: those at odd places are addresses that may be linked, http and https alone. */
export function linkPieces(text: string): string[] {
  const pieces: string[] = [];
  let plain = '';
  for (const [i, piece] of text.split(/(https?:\/\/[^\s<>"'`]+)/i).entries()) {
    // A sentence's full stop or bracket is not the address'.
    const address = i % 2 === 1 ? piece.replace(/[.,;:!?)\]}]+$/, '') : '';
    if (!address || !URL.canParse(address)) plain += piece;
    else {
      pieces.push(plain, address);
      plain = piece.slice(address.length);
    }
  }
  return [...pieces, plain];
}
