/** When what happened to each trace of this page: what the waterfall draws. */

import { isTerminal, type StreamEvent, type Timing } from "@headwater/client";

/** All times are on performance.now()'s clock, in milliseconds. */
export class Trace {
  readonly asked = performance.now();
  /** The address of the first request, under which the browser keeps its own timing. */
  url = "";
  /** The head was there. */
  head: number | null = null;
  /** The first piece of text, thought or call was there … */
  first: number | null = null;
  /** … and on the screen. */
  painted: number | null = null;
  ended: number | null = null;
  readonly arrivals: number[] = [];
  timing: Timing | null = null;
  outcome = "running";

  /** `tab`: where it was asked for. `replayed`: it began before the page did. */
  constructor(
    readonly tab: string,
    public model: string,
    readonly replayed = false,
  ) {}

  event(event: StreamEvent): void {
    const now = performance.now();
    if (event.type === "stream-start") this.model = event.model;
    else if (event.type.endsWith("-delta")) {
      this.first ??= now;
      this.arrivals.push(now);
    }
    if (!isTerminal(event)) return;
    this.timing = event.timing;
    this.outcome = event.type === "stream-end" ? (event.reason ?? "ended") : event.code;
  }

  /** Text was put on the page; called as often as one likes. */
  shown(): void {
    if (this.painted !== null || this.first === null) return;
    this.painted = NaN;
    // What is put there in this frame is on the screen when the next one begins.
    requestAnimationFrame(() => (this.painted = performance.now()));
  }

  end(): void {
    this.ended = performance.now();
    if (this.outcome === "running") this.outcome = "no end";
    for (const listener of listeners) listener();
  }
}

// Enough to compare; a page that is left open for days does not grow.
const KEPT = 30;

const listeners: (() => void)[] = [];
export const traces: Trace[] = [];

/** Calls back when a trace begins or ends. */
export const onTraces = (listener: () => void): unknown => listeners.push(listener);

/** A trace begins now. */
export function note(tab: string, model: string, replayed = false): Trace {
  const trace = new Trace(tab, model, replayed);
  traces.unshift(trace);
  traces.length = Math.min(traces.length, KEPT);
  for (const listener of listeners) listener();
  return trace;
}

/** This fetch, which takes down when the first request was sent and answered. */
export function observed(send: typeof fetch, trace: Trace): typeof fetch {
  return async (input, init) => {
    const first = !trace.url;
    if (first) trace.url = new URL(String(input), document.baseURI).href;
    const answer = await send(input, init);
    if (first) trace.head = performance.now();
    return answer;
  };
}
