/** What the runs so far come to: medians for each model and side. */

import { median } from "../reading/statistics.js";
import { fromHtml, make, makeButton, setText, within } from "../shell/elements.js";
import { NOTHING, seconds } from "../shell/format.js";
import type { Pane } from "./pane.js";
import type { Row } from "./run.js";

interface Finished {
  model: string;
  side: "Streamed" | "Whole";
  first: number;
  total: number;
  idle: number;
}

const HTML = `
<section class="summary" aria-labelledby="summary-title" hidden>
  <header><h2 id="summary-title">Runs so far</h2></header>
  <div class="sideways" tabindex="0" role="region" aria-label="Runs so far">
    <table data-testid="summary">
      <thead><tr>
        <th scope="col">Model</th><th scope="col">Answer</th><th scope="col">Runs</th>
        <th scope="col">First text</th><th scope="col">Total</th><th scope="col">Waiting</th>
      </tr></thead>
      <tbody></tbody>
    </table>
  </div>
  <p class="hint">Medians. Waiting is the time in which a reader of 250 words a minute had nothing
    to read. Stopped and failed runs are left out.</p>
</section>`;

export class Summary {
  readonly element = fromHtml(HTML);
  #finished: Finished[] = [];

  constructor() {
    const clear = makeButton("Clear", "quiet", () => {
      this.#finished = [];
      this.#show();
    });
    within(this.element, "header").append(clear);
  }

  /** A run has ended; what was read again was not timed, and what was stopped is not whole. */
  add({ model, streamed, whole, replayed }: Row): void {
    if (replayed) return;
    this.#take(model, "Streamed", streamed);
    this.#take(model, "Whole", whole);
    this.#show();
  }

  #take(model: string, side: Finished["side"], pane: Pane): void {
    const { firstAt, totalAt, state, idle } = pane;
    if (state !== "done" || firstAt === null || totalAt === null) return;
    this.#finished.push({ model, side, first: firstAt, total: totalAt, idle });
  }

  #show(): void {
    this.element.hidden = !this.#finished.length;
    const groups = Map.groupBy(this.#finished, ({ model, side }) => `${model}\n${side}`);
    within(this.element, "tbody").replaceChildren(...[...groups.values()].map(line));
  }
}

function line(runs: Finished[]): HTMLElement {
  const middle = (of: (run: Finished) => number) => seconds(median(runs.map(of)) ?? 0);
  const { model, side } = runs[0]!;
  const row = make("tr");
  row.append(make("th", model || NOTHING), make("td", side, side === "Whole" ? "stone" : "water"));
  row.firstElementChild!.setAttribute("scope", "row");
  for (const figure of [
    String(runs.length),
    middle(({ first }) => first),
    middle(({ total }) => total),
    middle(({ idle }) => idle),
  ]) {
    const cell = make("td", "", "figure");
    setText(cell, figure);
    row.append(cell);
  }
  return row;
}
