/**
 * One connection for all tabs of an origin that read the same stream.
 *
 * A browser opens six HTTP/1.1 connections to an origin, for all its tabs together: seven tabs on
 * one answer, and the page hangs. So the tabs elect one (Web Locks) that reads, and it tells the
 * others (BroadcastChannel). Every tab holds the whole log, from the first event on, so that any
 * of them can go on when the one that reads is closed, and answer a tab that opens later.
 */

import {
  HeadwaterError,
  isTerminal,
  resume,
  type ErrorDetails,
  type ReadOptions,
  type Stream,
  type StreamEvent,
  type StreamState,
} from "./index.js";

/** An event, and its position. */
type Entry = [StreamEvent, string];

/** What tabs say to each other: `events` are those from the `from`th of the stream on. */
type Message =
  | { want: number }
  | { from: number; events: Entry[]; state: StreamState }
  | { error: ErrorDetails & { code: string; message: string } };

export type SharedOptions = Omit<ReadOptions, "remember" | "storage">;

// A tab that leads answers in milliseconds, unless the system has put it to sleep. After two of
// these without a word it is asked, after three another tab takes the lock from it.
const PATIENCE_MS = 3000;

// The lock is let go of a little after the last message, so that who gets it has heard it.
const LINGER_MS = 100;

/**
 * Reads the stream `id` together with all other tabs that do, over one connection; always from its
 * start. In place of an id, a function that begins it: `(own) => stream(url, { ...own, body })`.
 *
 * Where the browser has no Web Locks or BroadcastChannel (they want HTTPS or localhost), and for
 * what is not a native stream from its start, the tab has a connection of its own.
 */
export const shared = (
  source: string | ((own: ReadOptions) => Stream),
  options: SharedOptions = {},
): Stream => {
  const open = typeof source === "string" ? (own: ReadOptions) => resume(source, own) : source;
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel) return open(options);
  return new Shared(open, typeof source === "string" ? source : undefined, options);
};

interface Reading {
  source: Stream;
  hangUp: AbortController;
  done: Promise<void>;
}

class Shared implements Stream {
  state: StreamState = "connecting";
  position: string | undefined;
  #log: Entry[] = [];
  /** Nothing will be added to the log; `#error` says why, if it is not whole. */
  #over = false;
  #error: HeadwaterError | undefined;
  #wake = (): void => {};
  #events: AsyncGenerator<StreamEvent, void, undefined> | undefined;
  #channel: BroadcastChannel | undefined;
  #left = new AbortController();
  /** This tab's own reading, while it is the one that reads. */
  #reading: Reading | undefined;
  #queued = false;
  /** Ticks since the tab that leads was heard. */
  #quiet = 0;

  constructor(
    private readonly open: (own: ReadOptions) => Stream,
    public id: string | undefined,
    private readonly options: SharedOptions,
  ) {}

  [Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    return (this.#events ??= this.#run());
  }

  async stop(): Promise<void> {
    if (this.#reading) return this.#reading.source.stop();
    if (this.id) return resume(this.id, this.options).stop();
    this.#over = true;
  }

  async *#run(): AsyncGenerator<StreamEvent, void, undefined> {
    const { signal, onPosition } = this.options;
    const wake = () => this.#wake();
    let ticking: ReturnType<typeof setInterval> | undefined;
    let end: StreamState = "done";
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", wake);
      ticking = setInterval(() => this.#tick(), PATIENCE_MS);
      this.options.onState?.(this.state);
      if (this.id) this.#join(this.id);
      else if (!this.#over) this.#read(this.open);
      for (let at = 0; ; at++) {
        while (at >= this.#log.length) {
          if (this.#error) throw this.#error;
          if (this.#over) return;
          await new Promise<void>((resolve) => (this.#wake = resolve));
          signal?.throwIfAborted();
        }
        const [event, position] = this.#log[at]!;
        this.position = position;
        onPosition?.(position);
        if (event.type === "stream-error") end = "failed";
        yield event;
        signal?.throwIfAborted();
        if (isTerminal(event)) return;
      }
    } catch (error) {
      end = signal?.aborted ? "done" : "failed";
      throw error;
    } finally {
      clearInterval(ticking);
      signal?.removeEventListener("abort", wake);
      this.#over = true;
      this.#left.abort();
      this.#reading?.hangUp.abort();
      this.#channel?.close();
      this.#tell(end);
    }
  }

  /** From now on hears the other tabs, and stands for election. */
  #join(id: string): void {
    this.id = id;
    this.#channel = new BroadcastChannel(this.#address);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    this.#stand();
    this.#post({ want: this.#log.length });
  }

  get #address(): string {
    return `headwater:${this.options.base ?? ""}:${this.id}`;
  }

  #stand(): void {
    if (this.#queued || this.#over) return;
    this.#queued = true;
    this.#lock({ signal: this.#left.signal }, () => (this.#queued = false));
  }

  #lock(options: LockOptions, settled: () => void): void {
    const lead = async () => {
      if (this.#over) return;
      await (this.#reading ?? this.#read((own) => this.#goOn(own))).done;
      if (this.#over) await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
    };
    // Rejected when it is left, and when another tab took the lock away: then that one reads.
    navigator.locks
      .request(this.#address, options, lead)
      .catch(() => this.#reading?.hangUp.abort())
      .finally(() => {
        settled();
        this.#stand();
      });
  }

  #goOn(own: ReadOptions): Stream {
    return resume(this.id!, { ...own, after: this.#log.at(-1)?.[1] });
  }

  /** Reads by a connection of this tab's own, and tells the others. */
  #read(open: (own: ReadOptions) => Stream): Reading {
    const hangUp = new AbortController();
    const { signal } = hangUp;
    const onState = (state: StreamState) => {
      this.id ??= source.id;
      if (signal.aborted || state === "done" || state === "failed") return;
      // Who takes over connects in the middle.
      this.#tell(state === "connecting" && this.#log.length ? "reconnecting" : state);
      this.#post({ from: this.#log.length, events: [], state: this.state });
    };
    const source = open({ ...this.options, signal, onState, onPosition: undefined });
    const done = this.#pump(source)
      .then(
        () => (this.#over = true),
        (error: unknown) => {
          if (!signal.aborted) this.#fail(error as HeadwaterError);
        },
      )
      .then(() => {
        this.#reading = undefined;
        this.#wake();
      });
    return (this.#reading = { source, hangUp, done });
  }

  async #pump(source: Stream): Promise<void> {
    // What has no position of its own comes again when it is resumed from the one before it.
    const last = this.#log.at(-1)?.[1];
    let at = this.#log.findIndex(([, position]) => position === last) + 1;
    for await (const event of source) {
      if (!this.#channel && event.type === "stream-start" && !at) this.#join(event.stream);
      this.id ??= source.id;
      const entry: Entry = [event, source.position!];
      this.#append(at, [entry]);
      this.#post({ from: at++, events: [entry], state: this.state });
    }
  }

  /** Adds what is new of the events from the `from`th on. */
  #append(from: number, events: Entry[]): void {
    // Another tab may have been faster: what is at a place of the log is the same for all.
    for (const entry of events.slice(this.#log.length - from)) {
      this.#log.push(entry);
      this.#over ||= isTerminal(entry[0]);
    }
    this.#wake();
  }

  #hear(message: Message): void {
    if ("want" in message) {
      const from = message.want;
      if (this.#reading) this.#post({ from, events: this.#log.slice(from), state: this.state });
      return;
    }
    this.#quiet = 0;
    if ("error" in message) {
      const { code, message: text } = message.error;
      if (!this.#reading) this.#fail(new HeadwaterError(code, text, message.error));
    } else if (message.from > this.#log.length) {
      this.#post({ want: this.#log.length });
    } else {
      this.#append(message.from, message.events);
      if (!this.#reading) this.#tell(message.state);
    }
  }

  #tick(): void {
    if (this.#reading || this.#over || !this.#channel) return;
    const quiet = this.#quiet++;
    if (quiet === 1) this.#post({ want: this.#log.length });
    if (quiet === 2) this.#lock({ steal: true }, () => {});
  }

  #fail(error: HeadwaterError): void {
    this.#over = true;
    this.#error = error;
    const { code, message, retryable, status, requestId, retryAfter } = error;
    if (this.#reading)
      this.#post({ error: { code, message, retryable, status, requestId, retryAfter } });
    this.#wake();
  }

  #post(message: Message): void {
    this.#channel?.postMessage(message);
  }

  #tell(state: StreamState): void {
    if (this.state === state) return;
    this.state = state;
    this.options.onState?.(state);
  }
}
