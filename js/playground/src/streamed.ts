/** The streaming side of a run: reads the stream into its pane, and can have its wire cut. */

import {
  HeadwaterError,
  stream,
  type Stream,
  type StreamEvent,
  type StreamState,
} from "@headwater/client";

import type { Pane } from "./pane.js";

export interface Streamed {
  /** Resolves when nothing more will come, in whatever way; never rejects. */
  finished: Promise<void>;
  /** Ends the generation. */
  stop(): Promise<void>;
  /** Breaks the connection under the client, as a bad network would. */
  cut(): void;
}

export interface Watch {
  onState(state: StreamState): void;
  onPosition(position: string): void;
}

// How long Stop waits for the server before the page stops listening to it.
const PATIENCE_MS = 3000;

/** A fetch whose present request can be broken from outside, unseen by its caller. */
function severable(): { fetch: typeof fetch; cut(): void } {
  let wire = new AbortController();
  return {
    cut: () => wire.abort(),
    fetch: (input, init = {}) => {
      wire = new AbortController();
      const signals = init.signal ? [init.signal, wire.signal] : [wire.signal];
      return fetch(input, { ...init, signal: AbortSignal.any(signals) });
    },
  };
}

function take(pane: Pane, event: StreamEvent): void {
  switch (event.type) {
    case "text-delta":
    case "refusal-delta":
      pane.tokens++;
      return pane.add(event.text);
    case "reasoning-delta":
      pane.tokens++;
      return pane.add("", event.text);
    case "stream-end":
      pane.tokens = event.usage?.output_tokens ?? pane.tokens;
      return pane.end(event.reason);
    case "stream-error":
      return pane.fail(new HeadwaterError(event.code, event.message, event));
  }
}

async function read(source: Stream, pane: Pane, left: AbortSignal): Promise<void> {
  try {
    for await (const event of source) take(pane, event);
    pane.end(null);
  } catch (error) {
    if (left.aborted) pane.end("cancelled");
    else pane.fail(error);
  }
}

/** Ends the generation; hangs up where the server cannot be told soon. The telling goes on. */
async function stop(source: Stream, finished: Promise<void>, hangUp: () => void): Promise<void> {
  const timer = setTimeout(hangUp, PATIENCE_MS);
  try {
    await source.stop();
    await finished;
  } catch (error) {
    hangUp();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Starts the stream, and writes what comes into the pane. */
export function startStreamed(pane: Pane, prompt: string, model: string, watch: Watch): Streamed {
  const wire = severable();
  const leave = new AbortController();
  const source = stream("v1/streams", {
    body: { prompt, ...(model && { model }) },
    // Relative, like every address of the page: it may be mounted under a prefix.
    base: ".",
    fetch: wire.fetch,
    signal: leave.signal,
    onState: (state) => {
      pane.setState(state);
      const { gaps } = pane.lane;
      if (state === "reconnecting") gaps.push([pane.elapsed, null]);
      else if (gaps.at(-1)) gaps.at(-1)![1] ??= pane.elapsed;
      watch.onState(state);
    },
    onPosition: watch.onPosition,
  });
  const finished = read(source, pane, leave.signal);
  return { finished, stop: () => stop(source, finished, () => leave.abort()), cut: wire.cut };
}
