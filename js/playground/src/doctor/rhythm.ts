/**
 * Bursts told from streams, by differences alone: of two ticks that were sent apart, the second must
 * arrive apart too. Single pairs fall together where a machine is busy; where something holds
 * back, most do. The same bounds as `headwater doctor`.
 */

import type { Tick } from "./measured.js";

// A pair has fallen together when less than this share of its gap is left.
const TOGETHER = 0.1;
// A buffer that holds two ticks at a time already makes half of the pairs fall together.
const HELD = 0.5;
const LIVE = 0.3;

export interface Rhythm {
  verdict: "live" | "held" | "unclear";
  /** The share of pairs that fell together. */
  held: number;
  /** How many groups arrived, each together. */
  lumps: number;
}

export function rhythm(ticks: readonly Tick[]): Rhythm {
  let together = 0;
  for (let at = 1; at < ticks.length; at++) {
    const [before, after] = [ticks[at - 1]!, ticks[at]!];
    if (after.arrived - before.arrived < (after.sent - before.sent) * TOGETHER) together++;
  }
  const held = ticks.length > 1 ? together / (ticks.length - 1) : 0;
  const told = ticks.length < 4 ? "unclear" : held >= HELD ? "held" : "live";
  const verdict = told === "live" && held >= LIVE ? "unclear" : told;
  return { verdict, held, lumps: ticks.length - together };
}
