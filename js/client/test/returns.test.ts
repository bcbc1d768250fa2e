/** The network comes back, or the page does: what the browser tells, and what is done then. */

import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { HALF, NATIVE, TEXT, read } from "./logs.js";
import { cutAfter, hang, refuse, type Behaviour } from "./server.js";

let page: EventTarget;
let listeners: number;

/** Fires an event at the window. */
function fire(type: string, persisted?: boolean): void {
  page.dispatchEvent(Object.assign(new Event(type), { persisted }));
}

beforeEach(() => {
  page = new EventTarget();
  listeners = 0;
  vi.stubGlobal("addEventListener", (...all: Parameters<EventTarget["addEventListener"]>) => {
    listeners++;
    page.addEventListener(...all);
  });
  vi.stubGlobal("removeEventListener", (...all: Parameters<EventTarget["removeEventListener"]>) => {
    listeners--;
    page.removeEventListener(...all);
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
  expect(listeners).toBe(0);
});

/** An event now and then in this state, and no more in the next: it may come before there is a wait. */
function firing(during: string, type: string, persisted?: boolean): (state: string) => void {
  let timer: ReturnType<typeof setInterval> | undefined;
  return (state) => {
    clearInterval(timer);
    if (state === during) timer = setInterval(fire, 50, type, persisted);
  };
}

// Waits that only an event can end in time.
const PATIENT = { base: 1e9, cap: 1e9, total: 1e12 };

describe("a wait for the next attempt is ended", () => {
  it.each([
    ["online", undefined],
    ["pageshow", true],
    ["pageshow", false],
  ])("by %s (persisted: %s)", async (type, persisted) => {
    const onState = firing("reconnecting", type, persisted);
    const reading = read(NATIVE, [cutAfter(HALF), refuse], { retry: PATIENT, onState });
    const { text, error, server } = await reading;
    expect([error, text]).toEqual([undefined, TEXT]);
    expect(server.of("GET")).toHaveLength(2);
  });

  it("before the head as well", async () => {
    const onState = firing("connecting", "online");
    const { text, server } = await read(NATIVE, [refuse], { retry: PATIENT, onState });
    expect([text, server.of("POST").length]).toEqual([TEXT, 2]);
  });
});

describe("a connection that says nothing", () => {
  it.each([
    ["online", undefined, 1],
    ["pageshow", true, 1],
    ["pageshow", false, 0],
  ])("after %s (persisted: %s) is resumed %i times", async (type, persisted, times) => {
    let told: () => void;
    const fired = new Promise<void>((resolve) => (told = resolve));
    // It goes on by itself, but late.
    const slow: Behaviour = async (exchange) => {
      await hang(HALF)(exchange);
      await fired;
      await sleep(100);
      exchange.response.end(exchange.bytes.subarray(HALF));
    };
    const states: string[] = [];
    let first = true;
    const onState = (state: string) => {
      states.push(state);
      if (state !== "streaming" || !first) return;
      first = false;
      setTimeout(() => {
        fire(type, persisted);
        told();
      }, 20);
    };
    const { text, server } = await read(NATIVE, [slow], { onState });
    expect([text, server.of("GET").length]).toEqual([TEXT, times]);
    expect(states.filter((state) => state === "reconnecting")).toHaveLength(times);
  });
});

it("does not cut a POST that is being answered", async () => {
  const late: Behaviour = async (exchange) => {
    await sleep(150);
    return hang()(exchange);
  };
  setTimeout(fire, 50, "online");
  const { text, server } = await read(NATIVE, [late]);
  expect([text, server.seen.length]).toEqual([TEXT, 1]);
});
