/** Numbers as the page shows them. */

export const NOTHING = "–";

/** Milliseconds as seconds, finer the shorter: 0.184 s, 4.31 s, 72.4 s. */
export function seconds(ms: number): string {
  const value = ms / 1000;
  return `${value.toFixed(value < 1 ? 3 : value < 60 ? 2 : 1)} s`;
}

/** Tokens over milliseconds, as tokens a second. */
export const rate = (tokens: number, ms: number): string =>
  ms > 0 && tokens > 0 ? (tokens / (ms / 1000)).toFixed(1) : NOTHING;
