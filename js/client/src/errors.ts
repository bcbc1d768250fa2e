/** What this client could not do, as opposed to `stream-error`, which is what the server says. */

export interface ErrorDetails {
  /** Whether the same request may succeed later without being changed. Default false. */
  retryable?: boolean;
  /** The HTTP status, where there was an answer. */
  status?: number | undefined;
  /** The server's `X-Request-Id`: quote it when asking for help. */
  requestId?: string | undefined;
  /** How long the server asks to wait, in milliseconds. */
  retryAfter?: number | undefined;
  /** The error this one stands for, such as fetch's own. */
  cause?: unknown;
}

/**
 * Thrown by the iteration and by `stop()`.
 *
 * `code` is the server's (`rate_limited`, `position_lost`, …) where the server answered in its own
 * words, `http_<status>` where something before it answered, or one of ours:
 *
 * - `network_error`: no answer. Of the first request it is then not known whether it was accepted;
 * - `connection_lost`: cut, and not to be had back within the bounds, or the stream has no id;
 * - `no_stream`: the response names no stream, so there is nothing to stop;
 * - `invalid_response`: a success that is not an event stream of ours. While reconnecting it passes
 *   for a page that a proxy, or a network that wants a login, shows in the place of one.
 */
export class HeadwaterError extends Error {
  override readonly name = "HeadwaterError";
  readonly retryable: boolean = false;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly retryAfter: number | undefined;

  constructor(
    readonly code: string,
    message: string,
    details: ErrorDetails = {},
  ) {
    super(message, details);
    Object.assign(this, details);
  }
}

/** Retry-After as seconds or as a date, in milliseconds from now; undefined when there is none. */
function retryAfterMs(header: string | null): number | undefined {
  const ms = Number(header) * 1000 || Date.parse(header!) - Date.now();
  return ms > 0 ? ms : undefined;
}

/** The error an HTTP answer stands for; reads its body, which may be a proxy's HTML. */
export async function errorOf(response: Response): Promise<HeadwaterError> {
  const { status, headers } = response;
  const { code, message, request_id }: Record<string, unknown> = await response.json().then(
    (json) => json?.error ?? {},
    () => ({}),
  );
  return new HeadwaterError(
    String(code ?? `http_${status}`),
    String(message ?? `The server answered with HTTP ${status}.`),
    {
      status,
      // Overload, and proxies in trouble; not what the next attempt would find unchanged.
      retryable:
        (status === 429 || status === 408 || status >= 500) &&
        !/^(provider_not|internal)/.test(code as string),
      requestId: headers.get("x-request-id") ?? (request_id as string | undefined),
      retryAfter: retryAfterMs(headers.get("retry-after")),
    },
  );
}
