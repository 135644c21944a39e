// The address is the state: path and query string as signals, changed only by `go` and `setParams`. Knows no view.
import { computed, signal } from '@preact/signals';
import { to as address, withParams } from './address';

const here = signal(window.location.pathname + window.location.search);

export const path = computed(() => new URL(here.value, 'http://page').pathname);
export const params = computed(() => new URL(here.value, 'http://page').searchParams);

window.addEventListener('popstate', () => {
  here.value = window.location.pathname + window.location.search;
});

/** An address of the page with parameters, for links: of the same tenant. */
export function to(base: string, patch: Record<string, string | undefined> = {}): string {
  return address(base, { ...patch, tenant: params.value.get('tenant') ?? undefined });
}

export type Step = 'push' | 'replace';

/** Goes to an address of the page. The same address again is no new step in the history. */
export function go(to: string, step: Step = 'push'): void {
  if (to === here.value) return;
  if (step === 'push') window.history.pushState(null, '', to);
  else window.history.replaceState(null, '', to);
  const moved = new URL(to, 'http://page').pathname !== path.value;
  here.value = to;
  if (moved && step === 'push') window.scrollTo(0, 0);
}

export function setParams(patch: Record<string, string | undefined>, step: Step = 'push'): void {
  go(withParams(path.value, params.value, patch), step);
}

/** A link that names no tenant leads to the one that is looked at. */
function sameTenant(target: string): string {
  const tenant = params.value.get('tenant');
  const url = new URL(target, 'http://page');
  if (!tenant || url.searchParams.has('tenant')) return target;
  return withParams(url.pathname, url.searchParams, { tenant });
}

/** Lets plain clicks on the page's own links change the view without loading it anew. */
export function catchLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest?.('a[href]');
  const target = link?.getAttribute('href');
  if (!target?.startsWith('/') || target.startsWith('//') || target.startsWith('/api/') || link?.getAttribute('target')) return;
  event.preventDefault();
  go(sameTenant(target));
}
