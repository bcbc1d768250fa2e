/** Figures about arrivals: pure, so that they can be checked without a browser. */

/** Text that arrived: when, in milliseconds since the question, and how many characters. */
export interface Arrival {
  at: number;
  length: number;
}

// 250 words a minute, of six characters with the space: a steady adult reader.
const CHARACTERS_PER_MS = 25 / 1000;

/**
 * How long a reader had nothing to read, until `until`: the time before the first text, and later
 * the times in which all that had arrived was read.
 */
export function idle(arrivals: Arrival[], until: number): number {
  let waited = 0;
  let busy = 0;
  for (const { at, length } of arrivals) {
    waited += Math.max(0, at - busy);
    busy = Math.max(at, busy) + length / CHARACTERS_PER_MS;
  }
  return waited + Math.max(0, until - busy);
}

/** The middle value; the mean of the two in the middle where there is no one. */
export function median(values: number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (!sorted.length) return null;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Milliseconds up to which each bar of the histogram goes; the last has no end. */
export const BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, Infinity];

/** How many of the gaps between these times fall under each bound. */
export function histogram(times: number[]): number[] {
  const counts = BOUNDS.map(() => 0);
  for (let at = 1; at < times.length; at++) {
    const gap = times[at]! - times[at - 1]!;
    counts[BOUNDS.findIndex((bound) => gap <= bound)]!++;
  }
  return counts;
}

/** The `share` quantile of the gaps between these times, by nearest rank; null without a gap. */
export function gapQuantile(times: number[], share: number): number | null {
  const gaps = times.slice(1).map((time, at) => time - times[at]!);
  gaps.sort((a, b) => a - b);
  return gaps[Math.max(0, Math.ceil(gaps.length * share) - 1)] ?? null;
}
