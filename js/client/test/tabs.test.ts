/** Tabs on one stream: one connection, the same events in each, whichever of them is closed. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { stream, type Stream, type StreamEvent, type StreamOptions } from "../src/index.js";
import { shared } from "../src/tabs.js";
import { Locks } from "./locks.js";
import { ALL_KINDS, NATIVE, ours, PLAIN, QUICK, random, textOf, TEXT, withServer } from "./logs.js";
import { cutAfter, encode, head, status, type Behaviour, type LogServer } from "./server.js";

let locks: Locks;
beforeEach(() => {
  locks = new Locks();
  vi.stubGlobal("navigator", { locks });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

class Tab {
  readonly events: StreamEvent[] = [];
  readonly states: string[] = [];
  readonly positions: string[] = [];
  readonly source: Stream;
  readonly closed = new AbortController();
  error: unknown;
  ended: Promise<void>;

  constructor(server: LogServer, what: string | StreamOptions = "s1") {
    const options = {
      base: server.url,
      retry: QUICK,
      signal: this.closed.signal,
      onState: (state: string) => void this.states.push(state),
      onPosition: (position: string) => void this.positions.push(position),
    };
    this.source = shared(
      typeof what === "string" ? what : (own) => stream(`${server.url}/own`, { ...own, ...what }),
      options,
    );
    this.ended = this.#read();
  }

  get text(): string {
    return textOf(this.events);
  }

  close(): void {
    this.closed.abort();
  }

  async has(count: number): Promise<void> {
    await vi.waitFor(() => expect(this.events.length).toBeGreaterThanOrEqual(count), 5000);
  }

  async #read(): Promise<void> {
    try {
      for await (const event of this.source) this.events.push(event);
    } catch (error) {
      if (!this.closed.signal.aborted) this.error = error;
    }
  }
}

/** One frame now and then. */
const paced =
  (ms: number): Behaviour =>
  async ({ response, bytes }) => {
    head(response);
    for (const frame of bytes.toString().split(/(?<=\n\n)(?=id|data)/)) {
      if (response.destroyed) return;
      response.write(frame);
      await sleep(ms);
    }
    response.end();
  };
const always = (behaviour: Behaviour) => Array<Behaviour>(20).fill(behaviour);
const all = (frames: typeof NATIVE) => frames.map(({ data }) => JSON.parse(data) as StreamEvent);

describe("tabs on one stream", () => {
  it("read it over one connection, each event once, from the start", async () => {
    await withServer(ALL_KINDS, always(paced(15)), async (server) => {
      const tabs = [new Tab(server), new Tab(server)];
      await tabs[0]!.has(5);
      tabs.push(new Tab(server), new Tab(server));
      await Promise.all(tabs.map(({ ended }) => ended));
      for (const tab of tabs) {
        expect([tab.error, tab.events]).toEqual([undefined, all(ALL_KINDS)]);
        expect(tab.states).toEqual(["connecting", "streaming", "done"]);
        expect(tab.source.position).toBe("1-16");
      }
      expect(server.seen).toHaveLength(1);
    });
  });

  it("join the one that began it", async () => {
    await withServer(NATIVE, always(paced(20)), async (server) => {
      const first = new Tab(server, { body: { prompt: "p" } });
      await first.has(2);
      const second = new Tab(server, first.source.id!);
      await Promise.all([first.ended, second.ended]);
      expect([first.text, second.text]).toEqual([TEXT, TEXT]);
      expect(server.seen.map(({ method }) => method)).toEqual(["POST"]);
    });
  });

  it("go on when the one that reads is closed, and when the next is", async () => {
    await withServer(ALL_KINDS, always(paced(25)), async (server) => {
      const tabs = [new Tab(server, { body: {} })];
      await tabs[0]!.has(1);
      tabs.push(new Tab(server), new Tab(server));
      await tabs[2]!.has(4);
      tabs[0]!.close();
      await tabs[2]!.has(8);
      tabs[1]!.close();
      await tabs[2]!.ended;
      expect([tabs[2]!.error, tabs[2]!.events]).toEqual([undefined, all(ALL_KINDS)]);
      const [, second, third] = server.seen;
      expect(server.seen).toHaveLength(3);
      expect([second!.after, third!.after].every((after) => /^1-\d+$/.test(after!))).toBe(true);
    });
  });

  it("see each other's reconnecting", async () => {
    const plan = [cutAfter(encode(NATIVE.slice(0, 3)).length), paced(5)];
    await withServer(NATIVE, plan, async (server) => {
      const tabs = [new Tab(server), new Tab(server)];
      await Promise.all(tabs.map(({ ended }) => ended));
      for (const tab of tabs) expect(tab.text).toBe(TEXT);
      expect(tabs[1]!.states).toContain("reconnecting");
      expect(server.seen).toHaveLength(2);
    });
  });

  it("fail together, over one request", async () => {
    await withServer(NATIVE, always(status(404, ours("not_found"))), async (server) => {
      const tabs = [new Tab(server), new Tab(server)];
      await Promise.all(tabs.map(({ ended }) => ended));
      for (const tab of tabs) {
        expect(tab.error).toMatchObject({ name: "HeadwaterError", code: "not_found", status: 404 });
        expect(tab.states.at(-1)).toBe("failed");
      }
      expect(server.seen).toHaveLength(1);
    });
  });

  it("stop all, whichever of them is asked", async () => {
    let release = () => {};
    const stopped = new Promise<void>((resolve) => (release = resolve));
    const cancelled = { type: "stream-end", reason: "cancelled", usage: null, timing: null };
    const open: Behaviour = async ({ response, bytes }) => {
      head(response);
      response.write(bytes.subarray(0, encode(NATIVE.slice(0, 3)).length));
      await stopped;
      response.end(encode([{ id: "1-4", data: JSON.stringify(cancelled) }]));
    };
    await withServer(
      NATIVE,
      [open],
      async (server) => {
        const tabs = [new Tab(server, { body: {} })];
        await tabs[0]!.has(3);
        tabs.push(new Tab(server), new Tab(server));
        await tabs[2]!.has(3);
        await tabs[2]!.source.stop();
        await Promise.all(tabs.map(({ ended }) => ended));
        for (const tab of tabs) expect(tab.events.at(-1)).toEqual(cancelled);
        expect(server.seen.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
      },
      [(exchange) => (release(), status(204)(exchange))],
    );
  });

  it("lose and double nothing, however they come and go", async () => {
    const round = async (seed: number) => {
      const next = random(seed * 31 + 7);
      const plan = Array.from({ length: 40 }, (): Behaviour => {
        if (next() < 0.3) return cutAfter(Math.floor(next() * 400), next() < 0.5 ? "eof" : "reset");
        return next() < 0.2 ? status(502) : paced(6);
      });
      await withServer(ALL_KINDS, plan, async (server) => {
        const name = `s-${seed}`;
        const tabs = [new Tab(server, name), new Tab(server, name)];
        for (let turn = 0; turn < 5; turn++) {
          await sleep(next() * 30);
          if (next() < 0.5) tabs.push(new Tab(server, name));
          else tabs[Math.floor(next() * (tabs.length - 1))]!.close();
        }
        await Promise.all(tabs.map(({ ended }) => ended));
        for (const tab of tabs) {
          const whole = all(ALL_KINDS);
          expect([seed, tab.error]).toEqual([seed, undefined]);
          const expected = tab.closed.signal.aborted ? whole.slice(0, tab.events.length) : whole;
          expect([seed, tab.events]).toEqual([seed, expected]);
        }
      });
    };
    await Promise.all(Array.from({ length: 24 }, (_, seed) => round(seed)));
  });
});

it("takes over from a tab that has fallen asleep, and follows when it wakes", async () => {
  await withServer(NATIVE, always(paced(30)), async (server) => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    // A tab that holds the lock and never says a word.
    const address = `headwater:${server.url}:s1`;
    let taken = false;
    locks.request(address, {}, () => new Promise(() => {})).catch(() => (taken = true));
    const tab = new Tab(server);
    vi.advanceTimersByTime(6500);
    await sleep(20);
    expect([taken, server.seen.length]).toEqual([false, 0]);
    vi.advanceTimersByTime(3000);
    await tab.has(2);
    expect(taken).toBe(true);
    // And now it is taken from this one.
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    void locks.request(address, { steal: true }, () => held);
    await sleep(50);
    const before = server.seen.length;
    await sleep(50);
    expect([server.seen.length, tab.error]).toEqual([before, undefined]);
    release();
    await tab.ended;
    expect([tab.error, tab.events]).toEqual([undefined, all(NATIVE)]);
  });
});

describe("a connection of its own", () => {
  it("is what a tab has where the browser has neither locks nor channels", async () => {
    vi.stubGlobal("navigator", {});
    await withServer(NATIVE, [], async (server) => {
      const tabs = [new Tab(server), new Tab(server, { body: {} })];
      await Promise.all(tabs.map(({ ended }) => ended));
      expect(tabs.map(({ text }) => text)).toEqual([TEXT, TEXT]);
      expect(server.seen).toHaveLength(2);
    });
  });

  it("is what the plain wire has", async () => {
    await withServer(PLAIN, always(paced(10)), async (server) => {
      const tab = new Tab(server, { body: {} });
      await tab.ended;
      expect([tab.error, tab.text, tab.source.id]).toEqual([undefined, TEXT, "s1"]);
    });
  });
});

it("stopped before it begins sends nothing", async () => {
  await withServer(NATIVE, [], async (server) => {
    const source = shared((own) => stream(server.url, own), { base: server.url });
    await source.stop();
    for await (const event of source) void event;
    expect([server.seen.length, source.state]).toEqual([0, "done"]);
  });
});
