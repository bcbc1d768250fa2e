/** A stream as its reader sees it: one iterable of events, however many connections it takes. */

import type { EventSourceMessage } from "eventsource-parser";

import { Connection } from "./connection.js";
import { errorOf, HeadwaterError } from "./errors.js";
import { isTerminal, type StreamEvent } from "./events.js";
import { Backoff, type RetryOptions } from "./retry.js";
import { decode, type Wire } from "./wire.js";

/**
 * - `connecting`: the first request is on its way, or waits for the iteration to begin;
 * - `streaming`: connected;
 * - `reconnecting`: cut; trying to resume where it was cut;
 * - `done`: ended, or left by its reader;
 * - `failed`: ended with `stream-error`, or the iteration threw.
 */
export type StreamState = "connecting" | "streaming" | "reconnecting" | "done" | "failed";

export interface ReadOptions {
  /** Where Headwater's own routes are mounted, such as "/ai". Default "". */
  base?: string | undefined;
  /** Aborting hangs up, and the iteration throws. The generation goes on: `stop()` ends it. */
  signal?: AbortSignal | undefined;
  /** Sent with every request. With an `Idempotency-Key` the first one, too, is safe to repeat. */
  headers?: HeadersInit | undefined;
  /** In place of the global one. */
  fetch?: typeof fetch | undefined;
  /** Milliseconds without a byte after which a connection counts as dead. Default 45 000. */
  silence?: number | undefined;
  /** How long to go on reconnecting. */
  retry?: RetryOptions | undefined;
  onState?: ((state: StreamState) => void) | undefined;
  /** The position of the event that is handed over next: what `resume` takes as `after`. */
  onPosition?: ((position: string) => void) | undefined;
}

export interface StreamOptions extends ReadOptions {
  /** Sent as JSON. */
  body?: unknown;
}

export interface ResumeOptions extends ReadOptions {
  /** The last position seen; without it, the stream is read from its start. */
  after?: string | undefined;
  /** Default `native`. */
  wire?: Wire | undefined;
}

/** Iterate it once. The request is sent when the iteration begins; `break` hangs up. */
export interface Stream extends AsyncIterable<StreamEvent> {
  /** The name of the stream, from the moment the server has told it. */
  readonly id: string | undefined;
  /** The position of the last event handed over that has one. */
  readonly position: string | undefined;
  readonly state: StreamState;
  /**
   * Ends the generation for all its readers; their iterations end with `stream-end`, reason
   * `cancelled`. Resolves when the server has agreed, also when the stream had ended by itself.
   * `HeadwaterError` when it cannot be stopped.
   */
  stop(): Promise<void>;
}

/**
 * Starts a stream with a POST to `url`, and reads it to its end.
 *
 * The POST is sent once. A connection that is cut after its head is resumed with
 * `GET {base}/v1/streams/{id}`, so that each event is handed over once, in order. An end without a
 * terminal event is a cut, not an end. The iteration throws `HeadwaterError` where the stream
 * cannot begin or cannot be had back.
 */
export const stream = (url: string, options: StreamOptions = {}): Stream =>
  new Reader(options, url, undefined, undefined, undefined);

/** Reads a stream that runs or has ended: after a reload, in another tab, on another device. */
export const resume = (id: string, options: ResumeOptions = {}): Stream =>
  new Reader(options, undefined, id, options.after, options.wire);

class Reader implements Stream {
  state: StreamState = "connecting";
  /** Events handed over after `position`, which a resumed response therefore repeats … */
  #ahead = 0;
  /** … and how many of those came after `position` on this connection. */
  #since = 0;
  /** Nothing more will come: the terminal event is there, or the stream was never begun. */
  #ended = false;
  #connection: Connection | undefined;
  #events: AsyncGenerator<StreamEvent, void, undefined> | undefined;
  #backoff: Backoff;
  #named!: () => void;
  /** Resolves when it is known whether there is an id. */
  #naming = new Promise<void>((resolve) => (this.#named = resolve));

  constructor(
    private readonly options: StreamOptions,
    private readonly url: string | undefined,
    public id: string | undefined,
    public position: string | undefined,
    private wire: Wire | undefined,
  ) {
    this.#backoff = new Backoff(options.retry, options.signal);
    if (id) this.#named();
  }

  [Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    return (this.#events ??= this.#run());
  }

  async stop(): Promise<void> {
    if (this.#events) await this.#naming;
    else if (!this.id) this.#ended = true;
    if (this.#ended) return;
    if (!this.id) {
      if (this.state === "failed") return;
      throw new HeadwaterError(
        "no_stream",
        "The response has no Headwater-Stream header: hang up with the signal instead.",
      );
    }
    // Neither the reader's signal nor the end of the page may keep the stop from being sent.
    const backoff = new Backoff(this.options.retry);
    backoff.begin();
    const send = this.options.fetch ?? fetch;
    await backoff.persist(async () => {
      const response = await send(this.#path(), {
        method: "DELETE",
        headers: this.#headers({}),
        keepalive: true,
        signal: AbortSignal.timeout(this.#silence),
      });
      if (!response.ok) throw await errorOf(response);
    }, true);
  }

  async *#run(): AsyncGenerator<StreamEvent, void, undefined> {
    const { signal } = this.options;
    const hangUp = () => this.#connection?.close();
    let end: StreamState = "done";
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", hangUp);
      if (!this.#ended) await this.#open();
      while (!this.#ended) {
        const messages = await this.#connection!.read();
        for (const message of messages ?? []) {
          const event = this.#accept(message);
          if (!event) continue;
          if (isTerminal(event)) this.#ended = true;
          if (event.type === "stream-error") end = "failed";
          yield event;
          signal?.throwIfAborted();
          if (this.#ended) return;
        }
        if (!messages) await this.#reconnect();
      }
    } catch (error) {
      end = signal?.aborted ? "done" : "failed";
      throw error;
    } finally {
      signal?.removeEventListener("abort", hangUp);
      if (this.#ended) void this.#connection?.finish();
      else hangUp();
      this.#named();
      this.#tell(end);
    }
  }

  /** The first connection: the POST, or, of a stream that was named, the GET. */
  async #open(): Promise<void> {
    this.#backoff.begin();
    this.#tell("connecting");
    if (!this.url) return this.#get();
    const headers = this.#headers({ "content-type": "application/json" });
    const body = JSON.stringify(this.options.body);
    const repeatable = headers.has("idempotency-key");
    await this.#connect(this.url, { method: "POST", headers, body }, repeatable);
  }

  async #reconnect(): Promise<void> {
    this.options.signal?.throwIfAborted();
    this.#connection!.close();
    const lost = "The connection was cut before the stream ended";
    if (!this.id) throw new HeadwaterError("connection_lost", `${lost}, and it has no id.`);
    this.#tell("reconnecting");
    this.#backoff.begin();
    await this.#backoff.wait(
      new HeadwaterError("connection_lost", `${lost}.`, { retryable: true }),
    );
    await this.#get();
  }

  #get(): Promise<void> {
    const headers = this.#headers(this.position ? { "last-event-id": this.position } : {});
    const init: RequestInit = { headers, cache: "no-store" };
    return this.#connect(`${this.#path()}?wire=${this.wire ?? "native"}`, init, true);
  }

  async #connect(url: string, init: RequestInit, safe: boolean): Promise<void> {
    const response = await this.#backoff.persist(() => {
      this.#connection?.close();
      this.#connection = new Connection(this.#silence);
      return this.#connection.open(this.options.fetch ?? fetch, url, init, safe);
    }, safe);
    this.#since = 0;
    this.#name(response.headers.get("headwater-stream"));
    this.#ended = response.status === 204;
    if (!this.#ended) this.#tell("streaming");
  }

  /** Takes note of where the message stands; undefined if its event was handed over before. */
  #accept({ data, id }: EventSourceMessage): StreamEvent | undefined {
    const [event, wire] = decode(data);
    this.wire = wire;
    this.#backoff.reset();
    // The header is hidden from a page of another origin unless CORS exposes it.
    if (event.type === "stream-start") this.#name(event.stream);
    this.#named();
    const fresh = ++this.#since > this.#ahead;
    if (id) {
      this.#since = this.#ahead = 0;
      this.position = id;
      this.options.onPosition?.(id);
    } else if (fresh) this.#ahead = this.#since;
    return fresh ? event : undefined;
  }

  #name(id: string | null): void {
    if (!id) return;
    this.id ??= id;
    this.#named();
  }

  #tell(state: StreamState): void {
    this.state = state;
    this.options.onState?.(state);
  }

  #headers(extra: Record<string, string>): Headers {
    return new Headers({
      accept: "text/event-stream",
      ...extra,
      ...Object.fromEntries(new Headers(this.options.headers)),
    });
  }

  #path(): string {
    return `${this.options.base ?? ""}/v1/streams/${encodeURIComponent(this.id!)}`;
  }

  get #silence(): number {
    return this.options.silence ?? 45_000;
  }
}
