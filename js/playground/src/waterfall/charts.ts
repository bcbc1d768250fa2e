/** The waterfall and the histogram, as SVG. */

import { BOUNDS, histogram } from "../reading/statistics.js";
import { makeSvg } from "../shell/elements.js";
import { seconds } from "../shell/format.js";
import type { Stage } from "./stages.js";

const WIDTH = 640;

/** Milliseconds as one reads them beside a bar. */
export const short = (ms: number): string =>
  ms >= 1000 ? seconds(ms) : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;

/** A bar for each stage, in the columns of a table that is its text. */
export function bar({ by, from, ms }: Stage, span: number): SVGElement {
  const scale = WIDTH / span;
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${WIDTH} 16`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
    class: "bar-line",
  });
  svg.append(
    makeSvg("line", { x1: 0, x2: WIDTH, y1: 15.5, y2: 15.5, class: "ground" }),
    makeSvg("rect", {
      x: from * scale,
      // What took no time is there as well: a line.
      width: Math.max(ms * scale, 2),
      y: 2,
      height: 12,
      class: by,
    }),
  );
  return svg;
}

const HEIGHT = 150;
const FLOOR = HEIGHT - 22;

/** How many gaps between tokens were how long. */
export function gaps(times: number[]): SVGElement {
  const counts = histogram(times);
  const most = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const labels = BOUNDS.map((bound, at) =>
    bound === Infinity ? `> ${BOUNDS[at - 1]!}` : `≤ ${bound}`,
  );
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    class: "histogram",
    "aria-label":
      "Gaps between tokens, in milliseconds: " +
      counts.map((count, at) => `${labels[at]}: ${count}`).join(", "),
  });
  counts.forEach((count, at) => {
    const height = (count / most) * (FLOOR - 18);
    const middle = (at + 0.5) * step;
    svg.append(
      makeSvg("rect", {
        x: at * step + 3,
        width: step - 6,
        y: FLOOR - height,
        height,
        class: "headwater",
      }),
      makeSvg("text", { x: middle, y: HEIGHT - 6, class: "tick" }, labels[at]),
    );
    if (count)
      svg.append(makeSvg("text", { x: middle, y: FLOOR - height - 5, class: "count" }, `${count}`));
  });
  svg.append(
    makeSvg("line", { x1: 0, x2: WIDTH, y1: FLOOR + 0.5, y2: FLOOR + 0.5, class: "ground" }),
  );
  return svg;
}
