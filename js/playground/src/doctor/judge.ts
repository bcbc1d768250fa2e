/** Judgement: what measurements of the probe mean. No I/O, no clock. */

import { LARGE, SENT, SILENCE_S, type Measured, type Seen } from "./measured.js";
import { rhythm } from "./rhythm.js";

export type Status = "ok" | "advice" | "fault" | "not told";

/** One thing that was looked for, called as `headwater doctor` calls it. */
export interface Finding {
  name: string;
  status: Status;
  /** What was seen, in one sentence. */
  seen: string;
}

type Told = [Status, string];

// Without these a reader cannot read, or cannot resume.
const NEEDED = ["content-type", "cache-control", "headwater-stream"];

function buffering({ plain }: Seen): Told {
  const { verdict, held, lumps } = rhythm(plain.ticks);
  const { length } = plain.ticks;
  if (verdict === "live")
    return ["ok", `${length} events came one by one, the first after ${ms(plain.startAt)}`];
  if (verdict === "unclear") {
    if (!plain.complete) return ["not told", "the answer broke off too early"];
    const share = Math.round(held * 100);
    return ["not told", `${share} % of the events came together with the one before; ask again`];
  }
  if (lumps > 2) return ["fault", `events are held back: ${length} came in ${lumps} lumps`];
  return ["fault", `${length} events that were sent one by one came together, at the end`];
}

function compression({ plain }: Seen): Told {
  const encoding = plain.headers["content-encoding"] ?? "";
  const offered = plain.start!.request.headers["accept-encoding"];
  if (encoding && encoding !== "identity") {
    const effect = rhythm(plain.ticks).verdict === "live" ? "each event by itself" : "and held";
    return ["fault", `compressed with ${encoding} in spite of no-transform, ${effect}`];
  }
  if (!offered) return ["ok", "nothing is compressed; the server was not told what browsers take"];
  return ["ok", `nothing is compressed, though this browser takes ${offered}`];
}

function caching({ twins }: Seen): Told {
  const [first, second] = twins.map(({ start }) => start?.nonce);
  if (!first || !second) return unanswered(first ? twins[1] : twins[0]);
  if (first === second)
    return ["fault", "the same URL was answered from a cache, this browser’s or another"];
  return ["ok", "the same URL was answered anew"];
}

function headersIn({ plain }: Seen): Told {
  const arrived = plain.start!.request.headers;
  const lost = Object.keys(SENT).filter((name) => arrived[name.toLowerCase()] !== SENT[name]);
  if (lost.length) return ["fault", `lost or changed on the way to the server: ${list(lost)}`];
  return ["ok", "what a reader sends reaches the server"];
}

function headersOut({ plain }: Seen): Told {
  const lost = Object.entries(plain.start!.response.headers)
    // Whoever obeys it keeps it to himself.
    .filter(([name]) => name !== "x-accel-buffering")
    .filter(([name, value]) => !survives(value, plain.headers[name] ?? ""))
    .map(([name]) => name);
  if (!lost.length) return ["ok", "what the server sends reaches this browser"];
  const status = lost.some((name) => NEEDED.includes(name)) ? "fault" : "advice";
  return [status, `lost or changed on the way here: ${list(lost)}`];
}

function httpVersion({ plain }: Seen): Told {
  const version = plain.start!.request.http_version;
  if (version === "1.0")
    return ["advice", "the server is asked in HTTP/1.0: no cut can be told from an end"];
  const { protocol } = plain;
  if (!protocol)
    return ["ok", `the server is asked in HTTP/${version}; this browser does not tell its own`];
  if (protocol.startsWith("http/1"))
    return ["ok", `${protocol.toUpperCase()} here: a browser has six streams at a time`];
  return ["ok", `this browser speaks ${protocol}; the server is asked in HTTP/${version}`];
}

function largeEvents({ large }: Seen): Told {
  if (!large.start) return unanswered(large);
  const whole = large.ticks.filter(({ pad }) => pad === LARGE.size).length;
  const size = `events of ${LARGE.size / 1024} KiB`;
  if (large.complete && whole === LARGE.ticks) return ["ok", `${size} came whole`];
  return ["fault", `${size} did not come whole: ${whole} of ${LARGE.ticks} did`];
}

function silence({ plain, silent }: Seen): Told {
  if (!silent) return ["not told", `${SILENCE_S} s of silence were not asked for`];
  if (silent.complete) return ["ok", `${SILENCE_S} s of silence passed`];
  const refused = [502, 504].includes(silent.status);
  if (!silent.start && !refused) return unanswered(silent);
  const cut = silent.endAt / 1000;
  const beat = (plain.start ?? silent.start)?.heartbeat_s;
  const how = refused ? ` by ${silent.status}` : "";
  const known = beat && cut < beat ? `; Headwater’s heartbeat comes after ${beat} s` : "";
  return ["fault", `a silent response was cut after ${cut.toFixed(0)} s${how}${known}`];
}

/** The checks in the order in which a reader wants to know; most are of the plain ticks. */
const CHECKS: [name: string, check: (seen: Seen) => Told, own?: true][] = [
  ["buffering", buffering],
  ["compression", compression],
  ["caching", caching, true],
  ["silence", silence, true],
  ["headers-in", headersIn],
  ["headers-out", headersOut],
  ["large-events", largeEvents, true],
  ["http-version", httpVersion],
];

/** Every check. */
export const judge = (seen: Seen): Finding[] =>
  CHECKS.map(([name, check, own]) => {
    const [status, said] = own || seen.plain.start ? check(seen) : unanswered(seen.plain);
    return { name, status, seen: said };
  });

/** All of it in one sentence. */
export function verdict(findings: readonly Finding[]): string {
  const count = (status: Status) => findings.filter((each) => each.status === status).length;
  const faults = count("fault");
  if (faults) return `${faults} ${faults > 1 ? "faults" : "fault"} between the server and here.`;
  if (findings.some(({ name, status }) => name === "buffering" && status === "not told"))
    return "It could not be told whether a stream reaches this browser.";
  return `A stream reaches this browser as a stream${count("advice") ? ", with advice" : ""}.`;
}

function unanswered({ failure }: Measured): Told {
  return ["not told", failure || "the answer broke off before its first event"];
}

/** Whether a list of words is still there; a proxy may add some, and spaces. */
function survives(sent: string, here: string): boolean {
  const words = (value: string) => value.split(/[;,]/).map((word) => word.trim().toLowerCase());
  const arrived = new Set(words(here));
  return words(sent).every((word) => arrived.has(word));
}

const list = (names: string[]): string => names.join(", ");

const ms = (value: number): string => `${value.toFixed(0)} ms`;
