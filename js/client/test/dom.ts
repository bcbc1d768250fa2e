/**
 * A document for tests, to be imported before what looks for one; fetch and AbortController stay
 * Node's. Its frames come when a test says so.
 */

import { Window } from "happy-dom";

const window = new Window({ url: "http://localhost/" });
const frames = new Map<number, () => void>();
let last = 0;

const NAMES = `document navigator sessionStorage customElements Node Element HTMLElement SVGElement
  HTMLMediaElement Text Comment CSSStyleSheet CustomEvent`;
for (const name of NAMES.split(/\s+/))
  Object.assign(globalThis, { [name]: window[name as keyof typeof window] });

Object.assign(globalThis, {
  window,
  requestAnimationFrame: (callback: () => void) => (frames.set(++last, callback), last),
  cancelAnimationFrame: (id: number) => frames.delete(id),
});

/** Calls what waits for the next frame; gives how many did. */
export function frame(): number {
  const due = [...frames.values()];
  frames.clear();
  for (const callback of due) callback();
  return due.length;
}
