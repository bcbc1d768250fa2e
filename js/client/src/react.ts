/** `useStream`: a stream in a React component, rendered at most once a frame. */

import { useEffect, useState, useSyncExternalStore } from "react";

import { AnswerReader, IDLE, type Answer, type AnswerOptions } from "./answer.js";
import { resume, stream } from "./index.js";

export type { Answer, Failure } from "./answer.js";

/** Looked at when something begins. For another `remember`, give the component another `key`. */
export interface UseStreamOptions extends AnswerOptions {
  /** Where `start` sends its body. Default `{base}/v1/streams`. */
  url?: string | undefined;
  /** As `stream` takes it. Default true. */
  idempotent?: boolean | undefined;
}

export interface UseStream extends Answer {
  /** Begins a stream, with `body` as JSON. One that still runs is left: `stop` it before, or not. */
  start: (body?: unknown) => void;
  /** Reads the stream of this id, from its start or after a position. */
  resume: (id: string, after?: string) => void;
  /**
   * Ends the generation for all its readers; the answer keeps what it has, with the reason
   * `cancelled`. Never rejects: where it cannot be stopped, `error` says why.
   */
  stop: () => Promise<void>;
}

/**
 * The answer of one stream, and the functions that begin and end it; these are the same in every
 * render. With `remember` it is found again after a reload. A component that goes away hangs up,
 * and stops nothing.
 */
export function useStream(options: UseStreamOptions = {}): UseStream {
  const [own] = useState(() => new Own(options));
  useEffect(() => void (own.options = options));
  useEffect(() => {
    own.enter();
    return () => own.leave();
  }, [own]);
  const answer = useSyncExternalStore(
    own.listen,
    () => own.answer,
    () => IDLE,
  );
  return { ...answer, start: own.start, resume: own.resume, stop: own.stop };
}

class Own extends AnswerReader {
  declare options: UseStreamOptions;

  start = (body?: unknown): void => {
    const { base = "", url = `${base}/v1/streams`, idempotent } = this.options;
    this.begin((own) => stream(url, { ...own, body, idempotent }));
  };

  resume = (id: string, after?: string): void => {
    this.begin((own) => resume(id, { ...own, after }));
  };
}
