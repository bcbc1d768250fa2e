/**
 * A transport of the AI SDK's whose stop is a stop, and whose cut is no end.
 *
 * `useChat`'s `stop()` only hangs up, and whoever hangs up is expected back. So the signal that it
 * aborts sends the DELETE as well. And who resumes after a cut is told that nothing runs when the
 * answer has ended meanwhile; so we say that it is its rest that is wanted.
 */

import { errorOf } from "./errors.js";

/** As much of the AI SDK's `ChatTransport` as is looked at; its own types stay as they are. */
export interface Transport {
  sendMessages(options: any): Promise<ReadableStream>;
  reconnectToStream(options: any): Promise<ReadableStream | null>;
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
  abortSignal?: AbortSignal | undefined;
  headers?: HeadersInit | undefined;
}

/** What every such transport can do in addition. */
export interface Stopping {
  /**
   * Ends what runs in the chat, for all its readers. `HeadwaterError` when it cannot be stopped. To
   * be called where a version of the AI SDK gives no signal for a chat that it has resumed.
   */
  stopChat(chatId: string): Promise<void>;
}

// A proxy may be in the middle of something; a reader who pressed stop is not patient.
const STOP_MS = 5000;

/**
 * The same transport, stopping: `stopping(new DefaultChatTransport({ api }), { api })`.
 *
 * An answer that has not begun is waited for, a few seconds at most: a chat that the server has not
 * heard of cannot be stopped. Then the connection is hung up at once, as by the AI SDK itself.
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
  const cut = new Set<string>();
  const told = (chat: string) => (broken: boolean) =>
    void (broken ? cut.add(chat) : cut.delete(chat));
  const stopped =
    <R extends ReadableStream | null>(ask: (asked: Asked) => Promise<R>) =>
    (asked: Asked): Promise<R> => {
      const hangUp = new AbortController();
      const answer = ask
        .call(transport, { ...asked, abortSignal: hangUp.signal })
        .then((stream) => stream && (watched(stream, hangUp.signal, told(asked.chatId)) as R));
      const stop = async () => {
        // Refused, or nothing there: nothing to stop. The AI SDK is told by the answer itself.
        const late = setTimeout(() => hangUp.abort(), STOP_MS);
        const found = await answer.catch(() => null);
        clearTimeout(late);
        hangUp.abort();
        // Where it cannot be stopped it is left, which is all that the AI SDK expects.
        if (found) await stopChat(asked.chatId).catch(() => {});
      };
      if (asked.abortSignal?.aborted) void stop();
      else asked.abortSignal?.addEventListener("abort", () => void stop(), { once: true });
      return answer;
    };
  const reconnect = transport.reconnectToStream;
  return Object.assign(transport, {
    sendMessages: stopped(transport.sendMessages),
    reconnectToStream: stopped((asked) => {
      const headers = new Headers(asked.headers);
      if (cut.has(asked.chatId)) headers.set("last-event-id", "0-0"); // from its beginning
      return reconnect.call(transport, { ...asked, headers: Object.fromEntries(headers) });
    }),
    stopChat,
  });
}

const LAST = ["finish", "abort", "error"];

/** The same stream. `tell`: whether it has been cut; an end without a last chunk is a cut too. */
function watched(
  stream: ReadableStream,
  signal: AbortSignal,
  tell: (broken: boolean) => void,
): ReadableStream {
  const reader = stream.getReader();
  let ended = false;
  tell(false);
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) {
          ended ||= LAST.includes(value.type);
          controller.enqueue(value);
        } else if (ended) controller.close();
        else throw new TypeError("network error: cut before its end"); // as fetch says it
      } catch (error) {
        tell(!signal.aborted);
        controller.error(error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
