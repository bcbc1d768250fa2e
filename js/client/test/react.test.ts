/** `useStream` in real React: what is rendered, how often, and what of a component that goes. */

import { frame } from "./dom.js";

import { setTimeout as sleep } from "node:timers/promises";
import { act, Activity, createElement, Fragment, StrictMode, useEffect } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { useStream, type UseStream, type UseStreamOptions } from "../src/react.js";
import { END, ERROR, NATIVE, NATIVE_ERROR, HALF, QUICK, ours, TEXT, withServer } from "./logs.js";
import { cutAfter, encode, hang, head, status, type Behaviour, type LogServer } from "./server.js";

vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);

let root: Root;
let seen: UseStream[];
beforeEach(() => {
  sessionStorage.clear();
  seen = [];
  root = createRoot(document.createElement("div"));
});
afterEach(leave);

const last = (): UseStream => seen.at(-1)!;
const paint = () => act(async () => void frame());
const until = (check: () => void) =>
  vi.waitFor(async () => (await paint(), check()), { timeout: 5000, interval: 5 });

function leave(): Promise<void> {
  return act(async () => root.unmount());
}

interface How {
  strict?: boolean;
  /** Starts in an effect, as soon as it is there. */
  atOnce?: boolean;
}

function page(server: LogServer, options: UseStreamOptions = {}, { strict, atOnce }: How = {}) {
  const Page = () => {
    const answer = useStream({ base: server.url, retry: QUICK, ...options });
    seen.push(answer);
    useEffect(() => {
      if (atOnce) answer.start({ prompt: "p" });
    }, [answer.start]);
    return answer.text;
  };
  return createElement(strict ? StrictMode : Fragment, null, createElement(Page));
}
const show = (...all: Parameters<typeof page>) => act(async () => root.render(page(...all)));
const start = () => act(async () => last().start({ prompt: "p" }));

/** As after a reload: another document, the same storage. */
async function reload(...all: Parameters<typeof page>): Promise<void> {
  await leave();
  seen = [];
  root = createRoot(document.createElement("div"));
  await show(...all);
}

it("goes from nothing to the whole answer, and begins anew", async () => {
  await withServer(NATIVE, [], async (server) => {
    await show(server);
    expect(last()).toMatchObject({ status: "idle", text: "", error: null, usage: null });
    await start();
    await paint();
    await until(() => expect(last().status).toBe("done"));
    const { usage, timing, reason } = END;
    expect(last()).toMatchObject({ id: "s1", text: TEXT, usage, timing, reason, error: null });
    await start();
    await paint();
    expect(last()).toMatchObject({ status: "connecting", text: "", usage: null, reason: null });
    await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
    expect(server.seen.map(({ method, url, body }) => [method, url, body])).toEqual(
      Array(2).fill(["POST", "/v1/streams", '{"prompt":"p"}']),
    );
  });
});

it("keeps thoughts and text apart, takes a refusal for text, and hands on every event", async () => {
  const log = [
    { type: "reasoning-delta", text: "Hm" },
    { type: "reasoning-delta", text: "m." },
    { type: "text-delta", text: "I " },
    { type: "refusal-delta", text: "won't." },
    { type: "tool-call-start", call: "c", name: "n" },
    END,
  ].map((event, at) => ({ id: `1-${at + 1}`, data: JSON.stringify(event) }));
  const types: string[] = [];
  await withServer(log, [], async (server) => {
    await show(server, { onEvent: ({ type }) => types.push(type) });
    await start();
    await until(() => expect(last().status).toBe("done"));
    expect(last()).toMatchObject({ reasoning: "Hmm.", text: "I won't." });
    expect(types).toEqual(log.map(({ data }) => JSON.parse(data).type));
  });
});

it("renders at most once a frame, however much arrives", async () => {
  const pieces = Array.from({ length: 500 }, (_, at) => ({ type: "text-delta", text: `${at} ` }));
  const log = [...pieces, END].map((event, at) => ({
    id: `1-${at + 1}`,
    data: JSON.stringify(event),
  }));
  let arrived = 0;
  await withServer(log, [], async (server) => {
    await show(server, { onEvent: () => arrived++ });
    await start();
    const before = seen.length;
    await vi.waitFor(() => expect(arrived).toBe(501), 5000);
    expect(seen).toHaveLength(before);
    let painted = 0;
    do {
      const count = seen.length;
      await paint();
      painted++;
      expect(seen.length - count).toBeLessThanOrEqual(1);
    } while (last().status !== "done");
    expect([painted, last().text]).toEqual([1, pieces.map(({ text }) => text).join("")]);
  });
});

describe("what went wrong", () => {
  it("in the stream is shown, and the text is kept", async () => {
    await withServer(NATIVE_ERROR, [], async (server) => {
      await show(server);
      await start();
      await until(() => expect(last()).toMatchObject({ status: "failed", error: ERROR }));
      expect(last().text).toBe("half");
    });
  });

  it("before it is shown, and another start forgets it", async () => {
    await withServer(NATIVE, [status(400, ours("invalid_request"))], async (server) => {
      await show(server);
      await start();
      const error = { code: "invalid_request", message: "No.", retryable: false };
      await until(() => expect(last()).toMatchObject({ status: "failed", error }));
      await start();
      await until(() => expect(last()).toMatchObject({ status: "done", error: null }));
    });
  });

  it("in a function of one's own is shown, and ends the reading", async () => {
    await withServer(NATIVE, [], async (server) => {
      const onEvent = () => {
        throw new RangeError("mine");
      };
      await show(server, { onEvent });
      await start();
      const error = { code: "internal", message: "RangeError: mine" };
      await until(() => expect(last()).toMatchObject({ status: "failed", error }));
    });
  });
});

describe("stop", () => {
  it("ends the generation, and shows its end", async () => {
    const cancelled = JSON.stringify({ ...END, reason: "cancelled" });
    let release = () => {};
    const stopped = new Promise<void>((resolve) => (release = resolve));
    const open: Behaviour = async ({ response, bytes }) => {
      head(response);
      response.write(bytes.subarray(0, HALF));
      await stopped;
      response.end(encode([{ id: "1-5", data: cancelled }]));
    };
    await withServer(
      NATIVE,
      [open],
      async (server) => {
        await show(server);
        await start();
        await until(() => expect(last().text).not.toBe(""));
        await act(() => last().stop());
        await until(() => expect(last()).toMatchObject({ status: "done", reason: "cancelled" }));
        expect(server.of("DELETE")).toHaveLength(1);
      },
      [(exchange) => (release(), status(204)(exchange))],
    );
  });

  it("that is refused says so, and the stream goes on", async () => {
    await withServer(
      NATIVE,
      [hang(HALF)],
      async (server) => {
        await show(server);
        await start();
        await until(() => expect(last().text).not.toBe(""));
        await act(() => last().stop());
        const error = { code: "forbidden" };
        await until(() => expect(last()).toMatchObject({ status: "streaming", error }));
      },
      [status(403, ours("forbidden"))],
    );
  });

  it("where nothing runs does nothing", async () => {
    await withServer(NATIVE, [], async (server) => {
      await show(server);
      await act(() => last().stop());
      expect([server.seen, last().status]).toEqual([[], "idle"]);
    });
  });
});

it("that goes away hangs up, and stops nothing", async () => {
  let closed: Promise<void> | undefined;
  const open: Behaviour = (exchange) => ((closed = exchange.closed), hang(HALF)(exchange));
  await withServer(NATIVE, [open], async (server) => {
    await show(server);
    await start();
    await until(() => expect(last().text).not.toBe(""));
    await leave();
    await closed;
    const renders = seen.length;
    await sleep(20);
    await paint();
    expect([seen.length, server.seen.length]).toEqual([renders, 1]);
  });
});

it("that was hidden before its end was rendered, has it when it is seen again", async () => {
  await withServer(NATIVE, [], async (server) => {
    let ended = false;
    const options = {
      onEvent: ({ type }: { type: string }) => void (ended ||= type === "stream-end"),
    };
    const children = page(server, options);
    const mode = (mode: "visible" | "hidden") =>
      act(async () => root.render(createElement(Activity, { mode, children })));
    await mode("visible");
    await start();
    await vi.waitFor(() => expect(ended).toBe(true));
    await mode("hidden");
    await mode("visible");
    await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
    expect(server.seen).toHaveLength(1);
  });
});

describe("after a reload", () => {
  const options = { remember: "chat" };

  it("shows again, from its start, what ran", async () => {
    for (const strict of [false, true]) {
      await withServer(NATIVE, [hang(HALF)], async (server) => {
        await show(server, options, { strict });
        await start();
        await until(() => expect(last().text).not.toBe(""));
        await reload(server, options, { strict });
        await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
        expect(server.seen.map(({ method, after }) => [method, after])).toEqual([
          ["POST", undefined],
          ["GET", undefined],
        ]);
        await reload(server, options, { strict });
        await sleep(20);
        expect([server.seen.length, last().status]).toEqual([2, "idle"]);
      });
    }
  });

  it("that came before the answer, asks again for the same", async () => {
    await withServer(NATIVE, [() => {}], async (server) => {
      await show(server, options);
      await start();
      await vi.waitFor(() => expect(server.seen).toHaveLength(1));
      await reload(server, options);
      await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
      const keys = server.of("POST").map(({ headers }) => headers["idempotency-key"]);
      expect([keys.length, new Set(keys).size, typeof keys[0]]).toEqual([2, 1, "string"]);
    });
  });
});

describe("strict mode", () => {
  it("begins one stream for one start, and finds one that an effect began", async () => {
    await withServer(NATIVE, [cutAfter(HALF)], async (server) => {
      await show(server, {}, { strict: true });
      await start();
      await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
      expect(server.seen.map(({ method, after }) => [method, after])).toEqual([
        ["POST", undefined],
        ["GET", "1-4"],
      ]);
    });
    await withServer(NATIVE, [], async (server) => {
      await reload(server, {}, { strict: true, atOnce: true });
      await until(() => expect(last()).toMatchObject({ status: "done", text: TEXT }));
      // React runs such an effect twice; what it began first was never sent.
      expect(server.seen).toHaveLength(1);
    });
  });
});

it("reads a stream by its id", async () => {
  await withServer(NATIVE, [], async (server) => {
    await show(server);
    await act(async () => last().resume("s1", "1-4"));
    await until(() => expect(last().status).toBe("done"));
    expect(TEXT.endsWith(last().text)).toBe(true);
    expect(server.seen).toMatchObject([{ method: "GET", after: "1-4" }]);
  });
});

it("is nothing yet where a page is rendered by a server", async () => {
  await withServer(NATIVE, [], async (server) => {
    expect(renderToString(page(server, { remember: "chat" }))).toBe("");
    expect([last().status, server.seen]).toEqual(["idle", []]);
  });
});
