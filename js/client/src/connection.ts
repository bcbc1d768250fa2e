/** One HTTP response, read as event-stream messages until it ends, is cut, or falls silent. */

import { createParser, type EventSourceMessage } from "eventsource-parser";

import { errorOf, HeadwaterError } from "./errors.js";

// A server ends a stream of ours at 16 MiB, so that no message of one is larger.
const MAX_MESSAGE = 16 * 1024 * 1024;

// After the terminal event the server closes within a round trip. Waiting for it leaves the
// connection usable for the next request; a hang-up would not.
const FINISH_MS = 1000;

const noop = () => {};

export class Connection {
  #abort = new AbortController();
  #body: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #decoder = new TextDecoder();
  #messages: EventSourceMessage[] = [];
  #parser = createParser({
    maxBufferSize: MAX_MESSAGE,
    onEvent: (message) => this.#messages.push(message),
    onError: ({ type, message }) => {
      if (type === "max-buffer-size-exceeded")
        throw new HeadwaterError("invalid_response", message);
    },
  });

  /** `silence`: milliseconds without a single byte after which the connection counts as dead. */
  constructor(private readonly silence: number) {}

  /**
   * Sends the request and waits for the head; `HeadwaterError` for every answer that is neither an
   * event stream nor 204. A POST is waited for without a bound: repeated, it might do more work.
   */
  async open(send: typeof fetch, url: string, init: RequestInit): Promise<Response> {
    const sent = send(url, { ...init, signal: this.#abort.signal });
    const response = await (init.method ? sent : this.#watch(sent));
    if (!response.ok) throw await this.#watch(errorOf(response));
    if (response.status !== 204) {
      this.#body = response.body?.getReader();
      const type = response.headers.get("content-type");
      if (!this.#body || !type?.startsWith("text/event-stream")) {
        throw new HeadwaterError("invalid_response", `Not an event stream: ${type}.`, {
          status: response.status,
          retryable: true,
        });
      }
    }
    return response;
  }

  /** What the next bytes bring: perhaps no message; undefined when there are no more bytes. */
  async read(): Promise<EventSourceMessage[] | undefined> {
    const chunk = await this.#watch(this.#body!.read()).catch(noop);
    if (!chunk?.value) return undefined;
    this.#messages = [];
    this.#parser.feed(this.#decoder.decode(chunk.value, { stream: true }));
    return this.#messages;
  }

  /** Hangs up at once. */
  close(): void {
    this.#abort.abort();
    // A fetch of the caller's own may not have passed our signal on.
    this.#body?.cancel().catch(noop);
  }

  /** Lets the server close, then hangs up. */
  async finish(): Promise<void> {
    const timer = setTimeout(() => this.close(), FINISH_MS);
    while ((await this.#body?.read().catch(noop))?.value);
    clearTimeout(timer);
  }

  async #watch<T>(promise: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.close(), this.silence);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
