// Light, dark, or as the system says. Kept in the browser, set on the root element; the style sheet does the rest.
import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'weir.theme';

function kept(): Theme {
  const value = read(KEY);
  return value === 'light' || value === 'dark' ? value : 'system';
}

/** What the browser keeps for us; nothing when it keeps nothing (private windows may refuse). */
export function read(key: string): string | null {
  try {
    return window.localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function write(key: string, value: string): void {
  try {
    window.localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing still shows everything.
  }
}

export const theme = signal<Theme>(kept());
const system = window.matchMedia('(prefers-color-scheme: dark)');
export const dark = signal(false);

function settle(): void {
  dark.value = theme.value === 'dark' || (theme.value === 'system' && system.matches);
}

system.addEventListener('change', settle);
effect(() => {
  settle();
  document.documentElement.dataset.theme = dark.value ? 'dark' : 'light';
});

export function toggleTheme(): void {
  theme.value = dark.value ? 'light' : 'dark';
  write(KEY, theme.value);
}
