/** Waterfall: where the time of each response of this page went. */

import "./waterfall.css";

import { onTraces, traces, type Trace } from "../reading/journal.js";
import { gapQuantile } from "../reading/statistics.js";
import { fromHtml, make, setText, within } from "../shell/elements.js";
import { seconds } from "../shell/format.js";
import type { Tab, View } from "../shell/tabs.js";
import { bar, gaps, short } from "./charts.js";
import { stages } from "./stages.js";

const HTML = `
<div>
  <section class="traces" aria-labelledby="traces-title">
    <h2 id="traces-title">Responses</h2>
    <p class="hint" data-none>Run something in another tab of this page: each streamed response is
      taken down here.</p>
    <ol data-testid="traces"></ol>
  </section>
  <section class="trace" aria-live="off" data-testid="trace" hidden>
    <h2 data-title></h2>
    <p class="hint" data-summary></p>
    <div class="sideways" tabindex="0" role="region" aria-label="Stages">
      <table class="stages"><thead class="sr-only"><tr><th scope="col">Stage</th>
        <th scope="col">Time</th><th scope="col">Place</th></tr></thead><tbody></tbody></table>
    </div>
    <h3>Gaps between tokens, in ms</h3>
    <div class="sideways" tabindex="0" role="region" aria-label="Gaps" data-gaps></div>
    <p class="hint" data-quantiles></p>
  </section>
</div>`;

export const waterfall: Tab = {
  id: "waterfall",
  label: "Waterfall",
  mount: (panel) => new Waterfall(panel),
};

/** When the browser sent the request: its own record, which it writes when the response ends. */
function sentAt({ url, asked }: Trace): number | null {
  const entries = performance.getEntriesByName(url) as PerformanceResourceTiming[];
  const entry = entries.find(({ startTime }) => startTime >= asked - 1);
  return entry?.requestStart || null;
}

class Waterfall implements View {
  #selected: Trace | undefined;

  constructor(private readonly panel: HTMLElement) {
    panel.append(...fromHtml(HTML).children);
    onTraces(() => panel.hidden || this.#show());
  }

  shown(): void {
    this.#show();
  }

  #show(): void {
    if (!this.#selected || !traces.includes(this.#selected)) this.#selected = traces[0];
    within(this.panel, "[data-none]").hidden = traces.length > 0;
    within(this.panel, "ol").replaceChildren(...traces.map((trace) => this.#item(trace)));
    within(this.panel, ".trace").hidden = !this.#selected;
    if (this.#selected) this.#draw(this.#selected);
  }

  #item(trace: Trace): HTMLElement {
    const item = make("li");
    const button = make("button", trace.model || "Server’s default", "choice");
    button.type = "button";
    button.setAttribute("aria-pressed", String(trace === this.#selected));
    button.append(make("small", `${trace.tab}, ${trace.outcome}`));
    button.addEventListener("click", () => {
      this.#selected = trace;
      this.#show();
      within<HTMLButtonElement>(this.panel, "[aria-pressed=true]").focus();
    });
    item.append(button);
    return item;
  }

  #draw(trace: Trace): void {
    const { asked, first, painted, ended, timing, arrivals, replayed } = trace;
    const known = replayed ? [] : stages({ asked, sent: sentAt(trace), first, painted, timing });
    const span = known.reduce((sum, { ms }) => sum + ms, 0);
    setText(within(this.panel, "[data-title]"), trace.model);
    setText(within(this.panel, "[data-summary]"), summary(trace, span));
    within(this.panel, "tbody").replaceChildren(
      ...known.map((stage) => {
        const row = make("tr");
        const head = make("th", stage.name);
        head.scope = "row";
        head.append(make("small", stage.about));
        const place = make("td", "", "place");
        place.append(bar(stage, span || 1));
        row.append(head, make("td", short(stage.ms), "figure"), place);
        return row;
      }),
    );
    within(this.panel, "[data-gaps]").replaceChildren(gaps(arrivals));
    const middle = gapQuantile(arrivals, 0.5);
    const slow = gapQuantile(arrivals, 0.95);
    setText(
      within(this.panel, "[data-quantiles]"),
      middle === null || slow === null || ended === null
        ? ""
        : `${arrivals.length} pieces; half of the gaps were at most ${short(middle)}, ` +
            `95 % at most ${short(slow)}.`,
    );
  }
}

function summary({ replayed, ended, timing, outcome }: Trace, span: number): string {
  if (ended === null) return "It runs; the server tells its timings at the end.";
  if (replayed) return "It began before this page did, so that only its gaps are known.";
  if (!span) return `There was no first token (${outcome}).`;
  const attempts = timing && timing.attempts > 1 ? `, ${timing.attempts} attempts` : "";
  const total = timing ? `; ${seconds(timing.total)} in all` : "";
  return `On the screen after ${seconds(span)}${total}${attempts}.`;
}
