/** Wherever it is cut, however the bytes come: the same text, each event once, in order. */

import { describe, expect, it } from "vitest";

import {
  ALL_KINDS,
  ALL_KINDS_PLAIN,
  END,
  forEach,
  inPieces,
  NATIVE,
  NATIVE_ERROR,
  ours,
  PIECES,
  PLAIN,
  PLAIN_ERROR,
  QUICK,
  random,
  read,
  TEXT,
} from "./logs.js";
import { changed, cutAfter, encode, refuse, status, type Behaviour, type Frame } from "./server.js";

const LOGS: [string, Frame[]][] = [
  ["native", NATIVE],
  ["native, all kinds", ALL_KINDS],
  ["plain, all kinds", ALL_KINDS_PLAIN],
  ["native, failed", NATIVE_ERROR],
  ["plain", PLAIN],
  ["plain, failed", PLAIN_ERROR],
  ["plain, without ids", PLAIN.map(({ data }) => ({ data }))],
  [
    "native, ids on every third",
    NATIVE.map(({ id, data }, at) => (at % 3 ? { data } : { id: id!, data })),
  ],
];
// Every byte of the usual logs; of the others a sample, unless all is asked for.
const stride = (name: string) => (process.env.PROOF || !/failed|without|third/.test(name) ? 1 : 7);
const range = (end: number) => Array.from({ length: end + 1 }, (_, at) => at);

const every = (end: number, name: string, step: number) =>
  range(end).filter((at) => at % (step * stride(name)) === 0 || at >= end - 2);

const html = "<!doctype html><title>Back soon</title>";
/** What passes, and may stand between a reader and its stream for a while. */
const OBSTACLES: [string, Behaviour][] = [
  ["502", status(502, html)],
  ["503, in the server's words", status(503, ours("overloaded"))],
  ["an HTML page with 200", status(200, html, { "Content-Type": "text/html" })],
  ["a closed door", refuse],
];
const REFUSALS: [number, string][] = [
  [404, "not_found"],
  [409, "position_lost"],
  [410, "trimmed"],
];
describe.each(LOGS)("%s", (name, frames) => {
  const length = encode(frames).length;

  it.each(["reset", "eof"] as const)("survives a cut (%s) at every byte", async (how) => {
    const uncut = await read(frames, []);
    expect(uncut.error).toBeUndefined();
    const offsets = range(length).filter((at) => at % stride(name) === 0 || at === length);
    await forEach(offsets, async (at) => {
      const { events, positions, server, error } = await read(frames, [cutAfter(at, how)]);
      expect([at, error, events]).toEqual([at, undefined, uncut.events]);
      expect(positions).toEqual(uncut.positions);
      expect(server.of("POST")).toHaveLength(1);
      expect(server.of("GET").length).toBeLessThanOrEqual(1);
    });
  });

  it.each(OBSTACLES)("survives a cut at every byte, met by %s", async (_, obstacle) => {
    const uncut = await read(frames, []);
    await forEach(every(length, name, 3), async (at) => {
      const { events, server, error, states } = await read(frames, [cutAfter(at), obstacle]);
      expect([at, error, events]).toEqual([at, undefined, uncut.events]);
      expect(server.of("POST")).toHaveLength(1);
      expect(states.at(-1)).toBe(name.includes("failed") ? "failed" : "done");
    });
  });

  it.each(REFUSALS)("is never a clean end when %i %s meets the reconnect", async (code, word) => {
    const uncut = await read(frames, []);
    await forEach(every(length, name, 5), async (at) => {
      const { events, error, states, server } = await read(frames, [
        cutAfter(at),
        status(code, ours(word)),
      ]);
      expect(events).toEqual(uncut.events.slice(0, events.length));
      if (server.of("GET").length === 0) return; // cut after the terminal event
      expect([at, error]).toMatchObject([at, { code: word, status: code }]);
      expect(states.at(-1)).toBe("failed");
    });
  });

  it("is never a clean end when it cannot be had back", async () => {
    const uncut = await read(frames, []);
    await forEach(every(length, name, 5), async (at) => {
      const plan = [cutAfter(at, "eof", null), ...Array<Behaviour>(3).fill(refuse)];
      const { events, error, states } = await read(frames, plan, {
        retry: { ...QUICK, attempts: 2 },
      });
      expect(events).toEqual(uncut.events.slice(0, events.length));
      const ended = events.length === uncut.events.length;
      expect([at, error === undefined]).toEqual([at, ended]);
      if (!ended) expect(states.at(-1)).toBe("failed");
    });
  });

  it("survives a cut after every few bytes of every response", async () => {
    const uncut = await read(frames, []);
    const longest = Math.max(...frames.map((frame) => encode([frame]).length));
    // Without ids every response starts anew, and none is long enough to end.
    if (!frames.some(({ id }) => id)) return;
    await forEach([longest * 3, longest * 3 + 1, longest * 4], async (count) => {
      const { events, error } = await read(frames, Array(40).fill(cutAfter(count)));
      expect([error, events]).toEqual([undefined, uncut.events]);
    });
  });

  it("reads one byte a chunk", async () => {
    const uncut = await read(frames, []);
    const { events, server } = await read(frames, [], { fetch: inPieces([1]) });
    expect(events).toEqual(uncut.events);
    expect(server.seen).toHaveLength(1);
  });
});

it("asks again from the last id it was given, and in the wire it was spoken to", async () => {
  for (const [frames, wire] of [
    [NATIVE, "native"],
    [PLAIN, "plain"],
  ] as const) {
    const { server } = await read(frames, [cutAfter(encode(frames.slice(0, 3)).length)]);
    const [request] = server.of("GET");
    expect(request).toMatchObject({ url: `/v1/streams/s1?wire=${wire}`, after: "1-3" });
  }
});

it("asks from the start when it has no id yet", async () => {
  const { server, events } = await read(NATIVE, [cutAfter(0)]);
  expect(server.of("GET")[0]!.after).toBeUndefined();
  expect(events).toHaveLength(NATIVE.length);
});

it("knows the stream by its first event where the header is hidden", async () => {
  const bytes = encode(NATIVE.slice(0, 2)).length;
  const { text, error } = await read(NATIVE, [cutAfter(bytes, "reset", null)]);
  expect([error, text]).toEqual([undefined, TEXT]);
});

describe("bytes at any split", () => {
  const heartbeat = (eol: string) => (bytes: Buffer) =>
    Buffer.from(
      `: ping${eol}` +
        bytes.toString().replaceAll("\n\n", `\n\n: ping\n`).replaceAll("\n", eol) +
        `: ping${eol}`,
    );

  it.each([
    ["LF", "\n"],
    ["CRLF", "\r\n"],
  ])("with heartbeats and %s", async (_, eol) => {
    await forEach(range(40), async (seed) => {
      const next = random(seed + 1);
      const sizes = Array.from({ length: 50 }, () => 1 + Math.floor(next() * 40));
      const { text, events, server } = await read(NATIVE, [changed(heartbeat(eol))], {
        fetch: inPieces(sizes),
      });
      expect([seed, text]).toEqual([seed, TEXT]);
      expect(events.at(-1)).toEqual(END);
      expect(server.seen).toHaveLength(1);
    });
  });

  it("begins with a byte order mark", async () => {
    const mark = (bytes: Buffer) => Buffer.concat([Buffer.from("\ufeff"), bytes]);
    expect((await read(NATIVE, [changed(mark)], { fetch: inPieces([2]) })).text).toBe(TEXT);
  });
});

it("survives any mixture of faults while it reconnects", async () => {
  await forEach(range(60), async (seed) => {
    const next = random(seed * 7919 + 1);
    const plan: Behaviour[] = Array.from({ length: 8 }, (_, turn) => {
      const bytes = Math.floor(next() * 300);
      const fault = Math.floor(next() * 5);
      if (turn === 0 || fault < 2) return cutAfter(bytes, fault ? "eof" : "reset");
      if (fault === 2) return ({ response }) => void response.socket?.destroy();
      return ({ response }) => {
        response.writeHead(fault === 3 ? 502 : 429).end("<html>");
      };
    });
    const frames = seed % 2 ? NATIVE : PLAIN;
    const { text, events, error } = await read(frames, plan);
    expect([seed, error, text]).toEqual([seed, undefined, TEXT]);
    expect(events.filter((event) => event.type === "text-delta")).toHaveLength(PIECES.length);
  });
});
