/** Reads a stream for whoever shows it, together with the other tabs that do. */

import type { ReadOptions, Stream, StreamEvent, StreamState } from "@headwater/client";
import { shared } from "@headwater/client/tabs";

import { observed, type Trace } from "./journal.js";

/** A stream by its id, or what begins one. */
export type Source = string | ((own: ReadOptions) => Stream);

/** Shows a stream. */
export interface Reader {
  /** An event, with the position of the last one that has any. */
  event(event: StreamEvent, position: string | undefined): void;
  /** How the connection is; how the stream ends is told by `event` and `end`. */
  state(state: StreamState): void;
  /** The name of the stream is known; called once. */
  named(id: string): void;
  /** Nothing more will come. With `left`, since nobody waited for more; with `error`, against hope. */
  end(error: unknown, left: boolean): void;
}

export interface Following {
  /** Resolves, never rejects, when nothing more will come: with the error, if there is one. */
  finished: Promise<unknown>;
  /** Ends the generation, for all tabs. */
  stop(): Promise<void>;
}

export interface FollowOptions {
  /** A connection of this tab's own, through this. */
  fetch?: typeof fetch;
  /** Takes down when what happened. */
  trace?: Trace;
}

// How long a stop waits for the server before the page stops listening to it.
const PATIENCE_MS = 3000;

async function read(
  source: Stream,
  reader: Reader,
  trace: Trace | undefined,
  left: AbortSignal,
): Promise<unknown> {
  let named = false;
  let error: unknown;
  try {
    for await (const event of source) {
      if (!named && source.id) reader.named(source.id);
      named ||= source.id !== undefined;
      trace?.event(event);
      reader.event(event, source.position);
    }
  } catch (thrown) {
    error = thrown;
  }
  trace?.end();
  reader.end(error, left.aborted);
  return error;
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

export function follow(what: Source, reader: Reader, options: FollowOptions = {}): Following {
  const { fetch: send = fetch, trace } = options;
  const leave = new AbortController();
  const own: ReadOptions = {
    // Relative, like every address of the page: it may be mounted under a prefix.
    base: ".",
    fetch: trace ? observed(send, trace) : send,
    signal: leave.signal,
    onState: (state) => {
      if (state !== "done" && state !== "failed") reader.state(state);
    },
  };
  // Other tabs must not see what is done to the connection of this one.
  const source = options.fetch && typeof what !== "string" ? what(own) : shared(what, own);
  const finished = read(source, reader, trace, leave.signal);
  return { finished, stop: () => stop(source, finished, () => leave.abort()) };
}
