/** When to try again, and for how long. */

import { HeadwaterError, isTransient } from "./errors.js";

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

/** Waits `ms`, or until the signal aborts, whichever is first. */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake);
  });
}

/** Counts attempts and time without a connection, and waits between attempts. */
export class Backoff {
  #attempt = 0;
  #deadline = 0;

  constructor(
    private readonly options: RetryOptions = {},
    private readonly signal?: AbortSignal,
  ) {}

  /** An event arrived: the next failure is the first again. */
  reset(): void {
    this.#attempt = 0;
  }

  /** There is no connection from now on. */
  begin(): void {
    this.#deadline = performance.now() + (this.options.total ?? 300_000);
  }

  /**
   * Waits before the next attempt; throws `error` when the bounds are reached, and the signal's
   * reason when it aborts.
   *
   * The wait is uniform between 0 and the doubled bound ("full jitter"), so that the readers of a
   * node that died do not all come back in the same moment.
   */
  async wait(error: HeadwaterError): Promise<void> {
    const { attempts = 30, base = 500, cap = 10_000 } = this.options;
    const jittered = Math.random() * Math.min(cap, base * 2 ** this.#attempt);
    const ms = Math.max(jittered, error.retryAfter ?? 0);
    if (++this.#attempt > attempts || performance.now() + ms > this.#deadline) throw error;
    await sleep(ms, this.signal);
    this.signal?.throwIfAborted();
  }

  /** Repeats `send` until it is answered, as long as its errors are passing ones and `safe`. */
  async persist<T>(send: () => Promise<T>, safe: boolean): Promise<T> {
    for (;;) {
      try {
        return await send();
      } catch (thrown) {
        this.signal?.throwIfAborted();
        const error = translate(thrown);
        if (!safe || !isTransient(error.status ?? 503)) throw error;
        await this.wait(error);
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
