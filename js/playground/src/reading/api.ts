/** The server's JSON endpoints, by addresses relative to the page. */

import { HeadwaterError } from "@headwater/client";

export interface Model {
  id: string;
  provider: string;
  available: boolean;
}

/** A whole answer, as Chat Completions gives it. */
export interface Answer {
  text: string;
  thoughts: string;
  reason: string | null;
  tokens: number | null;
}

async function failure(response: Response): Promise<HeadwaterError> {
  const { status, headers } = response;
  const error = await response.json().then(
    (body) => body?.error ?? {},
    () => ({}),
  );
  return new HeadwaterError(
    String(error.code ?? `http_${status}`),
    String(error.message ?? `The server answered with HTTP ${status}.`),
    {
      status,
      retryable: status === 429 || status > 500,
      requestId: headers.get("x-request-id") ?? error.request_id,
    },
  );
}

async function request(url: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(url, init).catch((error: unknown) => {
    if (init.signal?.aborted) throw error;
    throw new HeadwaterError("network_error", "The server does not answer.", { retryable: true });
  });
  if (!response.ok) throw await failure(response);
  return response;
}

const post = (url: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  request(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });

export interface Catalogue {
  data?: Model[];
  /** The model of a request that names none. */
  default?: string | null;
}

export async function listModels(): Promise<Catalogue> {
  return (await request("v1/models")).json() as Promise<Catalogue>;
}

/** The whole answer in one response; aborting the signal cancels its generation. */
export async function complete(
  prompt: string,
  model: string,
  signal: AbortSignal,
): Promise<Answer> {
  const body = {
    ...(model && { model }),
    messages: [{ role: "user", content: prompt }],
    stream: false,
  };
  const response = await post("v1/chat/completions", body, signal);
  const { choices, usage } = await response.json();
  const { message, finish_reason } = choices?.[0] ?? {};
  return {
    text: message?.content ?? message?.refusal ?? "",
    thoughts: message?.reasoning_content ?? "",
    reason: finish_reason ?? null,
    tokens: usage?.completion_tokens ?? null,
  };
}

/** Exchanges a key for the page's cookie. */
export async function openSession(key: string): Promise<void> {
  await post("v1/session", { key });
}

/** The answer to a probe, before its body. */
export const openProbe = (
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Response> => request(url, { headers, signal });
