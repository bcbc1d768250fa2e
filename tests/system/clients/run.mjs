// One cell of the compatibility matrix in Node: `node run.mjs CLIENT CELL BASE`.
//
// Prints what the client saw, as JSON: the text, in how many pieces it came, how it ended, the error.
import { Chat } from "@ai-sdk/react";
import { HttpAgent } from "@ag-ui/client";
import Anthropic from "@anthropic-ai/sdk";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import OpenAI from "openai";

const [name, cell, base] = process.argv.slice(2);
const PROMPTS = {
  "error before": "limited",
  "error inside": "inside",
  stop: "stall",
  silence: "silence",
  tools: "tools",
};
const prompt = PROMPTS[cell] ?? "tokens";
const refused = cell === "error before";
const seen = { text: "", pieces: 0, end: null, error: null };
let stream = null;

// Every client takes a fetch of one's own: this one only looks at the head.
async function watching(input, init) {
  const response = await fetch(input, init);
  stream = response.headers.get("headwater-stream") ?? stream;
  return response;
}

// The connection is lost after two reads, as when a proxy dies; once.
let lost = false;
async function losing(input, init) {
  const response = await watching(input, init);
  if (lost || !response.body) return response;
  lost = true;
  const reader = response.body.getReader();
  let reads = 0;
  const body = new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      controller.enqueue(value);
      if (++reads === 3) {
        await reader.cancel();
        controller.error(new TypeError("network error"));
      }
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

const stop = (path) => fetch(base + path, { method: "DELETE" });

async function piece(text, stopping = () => stop(`/v1/streams/${stream}`)) {
  if (!text) return;
  seen.text += text;
  seen.pieces += 1;
  if (cell === "stop" && seen.pieces === 1) await stopping();
}

const openai = () =>
  new OpenAI({ baseURL: `${base}/v1`, apiKey: "x", maxRetries: 0, fetch: watching });
const messages = [{ role: "user", content: prompt }];

async function responsesEvents(events, client, onlyTwo = false) {
  let id = null;
  let last = null;
  for await (const event of events) {
    last = event.sequence_number;
    if (event.type === "response.created") id = event.response.id;
    if (event.type === "response.output_text.delta") {
      await piece(event.delta, () => client.responses.cancel(id));
    }
    if (event.type === "error")
      throw Object.assign(new Error(event.message), { name: "an `error` event" });
    if (event.type === "response.completed") seen.end = "completed";
    if (event.type === "response.incomplete") {
      seen.end = `incomplete, ${event.response.incomplete_details.reason}`;
    }
    if (onlyTwo && seen.pieces === 2) break;
  }
  return { id, last };
}

const CLIENTS = {
  async "openai chat"() {
    const events = await openai().chat.completions.create({ model: "m", messages, stream: true });
    for await (const chunk of events) {
      await piece(chunk.choices[0]?.delta.content);
      seen.end = chunk.choices[0]?.finish_reason ?? seen.end;
    }
  },

  async "openai responses"() {
    const client = openai();
    const asked = await client.responses.create({ model: "m", input: prompt, stream: true });
    if (cell !== "resume") return responsesEvents(asked, client);
    const { id, last } = await responsesEvents(asked, client, true);
    const rest = await client.responses.retrieve(id, { stream: true, starting_after: last });
    await responsesEvents(rest, client);
  },

  async anthropic() {
    const client = new Anthropic({ baseURL: base, apiKey: "x", maxRetries: 0, fetch: watching });
    const asked = client.messages.stream({ model: "m", max_tokens: 9, messages });
    asked.on("text", (text) => void piece(text));
    const message = await asked.finalMessage();
    if (message.content[0].text !== seen.text) throw new Error("the message is not its pieces");
    seen.end = message.stop_reason;
  },

  async useChat() {
    const body = refused ? { model: "m", base_url: "http://127.0.0.1:1" } : { model: "m" };
    const transport = new DefaultChatTransport({ api: `${base}/api/chat`, body, fetch: watching });
    const made = () => {
      const chat = new Chat({
        id: "a-chat",
        transport,
        onFinish: ({ isError, isAbort, finishReason }) => {
          seen.end = isError ? "error" : isAbort ? "abort" : (finishReason ?? "ready, no reason");
        },
      });
      let known = 0;
      chat["~registerMessagesCallback"](() => {
        const text = textOf(chat);
        if (text.length > known) {
          void piece(text.slice(known), () => stop(`/api/chat/${chat.id}/stream`));
          known = text.length;
        }
      });
      return chat;
    };
    const textOf = (chat) =>
      chat.messages
        .filter((m) => m.role === "assistant")
        .flatMap((m) => m.parts)
        .filter((part) => part.type === "text")
        .map((part) => part.text)
        .join("");
    const chat = made();
    const sent = chat.sendMessage({ text: prompt });
    if (cell === "resume") {
      while (seen.pieces < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      await chat.stop(); // what a tab does that is closed
      await sent;
      const [before] = [textOf(chat)];
      Object.assign(seen, { text: "", pieces: 0, end: null });
      const reloaded = made();
      await reloaded.resumeStream();
      if (!textOf(reloaded).startsWith(before)) throw new Error("it is not the same answer");
      return;
    }
    await sent;
    if (chat.error) throw Object.assign(chat.error, { name: "`chat.error`" });
  },

  async "ag-ui"() {
    const agent = new HttpAgent({
      url: `${base}/agui`,
      threadId: "t",
      fetch: watching,
      initialMessages: [{ id: "u", role: "user", content: prompt }],
    });
    const forwardedProps = refused ? { base_url: "x" } : { model: "m" };
    let failure = null;
    await agent.runAgent(
      { forwardedProps },
      {
        onTextMessageContentEvent: ({ event }) => piece(event.delta),
        onRunErrorEvent: ({ event }) => {
          if (event.code === "aborted") seen.end = "RUN_ERROR aborted";
          else failure = Object.assign(new Error(event.message), { name: "RUN_ERROR" });
        },
        onRunFinishedEvent: () => {
          seen.end = "RUN_FINISHED";
        },
      },
    );
    if (failure) throw failure;
    const last = agent.messages.at(-1);
    if (last.content !== seen.text) throw new Error("the message is not its pieces");
  },

  async "fetch-event-source"() {
    globalThis.window = globalThis;
    globalThis.document = { addEventListener() {}, removeEventListener() {}, hidden: false };
    const body = refused ? { prompt, base_url: "x" } : { prompt, model: "m" };
    await fetchEventSource(`${base}/stream`, {
      method: "POST",
      body: JSON.stringify(body),
      fetch: cell === "resume" ? losing : watching,
      async onopen(response) {
        if (!response.ok) {
          throw Object.assign(new Error(await response.text()), {
            name: "`onopen`",
            status: response.status,
          });
        }
      },
      onmessage({ data }) {
        if (data === "[DONE]") {
          seen.end = "[DONE]";
          return;
        }
        const value = JSON.parse(data);
        if (value.error)
          throw Object.assign(new Error(value.error), { name: "an `error` message" });
        return void piece(value.token);
      },
      onerror(error) {
        if (error.message === "network error") return 1; // again, after this many milliseconds
        throw error;
      },
    });
  },
};

const parameters = { type: "object", properties: { city: { type: "string" } } };
const description = "The weather in a city";
const weather = ({ city }) => `rain in ${city}`;

// Two turns: the model calls a tool, the client answers it, the model goes on.
const TURNS = {
  async "openai chat"() {
    const tool = { name: "weather", description, parameters, parse: JSON.parse, function: weather };
    const runner = openai().chat.completions.runTools({
      model: "m",
      messages,
      stream: true,
      tools: [{ type: "function", function: tool }],
    });
    runner.on("content", (text) => void piece(text));
    await runner.finalContent();
    seen.end = "`runTools`";
  },

  async "openai responses"() {
    const client = openai();
    const tools = [{ type: "function", name: "weather", description, parameters, strict: false }];
    const input = [{ role: "user", content: prompt }];
    for (let turn = 0; turn < 2; turn++) {
      const stream = client.responses.stream({ model: "m", input, tools });
      stream.on("response.output_text.delta", ({ delta }) => void piece(delta));
      const { output } = await stream.finalResponse();
      input.push(...output);
      for (const call of output.filter((item) => item.type === "function_call")) {
        const answer = weather(JSON.parse(call.arguments));
        input.push({ type: "function_call_output", call_id: call.call_id, output: answer });
      }
    }
    seen.end = "`function_call`";
  },

  async anthropic() {
    const client = new Anthropic({ baseURL: base, apiKey: "x", maxRetries: 0, fetch: watching });
    const tools = [{ name: "weather", description, input_schema: parameters }];
    const said = [...messages];
    for (let turn = 0; turn < 2; turn++) {
      const stream = client.messages.stream({ model: "m", max_tokens: 9, messages: said, tools });
      stream.on("text", (text) => void piece(text));
      const { content } = await stream.finalMessage();
      const results = content
        .filter((block) => block.type === "tool_use")
        .map(({ id, input }) => ({
          type: "tool_result",
          tool_use_id: id,
          content: weather(input),
        }));
      said.push({ role: "assistant", content }, { role: "user", content: results });
    }
    seen.end = "`tool_use`";
  },

  async useChat() {
    const tool = { type: "function", function: { name: "weather", description, parameters } };
    const body = { model: "m", tools: [tool] };
    const transport = new DefaultChatTransport({ api: `${base}/api/chat`, body, fetch: watching });
    const over = { text: "" };
    const chat = new Chat({
      id: "tools",
      transport,
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall: { toolName, toolCallId, input } }) {
        void chat.addToolOutput({ tool: toolName, toolCallId, output: weather(input) });
      },
    });
    await chat.sendMessage({ text: prompt });
    for (let waited = 0; waited < 100 && !over.text.endsWith("."); waited++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const parts = chat.messages.slice(1).flatMap((message) => message.parts);
      const texts = parts.filter((part) => part.type === "text").map((part) => part.text);
      over.text = texts.length > 1 ? texts.join("") : "";
    }
    if (chat.messages.length !== 2) throw new Error("the answer is not one message");
    Object.assign(seen, over, { end: "`onToolCall`" });
  },

  async "ag-ui"() {
    const agent = new HttpAgent({
      url: `${base}/agui`,
      threadId: "t",
      fetch: watching,
      initialMessages: [{ id: "u", role: "user", content: prompt }],
    });
    const tools = [{ name: "weather", description, parameters }];
    for (let turn = 0; turn < 2; turn++) {
      await agent.runAgent(
        { tools, forwardedProps: { model: "m" } },
        { onTextMessageContentEvent: ({ event }) => piece(event.delta) },
      );
      for (const call of agent.messages.at(-1).toolCalls ?? []) {
        const content = weather(JSON.parse(call.function.arguments));
        agent.addMessage({ id: `r${turn}`, role: "tool", toolCallId: call.id, content });
      }
    }
    seen.end = "`toolCalls`";
  },
};

try {
  await (cell === "tools" ? TURNS : CLIENTS)[name]();
} catch (error) {
  const { name: kind, constructor, status = null, message } = error;
  seen.error = { name: kind === "Error" ? constructor.name : kind, status, message };
}
console.log(JSON.stringify(seen));
process.exit(0);
