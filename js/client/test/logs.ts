/** Recorded logs, and what a reader of them must have seen. */

import { stream, type Stream, type StreamEvent, type StreamOptions } from "../src/index.js";
import { encode, LogServer, type Behaviour, type Frame } from "./server.js";

// Two, three and four bytes a character, a joined emoji, and what looks like framing but is text.
export const PIECES = ["Grüße, ", "水源 — ", "🏞️👩‍🔬", "\n\ndata: id: 7\n", "\u2028", "end."];
export const TEXT = PIECES.join("");

const timing = { queue: 0, connect: 1, first_token: 2, total: 3, overhead: 0, attempts: 1 };
const usage = { input_tokens: 1, output_tokens: 6 };

export const END = { type: "stream-end", reason: "stop", usage, timing };
export const ERROR = {
  type: "stream-error",
  code: "truncated",
  message: "The provider was cut.",
  retryable: true,
  usage: null,
  timing,
};

/** An error before the head, as the server words it. */
export const ours = (code: string, message = "No.") => ({
  error: { code, message, request_id: "r1" },
});

const log = (values: unknown[]): Frame[] =>
  values.map((value, index) => ({
    id: `1-${index + 1}`,
    data: typeof value === "string" ? value : JSON.stringify(value),
  }));

export const START = { type: "stream-start", stream: "s1", model: "m", created: 1 };
export const NATIVE = log([START, ...PIECES.map((text) => ({ type: "text-delta", text })), END]);
export const NATIVE_ERROR = log([START, { type: "text-delta", text: "half" }, ERROR]);
/** Every kind of event; a frame between two positions, and one with more than one `id:` line. */
export const ALL_KINDS: Frame[] = [
  START,
  { type: "reasoning-delta", text: "Überlegen … 🤔" },
  { type: "reasoning-delta", text: "水?\n" },
  { type: "step-start" },
  { type: "text-delta", text: "Grüße, " },
  { type: "tool-call-start", call: "c1", name: "wetter" },
  { type: "tool-call-delta", call: "c1", arguments: '{"stadt": "Kö' },
  { type: "tool-call-delta", call: "c1", arguments: 'ln"}' },
  { type: "tool-call-end", call: "c1" },
  { type: "tool-result", call: "c1", output: { "°C": [7, null] } },
  { type: "source", url: "https://example.org/ü", title: null },
  { type: "provider-data", provider: "p", part: "signature", value: "a+b/==" },
  { type: "stream-repair", reason: "cut", from: "1-5" },
  { type: "text-delta", text: "🏞️👩‍🔬\n\nid: 1-1\n\n" },
  { type: "step-end" },
  END,
].map((value, index) => {
  const data = JSON.stringify(value);
  if (index === 6) return { data };
  return { id: index % 5 === 3 ? ["0-1", `1-${index + 1}`] : `1-${index + 1}`, data };
});
/** The same in the plain wire: positions are skipped, since only text makes frames. */
export const ALL_KINDS_PLAIN: Frame[] = [
  { id: ["1-2", "1-5"], data: JSON.stringify({ token: "Grüße, " }) },
  { id: "1-14", data: JSON.stringify({ token: "🏞️👩‍🔬\n\nid: 1-1\n\n" }) },
  { id: "1-16", data: "[DONE]" },
];
export const PLAIN = log([...PIECES.map((token) => ({ token })), "[DONE]"]);
/** One event of two frames: only the last carries the id. */
export const PLAIN_ERROR: Frame[] = [
  { id: "1-2", data: JSON.stringify({ token: "half" }) },
  { data: JSON.stringify({ error: "The provider was cut." }) },
  { id: "1-3", data: "[DONE]" },
];

/** Bytes of the first four events of the native log. */
export const HALF = encode(NATIVE.slice(0, 4)).length;

/** Waits that do not slow a test down, and bounds that it cannot reach by chance. */
export const QUICK = { base: 2, cap: 4, attempts: 20, total: 5000 };

export interface Outcome {
  events: StreamEvent[];
  text: string;
  error: unknown;
  states: string[];
  positions: string[];
  server: LogServer;
  stream: Stream;
}

export const textOf = (events: StreamEvent[]): string =>
  events.map((event) => (event.type === "text-delta" ? event.text : "")).join("");

/** Reads to the end what a server with this log and these faults sends; nothing is thrown. */
export async function read(
  frames: Frame[],
  plan: Behaviour[],
  options: StreamOptions = {},
  start: (url: string, options: StreamOptions) => Stream = (url, all) =>
    stream(`${url}/stream`, all),
): Promise<Outcome> {
  const server = await new LogServer(frames, plan).start();
  const states: string[] = [];
  const positions: string[] = [];
  const events: StreamEvent[] = [];
  let error: unknown;
  const opened = start(server.url, {
    base: server.url,
    body: { prompt: "p" },
    retry: QUICK,
    onState: (state) => states.push(state),
    onPosition: (position) => positions.push(position),
    ...options,
  });
  try {
    for await (const event of opened) events.push(event);
  } catch (thrown) {
    error = thrown;
  } finally {
    await server.stop();
  }
  return { events, text: textOf(events), error, states, positions, server, stream: opened };
}

/** Runs `use` with a server, and stops the server. */
export async function withServer(
  frames: Frame[],
  plan: Behaviour[],
  use: (server: LogServer) => Promise<void>,
  deleted: Behaviour[] = [],
): Promise<void> {
  const server = await new LogServer(frames, plan, deleted).start();
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

/** A small generator of numbers that a seed repeats (mulberry32). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A fetch whose response comes in chunks of the given sizes, in turn. On loopback the sizes that a
 * server writes are not those that arrive, so the body is cut again here.
 */
export const inPieces =
  (sizes: number[]): typeof fetch =>
  async (input, init) => {
    const response = await fetch(input, init);
    let turn = 0;
    const split = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        for (let at = 0; at < chunk.length; turn++) {
          const size = sizes[turn % sizes.length]!;
          controller.enqueue(chunk.subarray(at, at + size));
          at += size;
        }
      },
    });
    return new Response(response.body?.pipeThrough(split), response);
  };

/** Runs `check` on every value, some at a time: sockets are slower than the code under test. */
export async function forEach<T>(values: T[], check: (value: T) => Promise<void>): Promise<void> {
  const rest = values.values();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const value of rest) await check(value);
    }),
  );
}
