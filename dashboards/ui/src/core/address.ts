// Addresses of the page as text. Pure; `route` goes to them.

/** The address with some parameters changed; an empty or undefined value takes one away. */
export function withParams(base: string, now: URLSearchParams, patch: Record<string, string | undefined>): string {
  const next = new URLSearchParams(now);
  for (const [name, value] of Object.entries(patch)) {
    if (value === undefined || value === '') next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  return text ? `${base}?${text}` : base;
}

/** An address with parameters, for links. */
export function to(base: string, patch: Record<string, string | undefined> = {}): string {
  return withParams(base, new URLSearchParams(), patch);
}
