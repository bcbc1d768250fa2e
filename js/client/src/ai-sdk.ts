/**
 * A transport of the AI SDK's whose stop is a stop.
 *
 * `useChat`'s `stop()` only hangs up, and whoever hangs up is expected back. So the signal that it
 * aborts sends the DELETE as well.
 */

import { errorOf } from "./errors.js";

/** As much of the AI SDK's `ChatTransport` as is looked at; its own types stay as they are. */
export interface Transport {
  sendMessages(options: any): Promise<ReadableStream>;
}

export interface StoppingOptions {
  /** Where the chats are: the `api` of the transport. Default "/api/chat". */
  api?: string | undefined;
  headers?: HeadersInit | undefined;
  credentials?: RequestCredentials | undefined;
  fetch?: typeof fetch | undefined;
}

interface Asked {
  chatId: string;
  abortSignal: AbortSignal | undefined;
}

/** What every such transport can do in addition. */
export interface Stopping {
  /**
   * Ends what runs in the chat, for all its readers. For a chat that was resumed: the AI SDK gives
   * no signal for that. `HeadwaterError` when it cannot be stopped.
   */
  stopChat(chatId: string): Promise<void>;
}

// A proxy may be in the middle of something; a reader who pressed stop is not patient.
const STOP_MS = 10_000;

/**
 * The same transport, stopping: `stopping(new DefaultChatTransport({ api }), { api })`.
 *
 * What was sent and not yet answered is waited for, since a chat that the server has not heard of
 * cannot be stopped; after that the connection is hung up at once.
 */
export function stopping<T extends Transport>(
  transport: T,
  options: StoppingOptions = {},
): T & Stopping {
  const { api = "/api/chat", headers, credentials, fetch: send = fetch } = options;
  const stopChat = async (chatId: string): Promise<void> => {
    const response = await send(`${api}/${encodeURIComponent(chatId)}/stream`, {
      method: "DELETE",
      keepalive: true,
      signal: AbortSignal.timeout(STOP_MS),
      ...(headers && { headers }),
      ...(credentials && { credentials }),
    });
    if (!response.ok) throw await errorOf(response);
  };
  const ask = transport.sendMessages.bind(transport);
  const sendMessages = async (asked: Asked): Promise<ReadableStream> => {
    const hangUp = new AbortController();
    const sent = ask({ ...asked, abortSignal: hangUp.signal });
    const stop = async () => {
      // Refused or failed: then there is nothing to stop, and the AI SDK is told of it below.
      const answered = await sent.catch(() => undefined);
      hangUp.abort();
      // Not stopped is as if it had only been hung up, which the AI SDK takes for a stop.
      if (answered) await stopChat(asked.chatId).catch(() => {});
    };
    if (asked.abortSignal?.aborted) void stop();
    asked.abortSignal?.addEventListener("abort", () => void stop(), { once: true });
    return sent;
  };
  return Object.assign(transport, { sendMessages, stopChat });
}
