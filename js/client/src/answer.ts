/** What a page shows of a stream: its events gathered into one answer, told at most once a frame. */

import {
  HeadwaterError,
  recall,
  type FinishReason,
  type MemoryStorage,
  type ReadOptions,
  type Stream,
  type StreamEvent,
  type StreamState,
  type Timing,
  type Usage,
} from "./index.js";

/** What went wrong: a `stream-error` of the server's, or a `HeadwaterError` of the client's. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  /** Whether the same request may succeed later without being changed. */
  readonly retryable: boolean;
}

export interface Answer {
  /** `idle` until something is read; then the state of the stream. */
  readonly status: "idle" | StreamState;
  readonly id: string | undefined;
  /** So far. A refusal, where the provider marks it, is text too. */
  readonly text: string;
  readonly reasoning: string;
  /** Why it ended: null until it has, when it failed, and on the plain wire. */
  readonly reason: FinishReason | null;
  readonly usage: Usage | null;
  readonly timing: Timing | null;
  /** Also when `stop()` could not stop it: then `status` is not `failed`. */
  readonly error: Failure | null;
}

export interface AnswerOptions extends Omit<ReadOptions, "signal" | "onState"> {
  /** Every event, as it arrives: for tools, sources, and data of one's own. */
  onEvent?: ((event: StreamEvent) => void) | undefined;
}

export const IDLE: Answer = {
  status: "idle",
  id: undefined,
  text: "",
  reasoning: "",
  reason: null,
  usage: null,
  timing: null,
  error: null,
};

// A page that is not seen has no frames, but may want to ring when its answer is there.
const UNSEEN_MS = 1000;

/** The answer as it grows; what is told is a copy. */
type Draft = { -readonly [Name in keyof Answer]: Answer[Name] };

/**
 * Reads one stream at a time.
 *
 * It may be left and entered again, as React does with every component in strict mode: then it goes
 * on where it was. That is `recall`, as after a reload; where nothing is to be remembered through
 * one, it remembers by itself.
 */
export class AnswerReader {
  /** As it was told last: another object whenever it is another answer. */
  answer = IDLE;
  #draft: Draft = { ...IDLE };
  #source: Stream | undefined;
  #hangUp: AbortController | undefined;
  #own = ownStorage();
  #unschedule: (() => void) | undefined;
  #listeners = new Set<() => void>();

  constructor(public options: AnswerOptions = {}) {}

  /** Calls `listener` after every change, at most once a frame; gives the way to end that. */
  listen = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Reads another stream; the one before it is left, not stopped. */
  begin(open: (own: ReadOptions) => Stream): void {
    this.leave();
    this.#draft = { ...IDLE };
    this.#read(open);
  }

  /** Goes on where it was left, or where the page was before it was reloaded. */
  enter(): void {
    const { status } = this.#draft;
    if (this.#hangUp) return;
    // It may have been left before its end was told.
    if (status === "done" || status === "failed") return this.#schedule();
    // After a reload the text is gone, and read again; here it is not.
    const from = this.#source?.position === undefined ? "start" : "position";
    this.#read((own) => recall(own.remember!, { ...own, from }));
    if (!this.#hangUp && status !== "idle") this.#change(this.#draft, { status: "done" });
  }

  /** Hangs up. The generation goes on, as long as the server lets it without a reader. */
  leave(): void {
    this.#hangUp?.abort();
    this.#hangUp = undefined;
    this.#unschedule?.();
  }

  /** Ends the generation for all its readers. Where that fails, `error` says why. */
  stop = async (): Promise<void> => {
    const draft = this.#draft;
    await this.#source?.stop().catch((error: unknown) => this.#fail(draft, error));
  };

  #read(open: (own: ReadOptions) => Stream | undefined): void {
    const { onEvent, ...options } = this.options;
    if (options.remember === undefined)
      Object.assign(options, { remember: "", storage: this.#own });
    const hangUp = new AbortController();
    const { signal } = hangUp;
    const draft = this.#draft;
    const onState = (status: StreamState) => {
      if (!signal.aborted) this.#change(draft, { status });
    };
    const source = open({ ...options, signal, onState });
    if (!source) return;
    this.#source = source;
    this.#hangUp = hangUp;
    onState("connecting");
    void this.#pump(source, draft, signal);
  }

  async #pump(source: Stream, draft: Draft, signal: AbortSignal): Promise<void> {
    // Who leaves in the same breath, as in strict mode, has sent no request.
    await undefined;
    try {
      for await (const event of source) {
        this.#change(draft, { id: source.id, ...gather(draft, event) });
        this.options.onEvent?.(event);
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(draft, error, { status: "failed" });
    }
  }

  #fail(draft: Draft, error: unknown, more?: Partial<Draft>): void {
    const failure =
      error instanceof HeadwaterError
        ? error
        : new HeadwaterError("internal", String(error), { cause: error });
    this.#change(draft, { error: failure, ...more });
  }

  #change(draft: Draft, change: Partial<Draft>): void {
    Object.assign(draft, change);
    if (draft === this.#draft) this.#schedule();
  }

  #schedule(): void {
    if (this.#unschedule) return;
    const tell = () => {
      this.#unschedule?.();
      this.answer = { ...this.#draft };
      for (const listener of this.#listeners) listener();
    };
    const frame = requestAnimationFrame(tell);
    const timer = setTimeout(tell, UNSEEN_MS);
    this.#unschedule = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      this.#unschedule = undefined;
    };
  }
}

/** What an event changes in the answer. */
function gather(draft: Draft, event: StreamEvent): Partial<Draft> {
  switch (event.type) {
    case "text-delta":
    case "refusal-delta":
      return { text: draft.text + event.text };
    case "reasoning-delta":
      return { reasoning: draft.reasoning + event.text };
    case "stream-end":
      return { reason: event.reason, usage: event.usage, timing: event.timing };
    case "stream-error":
      return { error: event, usage: event.usage, timing: event.timing };
    default:
      return {};
  }
}

/** As much of a `Storage` as remembering wants, of one reader. */
function ownStorage(): MemoryStorage {
  const kept = new Map<string, string>();
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}
