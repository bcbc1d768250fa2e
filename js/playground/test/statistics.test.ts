/** The figures that the page shows, on arrivals whose figures are known. */

import { describe, expect, it } from "vitest";

import { audit, type Held } from "../src/breakit/audit.js";
import { BOUNDS, gapQuantile, histogram, idle, median } from "../src/reading/statistics.js";
import { stages } from "../src/waterfall/stages.js";

describe("the time with nothing to read", () => {
  // A reader takes 40 ms for a character.
  it.each([
    ["before anything came", [], 500, 500],
    ["until the first text", [{ at: 300, length: 100 }], 1000, 300],
    ["after all of it was read", [{ at: 300, length: 10 }], 1000, 600],
    [
      "between two bursts",
      [
        { at: 0, length: 5 },
        { at: 1000, length: 50 },
      ],
      1500,
      800,
    ],
    [
      "of nobody, while text keeps ahead",
      [
        { at: 0, length: 50 },
        { at: 900, length: 50 },
      ],
      3000,
      0,
    ],
    ["of a whole answer: all of it", [{ at: 8000, length: 1800 }], 8000, 8000],
  ])("%s", (_, arrivals, until, waited) => {
    expect(idle(arrivals, until)).toBeCloseTo(waited, 6);
  });
});

describe("medians and gaps", () => {
  it.each([
    [[], null],
    [[3], 3],
    [[9, 1, 5], 5],
    [[4, 1, 2, 9], 3],
  ])("the median of %j is %j", (values, middle) => expect(median(values)).toBe(middle));

  it("counts each gap once, under the first bound that holds it", () => {
    const times = [0, 1, 3, 8, 28, 528, 5528];
    const counts = histogram(times);
    expect(counts.reduce((sum, count) => sum + count)).toBe(times.length - 1);
    expect(BOUNDS.filter((_, at) => counts[at])).toEqual([1, 2, 5, 20, 500, Infinity]);
  });

  it.each([
    [0.5, 2],
    [0.95, 5],
    [0, 1],
  ])("finds the quantile %d of the gaps", (share, gap) => {
    expect(gapQuantile([0, 1, 3, 8], share)).toBe(gap);
    expect(gapQuantile([7], share)).toBe(null);
  });
});

const timing = { queue: 2, connect: 10, first_token: 110, total: 900, overhead: 5, attempts: 1 };

describe("the waterfall", () => {
  it("gives every millisecond to one stage", () => {
    const known = stages({ asked: 1000, sent: 1004, first: 1130, painted: 1146, timing });
    expect(known.map(({ name, ms }) => [name, ms])).toEqual([
      ["Request", 4],
      ["Queue", 2],
      ["Connect", 8],
      ["Provider’s first token", 100],
      ["Our overhead", 3],
      ["Network", 13],
      ["Paint", 16],
    ]);
    expect(known.at(-1)!.from + known.at(-1)!.ms).toBe(146);
  });

  it("has nothing to show without a first token, or without the server's word", () => {
    const times = { asked: 0, sent: null, first: 100, painted: null };
    expect(stages({ ...times, timing: null })).toEqual([]);
    expect(stages({ ...times, timing: { ...timing, first_token: null } })).toEqual([]);
    expect(stages({ ...times, first: null, timing })).toEqual([]);
  });
});

const held = (...positions: string[]): Held[] =>
  positions.map((position) => ({ position, event: `event at ${position}` }));

describe("each token once, in order", () => {
  const log = held("1-1", "1-2", "1-3", "2-1", "2-10");
  it.each([
    ["all of it", log, {}],
    ["one twice", held("1-1", "1-2", "1-2", "1-3", "2-1", "2-10"), { duplicates: 1 }],
    ["one missing", held("1-1", "1-3", "2-1", "2-10"), { gaps: 1 }],
    ["two exchanged", held("1-1", "1-3", "1-2", "2-1", "2-10"), { disorder: 1 }],
    ["one that is not in the log", [...log, ...held("2-11")], { differing: 1 }],
    [
      "another event at a position",
      [...log.slice(0, 4), { position: "2-10", event: "another" }],
      { differing: 1 },
    ],
    ["nothing", [], { gaps: 5 }],
  ])("%s", (_, received, faults) => {
    const found = { duplicates: 0, gaps: 0, disorder: 0, differing: 0, ...faults };
    expect(audit(received, log)).toEqual({ received: received.length, logged: 5, ...found });
  });
});
