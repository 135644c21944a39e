// Who is signed in, and which tenant is looked at. The tenant stands in the address, as everything that decides what a view shows.
import { computed, signal } from '@preact/signals';
import { get, signedOut, type ApiError } from './api';
import { params, setParams } from './route';

export interface Caller {
  name: string;
  /** `anonymous` where nobody is asked who they are. */
  method: string;
  groups: string[];
  /** Those that may be named; null: whichever policies allow. */
  tenants: string[] | null;
  /** Those that the page looks at now. */
  scope: string[];
  /** Whether it may see all of weir. */
  admin: boolean;
}

/** How one may sign in. */
export interface SignInMeans {
  password: boolean;
  token: boolean;
  /** Its issuer; absent where there is none. */
  oidc?: string;
}

export const caller = signal<Caller | undefined>(undefined);

/** The tenant that the address names. */
export const tenant = computed(() => params.value.get('tenant') ?? '');

/** Asks who is signed in; afterwards `signedOut` says whether nobody is. */
export async function learnCaller(): Promise<void> {
  try {
    const known = await get<Caller>('/api/weir/v1/whoami', {});
    // Who has several tenants and names none is told so by every view: the first is as good as any.
    if (tenant.value === '' && known.scope.length === 0 && known.tenants?.[0]) setParams({ tenant: known.tenants[0] }, 'replace');
    caller.value = known;
    signedOut.value = false;
  } catch (cause) {
    if ((cause as ApiError).status === 401) caller.value = undefined;
  }
}

export const means = (signal: AbortSignal) => get<SignInMeans>('/api/weir/v1/session/methods', {}, signal);

/** What went wrong, in the server's words; empty when it went well. */
export async function signIn(credentials: { user: string; password: string } | { token: string }): Promise<string> {
  const answer = await fetch('/api/weir/v1/session', { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json' }, body: JSON.stringify(credentials) }).catch(() => undefined);
  if (!answer) return 'weir does not answer';
  if (!answer.ok) return ((await answer.json().catch(() => ({}))) as { error?: string }).error ?? `weir answered ${answer.status}`;
  await learnCaller();
  return '';
}

/** Ends the session; the issuer's own session ends on its page, where it has one. */
export async function signOut(): Promise<void> {
  const answer = await fetch('/api/weir/v1/session', { method: 'DELETE' }).catch(() => undefined);
  const told = answer?.ok ? ((await answer.json().catch(() => ({}))) as { continue?: string }) : {};
  caller.value = undefined;
  if (told.continue) window.location.assign(told.continue);
  else signedOut.value = true;
}
