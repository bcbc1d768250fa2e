/** What each answer before the stream, and each end of it, comes to. */

import { describe, expect, it } from "vitest";

import { HeadwaterError } from "../src/index.js";
import { NATIVE, PLAIN, PLAIN_ERROR, NATIVE_ERROR, ERROR, HALF, TEXT, ours, read } from "./logs.js";
import { cutAfter, hang, head, refuse, status, type Behaviour, type LogServer } from "./server.js";

describe("before the head", () => {
  it.each([
    [400, ours("invalid_request"), { code: "invalid_request", message: "No.", retryable: false }],
    [401, ours("unauthorized"), { code: "unauthorized", retryable: false }],
    [429, ours("rate_limited"), { code: "rate_limited", retryable: true, retryAfter: 7000 }],
    [503, ours("overloaded"), { code: "overloaded", retryable: true }],
    [503, ours("provider_not_configured"), { retryable: false }],
    [500, ours("internal"), { code: "internal", retryable: false }],
    [502, "<html>Bad Gateway", { code: "http_502", retryable: true, requestId: undefined }],
    [400, { error: "a string" }, { code: "http_400" }],
    [400, null, { code: "http_400" }],
  ])("HTTP %i %j is an error, and the POST is not repeated", async (code, body, expected) => {
    const { error, server, states } = await read(NATIVE, [
      status(code, body, { "Retry-After": "7" }),
    ]);
    expect(error).toBeInstanceOf(HeadwaterError);
    expect(error).toMatchObject({ status: code, ...expected });
    expect(server.seen).toHaveLength(1);
    expect(states).toEqual(["connecting", "failed"]);
  });

  it("names the request", async () => {
    const { error } = await read(NATIVE, [status(400, ours("x"))]);
    expect(error).toMatchObject({ requestId: "r1" });
    const other = await read(NATIVE, [status(400, "", { "X-Request-Id": "r2" })]);
    expect(other.error).toMatchObject({ requestId: "r2" });
  });

  it("does not repeat a POST that would do the work twice", async () => {
    const { error, server } = await read(NATIVE, [refuse], { idempotent: false });
    expect(server.seen[0]!.headers).not.toHaveProperty("idempotency-key");
    expect(error).toMatchObject({ code: "network_error", retryable: true, status: undefined });
    expect((error as Error).cause).toBeInstanceOf(TypeError);
    expect(server.seen).toHaveLength(1);
  });

  const keys = (server: LogServer) =>
    server.seen.map(({ method, headers }) => [method, headers["idempotency-key"]]);

  it("repeats it under one Idempotency-Key when there is no answer", async () => {
    const plan = [refuse, status(502, "<html>"), cutAfter(HALF)];
    const first = await read(NATIVE, plan);
    expect([first.error, first.text]).toEqual([undefined, TEXT]);
    const [[, key]] = keys(first.server) as [[string, string]];
    expect(key).toMatch(/^[\w-]{16,64}$/);
    expect(keys(first.server)).toEqual([
      ["POST", key],
      ["POST", key],
      ["POST", key],
      ["GET", undefined],
    ]);
    const second = await read(NATIVE, []);
    expect(keys(second.server)[0]![1]).not.toBe(key);
  });

  it("takes the Idempotency-Key it is given", async () => {
    const headers = { "Idempotency-Key": "k" };
    const { server } = await read(NATIVE, [refuse, cutAfter(HALF)], { headers });
    expect(keys(server)).toEqual([
      ["POST", "k"],
      ["POST", "k"],
      ["GET", undefined],
    ]);
  });

  it("repeats it a few times only", async () => {
    const { error, server } = await read(NATIVE, Array<Behaviour>(9).fill(refuse));
    expect(error).toMatchObject({ code: "network_error" });
    expect(server.of("POST")).toHaveLength(6);
  });

  it.each([
    ["HTML", status(200, "<html>", { "Content-Type": "text/html" })],
    ["JSON", status(200, {}, { "Content-Type": "application/json" })],
    ["nothing", status(200)],
  ])("refuses a success that is %s", async (_, answer) => {
    const { error } = await read(NATIVE, [answer]);
    expect(error).toMatchObject({ code: "invalid_response", status: 200 });
  });

  it.each([["not json"], ["null"], ["7"], ['{"choices":[]}'], ['{"type":1}'], ["[]"]])(
    "refuses a frame of another wire: %s",
    async (data) => {
      const { error } = await read([{ id: "1-1", data }], []);
      expect(error).toMatchObject({ code: "invalid_response", retryable: false });
    },
  );

  it("sends the body, the headers and what it accepts", async () => {
    const { server } = await read(NATIVE, [], { body: { prompt: "ü" }, headers: { "X-A": "b" } });
    expect(JSON.parse(server.seen[0]!.body)).toEqual({ prompt: "ü" });
    expect(server.seen[0]!.headers).toMatchObject({
      "content-type": "application/json",
      accept: "text/event-stream",
      "x-a": "b",
    });
  });
});

describe("the end", () => {
  it("is the terminal event, though the connection stays open", async () => {
    const { text, states, server } = await read(NATIVE, [hang()]);
    expect(text).toBe(TEXT);
    expect(states).toEqual(["connecting", "streaming", "done"]);
    expect(server.seen).toHaveLength(1);
  });

  it("hands on stream-error, and does not throw", async () => {
    const native = await read(NATIVE_ERROR, []);
    expect([native.error, native.events.at(-1)]).toEqual([undefined, ERROR]);
    expect(native.states.at(-1)).toBe("failed");
    const plain = await read(PLAIN_ERROR, []);
    expect(plain.events.at(-1)).toEqual({
      ...ERROR,
      code: "unknown",
      retryable: false,
      timing: null,
    });
  });

  it("of the plain wire tells no reason", async () => {
    const end = { type: "stream-end", reason: null, usage: null, timing: null };
    expect((await read(PLAIN, [])).events.at(-1)).toEqual(end);
  });

  it("hands on events that it does not know", async () => {
    const later = { type: "weather-report", sky: "clear" };
    const { events } = await read([{ id: "1-1", data: JSON.stringify(later) }, NATIVE.at(-1)!], []);
    expect(events[0]).toEqual(later);
  });

  it("ignores what comes after it", async () => {
    const { events } = await read([...NATIVE, { id: "9-9", data: "junk" }], []);
    expect(events).toHaveLength(NATIVE.length);
  });
});

it("bounds what one message may hold", async () => {
  const flood: Behaviour = async ({ response }) => {
    head(response);
    const block = Buffer.alloc(1024 * 1024, "x");
    response.write("data: ");
    for (let sent = 0; sent < 20 && !response.destroyed; sent++) {
      await new Promise((resolve) => response.write(block, resolve));
    }
  };
  const { error, server } = await read(NATIVE, [flood]);
  expect(error).toMatchObject({ code: "invalid_response" });
  expect(server.seen).toHaveLength(1);
});

it("uses the fetch it is given, with its signal", async () => {
  const urls: string[] = [];
  const mine: typeof fetch = (input, init) => {
    urls.push(String(input));
    return fetch(input, init);
  };
  const { text } = await read(NATIVE, [cutAfter(HALF)], { fetch: mine });
  expect([text, urls.length]).toEqual([TEXT, 2]);
});
