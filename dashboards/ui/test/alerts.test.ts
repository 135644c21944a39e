import { expect, test } from 'vitest';
import { leadsOf, linkPieces } from '../src/alerts/links';
import { SECOND } from '../src/core/time';

const SINCE = 1_790_000_000n * SECOND;
const read = (address: string | undefined) => [new URL(address ?? '', 'http://page').pathname, Object.fromEntries(new URL(address ?? '', 'http://page').searchParams)];

test('an alert leads to what its labels name, at its time', () => {
  const leads = leadsOf({ alertname: 'X', namespace: 'shop', pod: 'cart-1', container: 'cart', instance: 'n' }, 'up == 0', SINCE, SINCE + 7200n * SECOND);
  const at = { from: new Date((1_790_000_000 - 900) * 1000).toISOString().replace('.000', ''), to: new Date((1_790_000_000 + 900) * 1000).toISOString().replace('.000', '') };
  expect(read(leads.logs)).toEqual(['/logs', { q: '{namespace="shop", pod="cart-1", container="cart"}', ...at }]);
  expect(read(leads.traces)).toEqual(['/traces', { service: 'cart', ...at }]);
  expect(read(leads.metrics)).toEqual(['/graph', { q: 'up == 0', ...at }]);
  expect(read(leads.container)).toEqual(['/', { filter: 'shop cart-1 cart' }]);
});

test('an alert of a moment ago is open to the present; one without labels leads to its metrics alone', () => {
  const leads = leadsOf({}, 'vector(1)', SINCE, SINCE + SECOND);
  expect(Object.keys(leads)).toEqual(['metrics']);
  expect(read(leads.metrics)[1]).not.toHaveProperty('to');
  expect(read(leadsOf({ name: 'a"b' }, 'x', SINCE, SINCE).logs)[1]).toMatchObject({ q: '{container="a\\"b"}' });
});

test('only http and https become links', () => {
  expect(linkPieces('see https://wiki.example/run(1). Or')).toEqual(['see ', 'https://wiki.example/run(1', '). Or']);
  expect(linkPieces('javascript:alert(1) data:text/html,x ftp://x file:///y')).toEqual(['javascript:alert(1) data:text/html,x ftp://x file:///y']);
  expect(linkPieces('HTTP://a.example and http://b.example/?q="x"')).toEqual(['', 'HTTP://a.example', ' and ', 'http://b.example/?q=', '"x"']);
  expect(linkPieces('http://')).toEqual(['http://']);
  expect(linkPieces('')).toEqual(['']);
});
