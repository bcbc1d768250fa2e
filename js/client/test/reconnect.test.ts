/** What is tried again, for how long, and what is not. */

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";

import { resume, stream, type StreamEvent } from "../src/index.js";
import { NATIVE, PLAIN, HALF, QUICK, TEXT, ours, read, textOf, withServer } from "./logs.js";
import { cutAfter, encode, hang, head, refuse, status, type Behaviour } from "./server.js";

describe("while it reconnects", () => {
  it.each([[408], [429], [500], [502], [503], [504], [520]])(
    "tries again after %i",
    async (code) => {
      const { text, states, server } = await read(NATIVE, [
        cutAfter(HALF),
        status(code),
        status(code),
      ]);
      expect(text).toBe(TEXT);
      expect(server.of("GET").map((seen) => seen.after)).toEqual(["1-4", "1-4", "1-4"]);
      expect(states).toEqual(["connecting", "streaming", "reconnecting", "streaming", "done"]);
    },
  );

  it("tries again when nobody answers", async () => {
    const { text } = await read(NATIVE, [cutAfter(HALF), refuse, refuse]);
    expect(text).toBe(TEXT);
  });

  it.each([
    ["seconds", () => "1"],
    ["a date", () => new Date(Date.now() + 2000).toUTCString()],
  ])("waits as long as Retry-After says, in %s", async (_, header) => {
    const answer: Behaviour = (at) => status(503, "", { "Retry-After": header() })(at);
    const before = performance.now();
    const { text } = await read(NATIVE, [cutAfter(HALF), answer]);
    expect(text).toBe(TEXT);
    expect(performance.now() - before).toBeGreaterThan(900);
  });

  it.each([
    [400, "invalid_request"],
    [401, "unauthorized"],
    [404, "not_found"],
    [409, "position_lost"],
    [410, "trimmed"],
  ])("throws one error after %i", async (code, name) => {
    const { error, events, server } = await read(NATIVE, [
      cutAfter(HALF),
      status(code, ours(name)),
    ]);
    expect(error).toMatchObject({ code: name, status: code, retryable: false });
    expect(events).toHaveLength(4);
    expect(server.of("GET")).toHaveLength(1);
  });

  it("ends quietly at 204: the stream had ended there", async () => {
    const { error, events, states } = await read(NATIVE, [cutAfter(HALF), status(204)]);
    expect([error, events.length, states.at(-1)]).toEqual([undefined, 4, "done"]);
  });

  it("gives up after so many attempts, with the last error", async () => {
    const plan = [cutAfter(HALF), ...Array<Behaviour>(9).fill(status(502))];
    const { error, server, states } = await read(NATIVE, plan, {
      retry: { ...QUICK, attempts: 5 },
    });
    expect(error).toMatchObject({ code: "http_502", retryable: true });
    expect(server.of("GET")).toHaveLength(5);
    expect(states.at(-1)).toBe("failed");
  });

  it("does not give up as long as every connection brings something", async () => {
    const longest = encode(NATIVE.slice(-1)).length;
    const plan = Array<Behaviour>(7).fill(cutAfter(longest));
    const { error, text } = await read(NATIVE, plan, { retry: { ...QUICK, attempts: 1 } });
    expect([error, text]).toEqual([undefined, TEXT]);
  });

  it("gives up when every connection is cut before it brings anything", async () => {
    const plan = [cutAfter(HALF), ...Array<Behaviour>(9).fill(cutAfter(0))];
    const { error } = await read(NATIVE, plan, { retry: { ...QUICK, attempts: 5 } });
    expect(error).toMatchObject({ code: "connection_lost", retryable: true });
  });

  it("gives up after so long, however few the attempts", async () => {
    const answer = status(503, "", { "Retry-After": "3600" });
    const { error } = await read(NATIVE, [cutAfter(HALF), answer]);
    expect(error).toMatchObject({ code: "http_503", retryAfter: 3_600_000 });
  });

  it("cannot resume a stream without an id, and says so", async () => {
    const { error } = await read(PLAIN, [cutAfter(60, "eof", null)]);
    expect(error).toMatchObject({ code: "connection_lost", retryable: false });
  });
});

describe("silence", () => {
  it("counts as a cut, also of the resumed response and of its head", async () => {
    const never: Behaviour = () => {};
    const plan = [hang(HALF), hang(0), never];
    const { text, server } = await read(NATIVE, plan, { silence: 100 });
    expect(text).toBe(TEXT);
    expect(server.of("GET")).toHaveLength(3);
  });

  it("is broken by a heartbeat", async () => {
    const beating: Behaviour = async ({ response, bytes }) => {
      head(response);
      for (let beat = 0; beat < 6; beat++) {
        await sleep(60);
        response.write(": ping\n");
      }
      response.end(bytes);
    };
    const { text, server } = await read(NATIVE, [beating], { silence: 150 });
    expect(text).toBe(TEXT);
    expect(server.seen).toHaveLength(1);
  });

  it("of a reader that takes its time is none", async () => {
    await withServer(NATIVE, [], async (server) => {
      const slow = stream(`${server.url}/stream`, { base: server.url, silence: 50, retry: QUICK });
      const events: StreamEvent[] = [];
      for await (const event of slow) {
        events.push(event);
        await sleep(30);
      }
      expect(textOf(events)).toBe(TEXT);
      expect(server.seen).toHaveLength(1);
    });
  });
});

describe("resume", () => {
  it.each(["native", "plain"] as const)("reads the %s wire after a position", async (wire) => {
    const frames = wire === "native" ? NATIVE : PLAIN;
    const { events, server } = await read(frames, [], {}, (url) =>
      resume("s1", { base: url, after: "1-3", wire }),
    );
    expect(events).toHaveLength(frames.length - 3);
    expect(server.seen).toMatchObject([
      { method: "GET", url: `/v1/streams/s1?wire=${wire}`, after: "1-3" },
    ]);
  });

  it("reads from the start, through cuts", async () => {
    const { text, stream, server } = await read(NATIVE, [cutAfter(HALF)], {}, (url, options) =>
      resume("a/b", { ...options, base: url }),
    );
    expect([text, stream.id, stream.position]).toEqual([TEXT, "a/b", "1-8"]);
    expect(server.seen[0]!.url).toBe("/v1/streams/a%2Fb?wire=native");
  });

  it("has no events where the stream had ended", async () => {
    const { events, error, states } = await read(NATIVE, [status(204)], {}, (url, options) =>
      resume("s1", { ...options, base: url, after: "1-8" }),
    );
    expect([events, error, states]).toEqual([[], undefined, ["connecting", "done"]]);
  });

  it("throws for a stream that is unknown, and waits for a server that is not there yet", async () => {
    const unknown = await read(NATIVE, [status(404, ours("not_found"))], {}, (url) =>
      resume("s1", { base: url }),
    );
    expect(unknown.error).toMatchObject({ code: "not_found" });
    const late = await read(NATIVE, [refuse, status(502)], {}, (url, options) =>
      resume("s1", { ...options, base: url }),
    );
    expect(late.text).toBe(TEXT);
  });
});
