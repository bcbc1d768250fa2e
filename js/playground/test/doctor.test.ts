/** What the doctor makes of measurements: from the healthy ones, one thing is changed at a time. */

import { describe, expect, it } from "vitest";

import { judge, verdict, type Finding } from "../src/doctor/judge.js";
import { LARGE, SENT, type Measured, type Seen, type Tick } from "../src/doctor/measured.js";
import { rhythm } from "../src/doctor/rhythm.js";

const RESPONSE = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
  "headwater-stream": "n1",
  "x-content-type-options": "nosniff",
};

/** Ticks that were sent every 100 ms, as they arrived. */
const ticks = (arrived: number[], pad = 0): Tick[] =>
  arrived.map((at, number) => ({ sent: number * 100, arrived: at, pad }));

const LIVE = Array.from({ length: 20 }, (_, number) => 7000 + number * 100);
const AT_THE_END = LIVE.map(() => 9000);
const IN_LUMPS = LIVE.map((_, number) => 7000 + Math.floor(number / 5) * 500);
const NOW_AND_THEN = LIVE.map((at, number) => (number % 5 ? at : at + 100));

const measured = (own: Partial<Measured> = {}, nonce = "n1", version = "1.1"): Measured => ({
  failure: "",
  status: 200,
  headers: RESPONSE,
  start: {
    nonce,
    request: {
      http_version: version,
      headers: {
        "accept-encoding": "gzip",
        ...Object.fromEntries(Object.entries(SENT).map(([k, v]) => [k.toLowerCase(), v])),
      },
    },
    response: { headers: RESPONSE },
    heartbeat_s: 15,
  },
  startAt: 12,
  ticks: ticks(LIVE),
  complete: true,
  endAt: 9000,
  protocol: "h2",
  ...own,
});

const healthy = (): Seen => ({
  plain: measured(),
  twins: [measured(), measured({}, "n2")],
  large: measured({ ticks: ticks([0, 20, 40, 60], LARGE.size) }),
  silent: measured(),
});

const find = (seen: Seen, name: string): Finding =>
  judge(seen).find((finding) => finding.name === name)!;

const without = (headers: Record<string, string>, name: string): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name));

const plain = (own: Partial<Measured>): Partial<Seen> => ({ plain: measured(own) });

const asked = (name: string): Partial<Seen> => {
  const start = measured().start!;
  const headers = without(start.request.headers, name);
  return plain({ start: { ...start, request: { ...start.request, headers } } });
};

const refused = (status: number): Measured =>
  measured({ status, start: null, ticks: [], complete: false, failure: `HTTP ${status}` });

describe("what is healthy", () => {
  it("is so in every check", () => {
    const findings = judge(healthy());
    expect(findings.map(({ status }) => status)).toEqual(findings.map(() => "ok"));
    expect(verdict(findings)).toBe("A stream reaches this browser as a stream.");
  });

  it("is so when the two clocks have nothing in common", () => {
    const shifted = (by: number) => ticks(LIVE.map((at) => at + by));
    for (const by of [-1e9, 0, 1e9]) expect(rhythm(shifted(by)).verdict).toBe("live");
  });
});

describe("one thing that is not", () => {
  it.each<[string, Partial<Seen>, string, string, RegExp]>([
    ["all at the end", plain({ ticks: ticks(AT_THE_END) }), "buffering", "fault", /at the end/],
    ["in lumps", plain({ ticks: ticks(IN_LUMPS) }), "buffering", "fault", /20 came in 4 lumps/],
    ["a busy machine", plain({ ticks: ticks(NOW_AND_THEN) }), "buffering", "ok", /one by one/],
    [
      "cut early",
      plain({ ticks: ticks(LIVE.slice(0, 2)), complete: false }),
      "buffering",
      "not told",
      /broke off/,
    ],
    [
      "gzip",
      plain({ headers: { ...RESPONSE, "content-encoding": "gzip" } }),
      "compression",
      "fault",
      /with gzip/,
    ],
    ["cached", { twins: [measured(), measured()] }, "caching", "fault", /from a cache/],
    ["one twin lost", { twins: [measured(), refused(503)] }, "caching", "not told", /HTTP 503/],
    ["not asked", { silent: null }, "silence", "not told", /not asked for/],
    [
      "a cut silence",
      { silent: measured({ complete: false, endAt: 5100 }) },
      "silence",
      "fault",
      /after 5 s; Headwater’s heartbeat comes after 15 s/,
    ],
    ["a refused silence", { silent: refused(504) }, "silence", "fault", /by 504/],
    ["no silence", { silent: refused(503) }, "silence", "not told", /HTTP 503/],
    ["lost in", asked("last-event-id"), "headers-in", "fault", /server: Last-Event-ID$/],
    [
      "lost out",
      plain({ headers: without(RESPONSE, "headwater-stream") }),
      "headers-out",
      "fault",
      /here: headwater-stream$/,
    ],
    [
      "lost, and not needed",
      plain({ headers: without(RESPONSE, "x-content-type-options") }),
      "headers-out",
      "advice",
      /x-content-type-options/,
    ],
    [
      "kept by whom it is for",
      plain({ headers: without(RESPONSE, "x-accel-buffering") }),
      "headers-out",
      "ok",
      /reaches this browser/,
    ],
    [
      "a list that grew",
      plain({ headers: { ...RESPONSE, "cache-control": "No-Transform,no-store, private" } }),
      "headers-out",
      "ok",
      /reaches/,
    ],
    ["HTTP/1.0", { plain: measured({}, "n1", "1.0") }, "http-version", "advice", /HTTP\/1\.0/],
    ["HTTP/1.1 here", plain({ protocol: "http/1.1" }), "http-version", "ok", /six streams/],
    ["an untold protocol", plain({ protocol: "" }), "http-version", "ok", /does not tell/],
    [
      "a large event short",
      { large: measured({ ticks: ticks([0, 20, 40, 60], LARGE.size - 1) }) },
      "large-events",
      "fault",
      /0 of 4/,
    ],
    ["no large ones", { large: refused(502) }, "large-events", "not told", /HTTP 502/],
  ])("%s", (_, change, name, status, words) => {
    const found = find({ ...healthy(), ...change }, name);
    expect(found.status).toBe(status);
    expect(found.seen).toMatch(words);
  });

  it("does not spoil what it does not touch", () => {
    const findings = judge({ ...healthy(), plain: measured({ ticks: ticks(AT_THE_END) }) });
    expect(findings.filter(({ status }) => status !== "ok").map(({ name }) => name)).toEqual([
      "buffering",
    ]);
    expect(verdict(findings)).toBe("1 fault between the server and here.");
  });
});

it("tells nothing where nothing answers", () => {
  const none = { ...refused(0), failure: "The server does not answer." };
  const findings = judge({ plain: none, twins: [none, none], large: none, silent: none });
  expect(new Set(findings.map(({ status }) => status))).toEqual(new Set(["not told"]));
  expect(new Set(findings.map(({ seen }) => seen))).toEqual(new Set([none.failure]));
  expect(verdict(findings)).toMatch(/could not be told/);
});
