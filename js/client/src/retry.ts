/** When to try again, and for how long. */

import { HeadwaterError } from "./errors.js";

/** Bounds of reconnecting. All times are in milliseconds. */
export interface RetryOptions {
  /** Attempts in a row that bring no event, before giving up. Default 30. */
  attempts?: number;
  /** Time without a connection, before giving up. Default 300 000. */
  total?: number;
  /** The longest first wait; it doubles with every attempt. Default 500. */
  base?: number;
  /** The longest wait, unless the server asks for more. Default 10 000. */
  cap?: number;
}

/** Counts attempts and time without a connection, and waits between attempts. */
export class Backoff {
  #attempt = 0;
  #deadline: number | undefined;

  constructor(
    private readonly options: RetryOptions = {},
    private readonly signal?: AbortSignal,
  ) {}

  /** Ends the present wait, if there is one: the signal aborted, or the network is back. */
  wake = (): void => {};

  /** An event arrived: the next failure is the first again. */
  reset(): void {
    this.#attempt = 0;
  }

  /** There is a connection: the time without one begins anew with the next wait. */
  connected(): void {
    this.#deadline = undefined;
  }

  /**
   * Waits before the next attempt; throws `error` when the bounds, or `limit` attempts, are
   * reached, and the signal's reason when it has aborted.
   *
   * The wait is uniform between 0 and the doubled bound ("full jitter"), so that the readers of a
   * node that died do not all come back in the same moment.
   */
  async wait(error: HeadwaterError, limit = Infinity): Promise<void> {
    this.signal?.throwIfAborted();
    const { attempts = 30, total = 300_000, base = 500, cap = 10_000 } = this.options;
    const jittered = Math.random() * Math.min(cap, base * 2 ** this.#attempt);
    const ms = Math.max(jittered, error.retryAfter ?? 0);
    const now = performance.now();
    this.#deadline ??= now + total;
    if (++this.#attempt > Math.min(attempts, limit) || now + ms > this.#deadline) throw error;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.signal?.throwIfAborted();
  }

  /**
   * Repeats `send` until it is answered, as long as its errors are passing ones. With a `limit`,
   * an error in the server's own words is an answer as well: it has refused the request.
   */
  async persist<T>(send: () => Promise<T>, limit?: number): Promise<T> {
    for (;;) {
      try {
        return await send();
      } catch (thrown) {
        const error = translate(thrown);
        const refused = limit! >= 0 && !/^(http|network)_/.test(error.code);
        if (refused || !error.retryable) throw error;
        await this.wait(error, limit);
      }
    }
  }
}

/** Ours as it is; what fetch throws as an error of ours, without a status. */
function translate(error: unknown): HeadwaterError {
  if (error instanceof HeadwaterError) return error;
  return new HeadwaterError("network_error", `No answer from the server: ${error}`, {
    retryable: true,
    cause: error,
  });
}
