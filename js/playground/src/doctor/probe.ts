/** The questions: what is asked of this page's own server, and in which order. */

import { createParser } from "eventsource-parser";
import { HeadwaterError } from "@headwater/client";

import { openProbe } from "../reading/api.js";
import { LARGE, SENT, SILENCE_S, type Measured, type Seen, type Tick } from "./measured.js";
import { rhythm } from "./rhythm.js";

export type Plan = Record<"ticks" | "every" | "size" | "silence", number>;

/** Hears of the ticks by which the buffering is told. */
export interface Listener {
  /** A rhythm is asked for, perhaps once more: what came before does not count. */
  begun(): void;
  tick(tick: Tick): void;
}

// What holds back does so every time, a busy machine only now and then.
const TRIES = 4;

// Beyond what was asked for, before an answer is given up.
const PATIENCE_MS = 20_000;

const distinct = (): string => Math.random().toString(36).slice(2);

/**
 * All that can be told; with `silence`, after so long a silence. It throws when `signal` aborts,
 * and where the server wants a key.
 */
export async function examine(
  listener: Listener,
  silence: boolean,
  signal: AbortSignal,
): Promise<Seen> {
  const hush = silence ? probe({ ticks: 1, silence: SILENCE_S }, signal) : Promise.resolve(null);
  // It is waited for at the end; until then nobody else would hear that it failed.
  hush.catch(() => {});
  const plain = await settled(listener, signal);
  const tag = distinct();
  const twin = () => probe({ ticks: 1 }, signal, { tag });
  const twins: [Measured, Measured] = [await twin(), await twin()];
  const large = await probe({ ...LARGE, every: 20 }, signal);
  return { plain, twins, large, silent: await hush };
}

/** The best of a few rhythms. */
async function settled(listener: Listener, signal: AbortSignal): Promise<Measured> {
  let best: Measured | undefined;
  for (let tried = 0; tried < TRIES; tried++) {
    listener.begun();
    const next = await probe({ ticks: 20 }, signal, { hear: (tick) => listener.tick(tick) });
    if (!best || (next.complete && rhythm(next.ticks).held <= rhythm(best.ticks).held)) best = next;
    if (!next.start || rhythm(best.ticks).verdict === "live") break;
  }
  return best!;
}

interface Asked {
  /** A tag of its own keeps a cache from answering, unless it is brought. */
  tag?: string;
  hear?: (tick: Tick) => void;
}

/** One probe. What goes wrong on its way is part of what it found. */
async function probe(
  plan: Partial<Plan>,
  signal: AbortSignal,
  { tag = distinct(), hear }: Asked = {},
): Promise<Measured> {
  const query = new URLSearchParams({ tag });
  for (const [name, value] of Object.entries(plan)) query.set(name, String(value));
  const patience = AbortSignal.timeout((plan.silence ?? 0) * 1000 + PATIENCE_MS);
  const measured: Measured = {
    failure: "",
    status: 0,
    headers: {},
    start: null,
    startAt: 0,
    ticks: [],
    complete: false,
    endAt: 0,
    protocol: "",
  };
  const url = `probe?${query}`;
  const began = performance.now();
  try {
    const response = await openProbe(url, SENT, AbortSignal.any([signal, patience]));
    measured.status = response.status;
    measured.headers = Object.fromEntries(response.headers);
    await read(response, measured, began, hear);
  } catch (error) {
    if (signal.aborted) throw error;
    if (error instanceof HeadwaterError) {
      if (error.status === 401) throw error;
      measured.status = error.status ?? 0;
    }
    // After its first event an answer that breaks off is judged by what came of it.
    if (!measured.start) measured.failure = reason(error);
  }
  measured.endAt = performance.now() - began;
  measured.protocol = protocolOf(url);
  return measured;
}

async function read(
  response: Response,
  measured: Measured,
  began: number,
  hear?: (tick: Tick) => void,
): Promise<void> {
  const type = response.headers.get("content-type") ?? "of no type";
  if (!type.startsWith("text/event-stream") || !response.body) {
    await response.body?.cancel();
    throw new Error(`the answer was ${type}`);
  }
  let arrived = 0;
  const parser = createParser({
    onEvent: ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "probe-start") {
        measured.start = event;
        measured.startAt = arrived;
      } else if (event.type === "probe-tick") {
        const tick = { sent: event.at, arrived, pad: event.pad?.length ?? 0 };
        measured.ticks.push(tick);
        hear?.(tick);
      } else if (event.type === "probe-end") {
        measured.complete = true;
      }
    },
  });
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { value } = await reader.read();
    if (!value) return;
    arrived = performance.now() - began;
    parser.feed(decoder.decode(value, { stream: true }));
  }
}

function reason(error: unknown): string {
  if (error instanceof DOMException && error.name === "TimeoutError")
    return `nothing came for ${PATIENCE_MS / 1000} s`;
  return error instanceof Error ? error.message : String(error);
}

/** What the browser's own record of the request says; it may have none left to make. */
function protocolOf(url: string): string {
  const entries = performance.getEntriesByName(new URL(url, document.baseURI).href);
  return (entries.at(-1) as PerformanceResourceTiming | undefined)?.nextHopProtocol ?? "";
}
