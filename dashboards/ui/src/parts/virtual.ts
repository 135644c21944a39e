// TanStack's virtualiser as a hook: only the rows on screen exist, whatever the list's length. Rows are measured as they appear.
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from '@tanstack/virtual-core';
import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';
import type { RefObject } from 'preact';

interface Rows {
  count: number;
  scroller: RefObject<HTMLDivElement | null>;
  estimate: (index: number) => number;
  keyOf: (index: number) => string;
}

export function useVirtual({ count, scroller, estimate, keyOf }: Rows): Virtualizer<HTMLDivElement, HTMLElement> {
  const [, again] = useReducer((old: number) => old + 1, 0);
  const fresh = useRef(again);
  fresh.current = again;
  const options = {
    count,
    estimateSize: estimate,
    getItemKey: keyOf,
    getScrollElement: () => scroller.current,
    overscan: 12,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => fresh.current(0 as never),
  };
  const [virtual] = useState(() => new Virtualizer<HTMLDivElement, HTMLElement>(options));
  virtual.setOptions(options);
  useEffect(() => virtual._didMount(), []);
  useLayoutEffect(() => virtual._willUpdate());
  return virtual;
}
