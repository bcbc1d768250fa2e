/** The three ways to leave a stream: abort and break hang up, stop ends it. */

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";

import { resume, stream, type StreamEvent } from "../src/index.js";
import { NATIVE, PLAIN, HALF, QUICK, ours, read, withServer } from "./logs.js";
import { cutAfter, encode, hang, head, refuse, status, whole, type Behaviour } from "./server.js";

describe("abort", () => {
  it("hangs up mid-stream, and does not stop the generation", async () => {
    let closed: Promise<void> | undefined;
    const open: Behaviour = (exchange) => {
      closed = exchange.closed;
      return hang(HALF)(exchange);
    };
    await withServer(NATIVE, [open], async (server) => {
      const controller = new AbortController();
      const states: string[] = [];
      const reading = stream(`${server.url}/stream`, {
        base: server.url,
        signal: controller.signal,
        onState: (state) => states.push(state),
      });
      const error = await (async () => {
        for await (const event of reading) {
          if (event.type === "text-delta") setTimeout(() => controller.abort(), 10);
        }
      })().catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ name: "AbortError" });
      await closed;
      expect(states.at(-1)).toBe("done");
      expect(server.of("DELETE")).toHaveLength(0);
      expect(server.of("GET")).toHaveLength(0);
    });
  });

  it.each([
    ["before it begins", [], 0],
    ["before the head", [() => {}], 30],
    ["while it waits to reconnect", [cutAfter(HALF)], 60],
  ] as [string, Behaviour[], number][])("works %s", async (_, plan, after) => {
    const controller = new AbortController();
    if (after) setTimeout(() => controller.abort(), after);
    else controller.abort();
    const retry = { base: 1e9, cap: 1e9, total: 1e12 };
    const { error } = await read(NATIVE, plan, { signal: controller.signal, retry });
    expect(error).toMatchObject({ name: "AbortError" });
  });

  it("between two events of one chunk ends it there", async () => {
    await withServer(NATIVE, [], async (server) => {
      const controller = new AbortController();
      const events: StreamEvent[] = [];
      const reading = stream(`${server.url}/stream`, { signal: controller.signal });
      const error = await (async () => {
        for await (const event of reading) {
          events.push(event);
          controller.abort(new Error("enough"));
        }
      })().catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ message: "enough" });
      expect(events).toHaveLength(1);
    });
  });
});

describe("break", () => {
  it("hangs up, and leaves neither request nor listener", async () => {
    let closed: Promise<void> | undefined;
    const open: Behaviour = (exchange) => {
      closed = exchange.closed;
      return hang(HALF)(exchange);
    };
    await withServer(NATIVE, [open], async (server) => {
      const controller = new AbortController();
      let listeners = 0;
      const { signal } = controller;
      const add = signal.addEventListener.bind(signal);
      const remove = signal.removeEventListener.bind(signal);
      signal.addEventListener = (...all: Parameters<typeof add>) => (listeners++, add(...all));
      signal.removeEventListener = (...all: Parameters<typeof remove>) => (
        listeners--,
        remove(...all)
      );
      const reading = stream(`${server.url}/stream`, { base: server.url, signal });
      for await (const event of reading) if (event.type === "text-delta") break;
      expect(listeners).toBe(0);
      expect([reading.state, reading.position]).toEqual(["done", "1-2"]);
      await closed;
      expect(server.seen).toHaveLength(1);
    });
  });
});

describe("stop", () => {
  const cancelled = { type: "stream-end", reason: "cancelled", usage: null, timing: null };

  /** Streams the first half, and the end when the DELETE arrives. */
  function stoppable(): [Behaviour, Behaviour] {
    let release = () => {};
    const stopped = new Promise<void>((resolve) => (release = resolve));
    const open: Behaviour = async ({ response, bytes }) => {
      head(response);
      response.write(bytes.subarray(0, HALF));
      await stopped;
      response.end(encode([{ id: "1-5", data: JSON.stringify(cancelled) }]));
    };
    return [open, (exchange) => (release(), status(204)(exchange))];
  }

  it("ends the generation, and the reader sees the end", async () => {
    const [open, stop] = stoppable();
    await withServer(
      NATIVE,
      [open],
      async (server) => {
        const reading = stream(`${server.url}/own`, { base: server.url, headers: { "X-A": "b" } });
        const events: StreamEvent[] = [];
        let stopping: Promise<void> | undefined;
        for await (const event of reading) {
          events.push(event);
          if (event.type === "text-delta") stopping ??= reading.stop();
        }
        await stopping;
        expect(events.at(-1)).toEqual(cancelled);
        expect(server.of("DELETE")).toMatchObject([
          { url: "/v1/streams/s1", headers: { "x-a": "b" } },
        ]);
        await reading.stop();
        expect(server.of("DELETE")).toHaveLength(1);
      },
      [stop],
    );
  });

  it("is sent again until it is answered, also after an abort", async () => {
    await withServer(
      NATIVE,
      [hang(HALF)],
      async (server) => {
        const controller = new AbortController();
        const { signal } = controller;
        const reading = stream(`${server.url}/own`, { base: server.url, signal, retry: QUICK });
        for await (const event of reading) if (event.type === "text-delta") break;
        controller.abort();
        await reading.stop();
        expect(server.of("DELETE")).toHaveLength(3);
      },
      [status(502), refuse],
    );
  });

  it("before the head waits for the name", async () => {
    const late: Behaviour = async (exchange) => (await sleep(50), whole(exchange));
    await withServer(NATIVE, [late], async (server) => {
      const reading = stream(`${server.url}/own`, { base: server.url });
      const events = (async () => {
        for await (const event of reading) void event;
      })();
      await reading.stop();
      await events;
      expect(server.of("DELETE")).toHaveLength(1);
    });
  });

  it("before it begins sends nothing at all", async () => {
    await withServer(NATIVE, [], async (server) => {
      const reading = stream(`${server.url}/own`, { base: server.url });
      await reading.stop();
      for await (const event of reading) void event;
      expect(server.seen).toHaveLength(0);
      expect(reading.state).toBe("done");
    });
  });

  it("says so when it is refused, or when there is nothing to name", async () => {
    const gone = status(404, ours("not_found"));
    await withServer(
      NATIVE,
      [],
      async (server) => {
        const error = resume("s1", { base: server.url }).stop();
        await expect(error).rejects.toMatchObject({ code: "not_found", status: 404 });
      },
      [gone],
    );
    const nameless: Behaviour = async ({ response, bytes }) => {
      head(response, null);
      response.write(bytes.subarray(0, 60));
    };
    await withServer(PLAIN, [nameless], async (server) => {
      const reading = stream(`${server.url}/own`, { base: server.url });
      for await (const event of reading) {
        expect(event.type).toBe("text-delta");
        await expect(reading.stop()).rejects.toMatchObject({ code: "no_stream" });
        break;
      }
    });
  });
});
