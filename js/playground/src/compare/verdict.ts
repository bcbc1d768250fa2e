/** What streaming changed, in one sentence; empty while or where there is nothing to compare. */

import { seconds } from "../shell/format.js";
import type { Row } from "./run.js";

export function verdict(rows: Row[]): string {
  return rows.length === 1 ? ofOne(rows[0]!) : ofSeveral(rows);
}

function ofOne({ streamed, whole, replayed }: Row): string {
  if (replayed) return "";
  if (streamed.firstAt === null)
    return streamed.running || whole.running ? "" : "Nothing came to compare.";
  const first = seconds(streamed.firstAt);
  if (whole.firstAt === null) {
    if (whole.running) return `Something to read after ${first}. Whole: still waiting.`;
    return `Streamed, there was something to read after ${first}.`;
  }
  const earlier = whole.firstAt - streamed.firstAt;
  if (earlier <= 0) return "This time the whole answer was there first.";
  return (
    `Something to read after ${first} instead of ${seconds(whole.firstAt)}: ` +
    `${seconds(earlier)} less of waiting.`
  );
}

function ofSeveral(rows: Row[]): string {
  const firsts = rows.flatMap((row) =>
    row.streamed.firstAt === null ? [] : [{ row, first: row.streamed.firstAt }],
  );
  const best = firsts.sort((a, b) => a.first - b.first)[0];
  if (!best) return "";
  const last = Math.max(...rows.map(({ whole }) => whole.firstAt ?? 0));
  return (
    `${best.row.model} had something to read first, after ${seconds(best.first)}` +
    (last ? `; for a whole answer it took up to ${seconds(last)}.` : ".")
  );
}
