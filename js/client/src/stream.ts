/** A stream as its reader sees it: one iterable of events, however many connections it takes. */

import type { EventSourceMessage } from "eventsource-parser";

import { Connection } from "./connection.js";
import { errorOf, HeadwaterError } from "./errors.js";
import { isTerminal, type StreamEvent } from "./events.js";
import { memory, type Memo, type MemoryStorage } from "./memory.js";
import { Backoff, type RetryOptions } from "./retry.js";
import { decode, type Wire } from "./wire.js";

/**
 * - `connecting`: the first request is on its way, or waits for the iteration to begin;
 * - `streaming`: connected;
 * - `reconnecting`: cut; trying to resume where it was cut;
 * - `done`: ended or stopped, or left by its reader;
 * - `failed`: ended with `stream-error`, or the iteration threw.
 */
export type StreamState = "connecting" | "streaming" | "reconnecting" | "done" | "failed";

export interface ReadOptions {
  /** Where Headwater's own routes are mounted, such as "/ai". Default "". */
  base?: string | undefined;
  /** Aborting hangs up, and the iteration throws. The generation goes on: `stop()` ends it. */
  signal?: AbortSignal | undefined;
  /** Sent with every request; an `Idempotency-Key` with the POST only. */
  headers?: HeadersInit | undefined;
  /** In place of the global one. */
  fetch?: typeof fetch | undefined;
  /** Milliseconds without a byte after which a connection counts as dead. Default 45 000. */
  silence?: number | undefined;
  /** How long to go on reconnecting. */
  retry?: RetryOptions | undefined;
  /**
   * The name under which `recall` finds the stream after a reload, for as long as it runs. One
   * stream at a time has a name.
   */
  remember?: string | undefined;
  /** Where it is remembered. Default `sessionStorage`: of this tab, through reloads. */
  storage?: MemoryStorage | undefined;
  onState?: ((state: StreamState) => void) | undefined;
  /** The position of the event that is handed over next: what `resume` takes as `after`. */
  onPosition?: ((position: string) => void) | undefined;
}

export interface StreamOptions extends ReadOptions {
  /** Sent as JSON. */
  body?: unknown;
  /**
   * Whether the POST has an `Idempotency-Key`, made once, and is therefore repeated when no answer
   * comes. False for a route of your own that would do the work twice. Default true.
   */
  idempotent?: boolean | undefined;
}

export interface ResumeOptions extends ReadOptions {
  /** The last position seen; without it, the stream is read from its start. */
  after?: string | undefined;
  /** Default `native`. */
  wire?: Wire | undefined;
}

export interface RecallOptions extends Omit<ReadOptions, "remember"> {
  /** `position`: only what follows the last event handed over before the reload. Default `start`. */
  from?: "start" | "position" | undefined;
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

// An answer is a second away or far away, and a reader who sees nothing yet should be told.
const POSTS = 5;

/**
 * Starts a stream with a POST to `url`, and reads it to its end.
 *
 * A POST that gets no answer is repeated a few times, under the same `Idempotency-Key`. A
 * connection that is cut after its head is resumed with `GET {base}/v1/streams/{id}`, so that each
 * event is handed over once, in order. An end without a terminal event is a cut, not an end. The
 * iteration throws `HeadwaterError` where the stream cannot begin or cannot be had back.
 */
export const stream = (url: string, options: StreamOptions = {}): Stream => {
  const { body, headers, idempotent = true } = options;
  const key =
    new Headers(headers).get("idempotency-key") ??
    (idempotent ? crypto.getRandomValues(Uint32Array.of(0, 0, 0, 0)).join("-") : undefined);
  return new Reader(options, { url, body, key });
};

/** Reads a stream that runs or has ended: in another tab, on another device. */
export const resume = (id: string, options: ResumeOptions = {}): Stream =>
  new Reader(options, { id, position: options.after, wire: options.wire });

/**
 * After a reload, the stream that is remembered as `name`, read again from its start; undefined
 * where there is none. One that the server had not named yet is asked for again, under the
 * `Idempotency-Key` that it was asked for with: the same stream, not a second one.
 */
export function recall(name: string, options: RecallOptions = {}): Stream | undefined {
  const memo = memory(name, options.storage);
  // Without a key it cannot be asked for again.
  if (!memo?.id && !memo?.key) return undefined;
  if (options.from !== "position") memo.position = undefined;
  return new Reader({ ...options, remember: name }, memo);
}

class Reader implements Stream {
  state: StreamState = "connecting";
  id: string | undefined;
  position: string | undefined;
  /** Events handed over after `position`, which a resumed response therefore repeats … */
  #ahead = 0;
  /** … and how many of those came after `position` on this connection. */
  #since = 0;
  /** Nothing more will come: the terminal event is there, or the stream was never begun. */
  #ended = false;
  #connection: Connection | undefined;
  #events: AsyncGenerator<StreamEvent, void, undefined> | undefined;
  #backoff: Backoff;
  #name: string | undefined;
  #wire: Wire | undefined;
  #named!: () => void;
  /** Resolves when it is known whether there is an id. */
  #naming = new Promise<void>((resolve) => (this.#named = resolve));

  constructor(
    private readonly options: ReadOptions,
    private readonly asked: Memo,
  ) {
    this.#backoff = new Backoff(options.retry, options.signal);
    this.#name = options.remember;
    this.id = asked.id;
    this.position = asked.position;
    this.#wire = asked.wire;
    if (asked.id) this.#named();
  }

  [Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    return (this.#events ??= this.#run());
  }

  async stop(): Promise<void> {
    // Before all else: a reload must not bring back what its reader has stopped.
    this.#forget();
    if (this.#events) await this.#naming;
    else if (!this.id) this.#ended = true;
    if (this.#ended) return;
    if (!this.id) {
      if (this.state === "failed") return;
      throw new HeadwaterError("no_stream", "The response names no stream.");
    }
    // Neither the reader's signal nor the end of the page may keep the stop from being sent.
    const backoff = new Backoff(this.options.retry);
    const send = this.options.fetch ?? fetch;
    await backoff.persist(async () => {
      const response = await send(this.#path(), {
        method: "DELETE",
        headers: this.#headers({}),
        keepalive: true,
        signal: AbortSignal.timeout(this.#silence),
      });
      if (!response.ok) throw await errorOf(response);
    });
  }

  async *#run(): AsyncGenerator<StreamEvent, void, undefined> {
    const { signal } = this.options;
    // A connection may be dead without a word after the network was away, or the page was in the
    // back/forward cache. Resuming is exact, so that a needless cut costs one request.
    const turn = ({ type, persisted }: Partial<PageTransitionEvent>) => {
      const dead = this.state === "streaming" && (type === "online" || persisted);
      if (dead || type === "abort") this.#connection?.close();
      this.#backoff.wake();
    };
    const listen = (method: "addEventListener" | "removeEventListener") => {
      signal?.[method]("abort", turn);
      for (const type of ["online", "pageshow"]) globalThis[method]?.(type, turn);
    };
    let end: StreamState = "done";
    try {
      signal?.throwIfAborted();
      listen("addEventListener");
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
      const status = (error as HeadwaterError | null)?.status;
      // Gone; or never begun, since the request was refused.
      if (this.id ? status === 404 || status === 410 : status! < 500) this.#forget();
      end = signal?.aborted ? "done" : "failed";
      throw error;
    } finally {
      listen("removeEventListener");
      if (this.#ended) {
        this.#forget();
        void this.#connection?.finish();
      } else this.#connection?.close();
      this.#named();
      this.#tell(end);
    }
  }

  /** The first connection: the POST, or, of a stream that was named, the GET. */
  async #open(): Promise<void> {
    this.#tell("connecting");
    const { url, key } = this.asked;
    if (!url) return this.#get();
    this.#keep(this.asked);
    const headers = this.#headers({
      "content-type": "application/json",
      ...(key && { "idempotency-key": key }),
    });
    const body = JSON.stringify(this.asked.body);
    await this.#connect(url, { method: "POST", headers, body }, key ? POSTS : 0);
  }

  async #reconnect(): Promise<void> {
    const lost = new HeadwaterError("connection_lost", "Cut before its end.", {
      retryable: !!this.id,
    });
    if (this.id) this.#tell("reconnecting");
    // Without an id it cannot be had back.
    await this.#backoff.wait(lost, this.id ? undefined : 0);
    await this.#get();
  }

  #get(): Promise<void> {
    const headers = this.#headers(this.position ? { "last-event-id": this.position } : {});
    const init: RequestInit = { headers, cache: "no-store" };
    return this.#connect(`${this.#path()}?wire=${this.#wire ?? "native"}`, init);
  }

  /** `posts`: how often a POST may be repeated; a GET may as often as the bounds allow. */
  async #connect(url: string, init: RequestInit, posts?: number): Promise<void> {
    const response = await this.#backoff.persist(() => {
      this.#connection?.close();
      this.#connection = new Connection(this.#silence);
      return this.#connection.open(this.options.fetch ?? fetch, url, init);
    }, posts);
    this.#backoff.connected();
    this.#since = 0;
    this.#identify(response.headers.get("headwater-stream"));
    this.#ended = response.status === 204;
    if (!this.#ended) this.#tell("streaming");
  }

  /** Takes note of where the message stands; undefined if its event was handed over before. */
  #accept({ data, id }: EventSourceMessage): StreamEvent | undefined {
    const [event, wire] = decode(data);
    this.#wire = wire;
    this.#backoff.reset();
    // The header is hidden from a page of another origin unless CORS exposes it.
    if (event.type === "stream-start") this.#identify(event.stream);
    this.#named();
    const fresh = ++this.#since > this.#ahead;
    if (id) {
      this.#since = this.#ahead = 0;
      this.position = id;
      this.options.onPosition?.(id);
    } else if (fresh) this.#ahead = this.#since;
    // What has no name cannot be had back, and asking for it again might begin another.
    this.#keep(this.id ? { id: this.id, position: this.position, wire } : null);
    return fresh ? event : undefined;
  }

  #identify(id: string | null | undefined): void {
    if (!id) return;
    // At once: the first token may be a while, and that is when a page is reloaded.
    if (!this.id) this.#keep({ id });
    this.id ??= id;
    this.#named();
  }

  #keep(memo: Memo | null): void {
    memory(this.#name, this.options.storage, memo);
  }

  #forget(): void {
    this.#keep(null);
    this.#name = undefined;
  }

  #tell(state: StreamState): void {
    this.state = state;
    this.options.onState?.(state);
  }

  #headers(extra: Record<string, string>): Headers {
    const headers = new Headers(this.options.headers);
    headers.delete("idempotency-key");
    for (const name in extra) headers.set(name, extra[name]!);
    headers.set("accept", "text/event-stream");
    return headers;
  }

  #path(): string {
    return `${this.options.base ?? ""}/v1/streams/${encodeURIComponent(this.id!)}`;
  }

  get #silence(): number {
    return this.options.silence ?? 45_000;
  }
}
