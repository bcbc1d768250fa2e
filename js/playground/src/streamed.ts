/** The streaming side of a run: reads the stream into its pane, and can have its wire cut. */

import {
  HeadwaterError,
  type ReadOptions,
  type Stream,
  type StreamEvent,
  type StreamState,
} from "@headwater/client";
import { shared } from "@headwater/client/tabs";

import type { Pane } from "./pane.js";

/** A stream by its id, or what begins one. */
export type Source = string | ((own: ReadOptions) => Stream);

export interface Streamed {
  /** Resolves when nothing more will come, in whatever way, with the error if there is one. */
  finished: Promise<unknown>;
  /** Ends the generation, for all tabs. */
  stop(): Promise<void>;
  /** Breaks the connection under the client, as a bad network would. */
  cut(): void;
}

export interface Watch {
  onId(id: string): void;
  onModel(model: string): void;
  /** `held`: whether this tab is the one that has the connection. */
  onState(state: StreamState, held: boolean): void;
  onPosition(position: string): void;
}

// How long Stop waits for the server before the page stops listening to it.
const PATIENCE_MS = 3000;

/** A fetch whose present request can be broken from outside, unseen by its caller. */
function severable(): { fetch: typeof fetch; cut(): void; used(): boolean } {
  let wire: AbortController | undefined;
  return {
    cut: () => wire?.abort(),
    used: () => wire !== undefined,
    fetch: (input, init = {}) => {
      wire = new AbortController();
      const signals = init.signal ? [init.signal, wire.signal] : [wire.signal];
      return fetch(input, { ...init, signal: AbortSignal.any(signals) });
    },
  };
}

function take(pane: Pane, event: StreamEvent, watch: Watch): void {
  switch (event.type) {
    case "stream-start":
      return watch.onModel(event.model);
    case "text-delta":
    case "refusal-delta":
      pane.tokens++;
      return pane.add(event.text);
    case "reasoning-delta":
      pane.tokens++;
      return pane.add("", event.text);
    case "stream-end":
      pane.tokens = event.usage?.output_tokens ?? pane.tokens;
      pane.timing = event.timing;
      return pane.end(event.reason);
    case "stream-error":
      pane.timing = event.timing;
      return pane.fail(
        new HeadwaterError(event.code, event.message, { retryable: event.retryable }),
      );
  }
}

async function read(source: Stream, pane: Pane, left: AbortSignal, watch: Watch): Promise<unknown> {
  try {
    for await (const event of source) {
      watch.onId(source.id!);
      take(pane, event, watch);
    }
    pane.end(null);
    return undefined;
  } catch (error) {
    if (left.aborted) pane.end("cancelled");
    else pane.fail(error);
    return error;
  }
}

/** Ends the generation; hangs up where the server cannot be told soon. The telling goes on. */
async function stop(source: Stream, finished: Promise<unknown>, hangUp: () => void): Promise<void> {
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

/** Reads the stream, together with the other tabs that do, and writes what comes into the pane. */
export function startStreamed(pane: Pane, what: Source, watch: Watch): Streamed {
  const wire = severable();
  const leave = new AbortController();
  const source = shared(what, {
    // Relative, like every address of the page: it may be mounted under a prefix.
    base: ".",
    fetch: wire.fetch,
    signal: leave.signal,
    onState: (state) => {
      // How it ended the events say, and better.
      if (state !== "done" && state !== "failed") pane.setState(state);
      const { gaps } = pane.lane;
      if (state === "reconnecting") gaps.push([pane.elapsed, null]);
      else if (gaps.at(-1)) gaps.at(-1)![1] ??= pane.elapsed;
      watch.onState(state, wire.used());
    },
    onPosition: watch.onPosition,
  });
  const finished = read(source, pane, leave.signal, watch);
  return { finished, stop: () => stop(source, finished, () => leave.abort()), cut: wire.cut };
}
