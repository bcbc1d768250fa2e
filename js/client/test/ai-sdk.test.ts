/** The AI SDK's own chat and transport: its stop ends the generation. */

import { AbstractChat, DefaultChatTransport, type ChatState, type UIMessage } from "ai";
import { expect, it, vi } from "vitest";

import { stopping } from "../src/ai-sdk.js";
import { withServer } from "./logs.js";
import {
  encode,
  head,
  status,
  type Behaviour,
  type Exchange,
  type Frame,
  type LogServer,
} from "./server.js";

const FRAMES: Frame[] = [
  { type: "start", messageId: "m" },
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "half" },
].map((part) => ({ data: JSON.stringify(part) }));

/** What an application's framework keeps, without one. */
class State implements ChatState<UIMessage> {
  status: ChatState<UIMessage>["status"] = "ready";
  error: Error | undefined;
  messages: UIMessage[] = [];
  pushMessage = (message: UIMessage) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index: number, message: UIMessage) => void (this.messages[index] = message);
  snapshot = <T>(thing: T): T => structuredClone(thing);
}

class Chat extends AbstractChat<UIMessage> {
  constructor(server: LogServer) {
    const api = `${server.url}/api/chat`;
    const options = { api, headers: { "x-api-key": "k" } };
    const transport = stopping(new DefaultChatTransport(options), options);
    super({ id: "c/1", transport, state: new State() });
  }

  get text(): string {
    const parts = this.messages.flatMap(({ role, parts }) => (role === "assistant" ? parts : []));
    return parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  }
}

/** The head after `wait`, the parts, and then nothing more. */
const open =
  (wait?: Promise<void>): Behaviour =>
  async ({ response }) => {
    await wait;
    head(response);
    response.write(encode(FRAMES));
  };
const methods = (server: LogServer) => server.seen.map(({ method }) => method);

it.each([
  ["what was sent", (chat: Chat) => chat.sendMessage({ text: "p" }), "POST"],
  ["what was resumed", (chat: Chat) => chat.resumeStream(), "GET"],
])("stops %s", async (_, begin, method) => {
  await withServer([], [open()], async (server) => {
    const chat = new Chat(server);
    const begun = begin(chat);
    await vi.waitFor(() => expect(chat.text).toBe("half"), 5000);
    await chat.stop();
    await begun;
    expect([chat.status, chat.text, chat.error]).toEqual(["ready", "half", undefined]);
    await vi.waitFor(() => expect(methods(server)).toEqual([method, "DELETE"]), 5000);
    expect(server.of("DELETE")).toMatchObject([
      { url: "/api/chat/c%2F1/stream", headers: { "x-api-key": "k" } },
    ]);
  });
});

it("stops what the server had not answered yet, once it has", async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await withServer([], [open(held)], async (server) => {
    const chat = new Chat(server);
    const begun = chat.sendMessage({ text: "p" });
    await vi.waitFor(() => expect(methods(server)).toEqual(["POST"]), 5000);
    const stopped = chat.stop();
    release();
    await Promise.all([begun, stopped]);
    await vi.waitFor(() => expect(methods(server)).toEqual(["POST", "DELETE"]), 5000);
    expect([chat.status, chat.error]).toEqual(["ready", undefined]);
  });
});

it("stops nothing where there is nothing, and leaves what cannot be stopped", async () => {
  await withServer([], [status(204)], async (server) => {
    const chat = new Chat(server);
    await chat.resumeStream();
    await chat.stop();
    expect(methods(server)).toEqual(["GET"]);
  });
  await withServer(
    [],
    [open()],
    async (server) => {
      const chat = new Chat(server);
      const begun = chat.sendMessage({ text: "p" });
      await vi.waitFor(() => expect(chat.text).toBe("half"), 5000);
      await chat.stop();
      await begun;
      await vi.waitFor(() => expect(methods(server)).toEqual(["POST", "DELETE"]), 5000);
      expect([chat.status, chat.error]).toEqual(["ready", undefined]);
    },
    [status(503)],
  );
});

it("stops a chat by its name, and says when it cannot", async () => {
  const error = { error: { code: "not_found", message: "No." } };
  await withServer(
    [],
    [],
    async (server) => {
      const api = `${server.url}/api/chat`;
      const transport = stopping(new DefaultChatTransport({ api }), { api });
      await transport.stopChat("c");
      expect(server.seen).toMatchObject([{ method: "DELETE", url: "/api/chat/c/stream" }]);
      await expect(transport.stopChat("d")).rejects.toMatchObject({ code: "not_found" });
    },
    [status(204), status(404, error)],
  );
});

it.each([
  ["reset", ({ response }: Exchange) => void setTimeout(() => response.destroy(), 20)],
  ["ended", ({ response }: Exchange) => void response.end()],
])("has the rest of what was %s, though it has ended meanwhile", async (_, cut) => {
  const broken: Behaviour = async (exchange) => {
    await open()(exchange);
    cut(exchange);
  };
  const rest = [{ type: "text-delta", id: "t", delta: " whole" }, { type: "finish" }];
  const all: Behaviour = ({ response }) => {
    head(response);
    response.end(encode([...FRAMES, ...rest.map((part) => ({ data: JSON.stringify(part) }))]));
  };
  await withServer([], [broken, all, status(204)], async (server) => {
    const chat = new Chat(server);
    await chat.sendMessage({ text: "p" });
    expect([chat.status, chat.text]).toEqual(["error", "half"]);
    await chat.resumeStream();
    expect([chat.status, chat.text]).toEqual(["ready", "half whole"]);
    await chat.resumeStream();
    expect([chat.status, chat.text]).toEqual(["ready", "half whole"]);
    expect(server.seen.map(({ method, after }) => [method, after])).toEqual([
      ["POST", undefined],
      ["GET", "0-0"],
      ["GET", undefined],
    ]);
  });
});
