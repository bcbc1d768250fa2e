/** Compare: one prompt, streamed and whole, with one model or several. */

import "./compare.css";

import { Picker } from "../reading/picker.js";
import { everyFrame, fromHtml, makeButton, setText, within } from "../shell/elements.js";
import { Gauge } from "../shell/gauge.js";
import { askForKey } from "../shell/session.js";
import type { Tab, View } from "../shell/tabs.js";
import { findStreams, noteAsked, noteEnd, noteId } from "./place.js";
import { Row, type Task } from "./run.js";
import { Summary } from "./summary.js";
import { verdict } from "./verdict.js";

const IDEAS = [
  "Explain how a river finds its way to the sea, in five paragraphs.",
  "Compare TCP and QUIC in a table, then say when each is the better choice.",
  "Write a Python function that reads a CSV file in chunks, and explain it line by line.",
];

// Two answers a model: with a third model the six connections that a browser opens to a server
// would be taken, and Stop would have none. Local models would slow each other down, besides.
const AT_ONCE = 2;
const MOST_MODELS = 6;

const HTML = `
<div>
  <form class="composer">
    <label class="sr-only" for="prompt">Prompt</label>
    <textarea id="prompt" data-testid="prompt" rows="2" spellcheck="true"
      placeholder="Ask for something long enough to wait for…"></textarea>
    <div class="controls">
      <div class="buttons">
        <button data-testid="stop" type="button" disabled>Stop <kbd>Esc</kbd></button>
        <button data-testid="run" class="primary" type="submit" disabled>
          Run <kbd data-key>Ctrl ⏎</kbd></button>
      </div>
    </div>
  </form>
  <section class="gauge" aria-label="When there was something to read">
    <p class="verdict" role="status" data-testid="verdict">Every tick is a piece of text as it
      arrives. A dotted line is a reader with nothing to read.</p>
  </section>
  <div class="rows"></div>
</div>`;

export const compare: Tab = {
  id: "compare",
  label: "Compare",
  mount: (panel) => new Comparison(panel),
};

class Comparison implements View {
  #prompt: HTMLTextAreaElement;
  #run: HTMLButtonElement;
  #stop: HTMLButtonElement;
  #picker = new Picker({ name: "compare", most: MOST_MODELS });
  #gauge = new Gauge();
  #summary = new Summary();
  #rows: Row[] = [new Row()];
  #running = false;
  #stopped = false;

  constructor(private readonly panel: HTMLElement) {
    panel.append(...fromHtml(HTML).children);
    this.#prompt = within(panel, "textarea");
    this.#run = within(panel, "[data-testid=run]");
    this.#stop = within(panel, "[data-testid=stop]");
    within(panel, ".controls").prepend(this.#picker.element);
    within(panel, ".gauge").prepend(this.#gauge.element);
    panel.append(this.#summary.element);
    within(panel, "form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#start();
    });
    this.#prompt.addEventListener("input", () => this.#update());
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      void this.#start();
    });
    this.#stop.addEventListener("click", () => this.stop());
    const mac = /Mac|iP(hone|ad)/.test(navigator.platform);
    if (mac) setText(within(panel, "[data-key]"), "⌘ ⏎");
    this.#show(this.#rows);
    this.#invite();
    this.#update();
  }

  /** After a reload, or with the address of another tab: shows the streams that are there. */
  shown(what: string): void {
    const found = this.#running ? undefined : findStreams(what);
    this.#gauge.draw();
    if (!found) return;
    this.#prompt.value = found.prompt;
    setText(
      this.#verdict,
      "The stream is read again from its first word; the model is not asked twice.",
    );
    void this.#perform(found.streams);
  }

  stop(): void {
    if (!this.#running) return;
    this.#stop.disabled = this.#stopped = true;
    for (const row of this.#rows) void row.stop();
  }

  get #verdict(): HTMLElement {
    return within(this.panel, ".verdict");
  }

  #update(): void {
    this.#run.disabled = this.#running || !this.#prompt.value.trim();
    this.#stop.disabled = !this.#running;
  }

  async #start(): Promise<void> {
    const prompt = this.#prompt.value;
    if (this.#running || !prompt.trim()) return;
    const models = this.#picker.chosen;
    noteAsked(prompt, models);
    setText(this.#verdict, "Waiting for the model.");
    await this.#perform(models.map((model) => ({ model, prompt })));
  }

  async #perform(tasks: Task[]): Promise<void> {
    this.#running = true;
    this.#stopped = false;
    this.#update();
    this.#show(tasks.map((_, at) => this.#rows[at] ?? new Row()));
    tasks.forEach(({ model }, at) => at < AT_ONCE || this.#rows[at]!.wait(model));
    const queue = [...tasks.entries()];
    const work = async (): Promise<boolean> => {
      let refused = false;
      for (let next; !refused && !this.#stopped && (next = queue.shift());)
        refused = await this.#one(...next);
      return refused;
    };
    const working = Promise.all(Array.from({ length: AT_ONCE }, work));
    everyFrame(() => this.#paint());
    const refused = (await working).includes(true);
    for (const [at] of queue) this.#rows[at]!.skip();
    this.#running = false;
    this.#paint();
    this.#update();
    if (refused && (await askForKey()) && !this.#running) await this.#perform(tasks);
  }

  async #one(at: number, task: Task): Promise<boolean> {
    const row = this.#rows[at]!;
    const running = row.run(task, at, (id) => noteId(at, id));
    this.#lanes();
    const refused = await running;
    noteEnd(at);
    this.#summary.add(row);
    return refused;
  }

  /** Whether there is more to paint. */
  #paint(): boolean {
    const running = this.#rows.filter((row) => row.running);
    for (const row of running) row.paint();
    const panes = (running.length ? running : this.#rows).map(({ streamed }) => streamed);
    this.#gauge.draw(Math.max(...panes.map((pane) => pane.totalAt ?? pane.elapsed)));
    const text = verdict(this.#rows);
    if (text) setText(this.#verdict, text);
    return this.#running;
  }

  #show(rows: Row[]): void {
    this.#rows = rows;
    within(this.panel, ".rows").replaceChildren(
      ...rows.map(({ streamed, whole }) => {
        const pair = fromHtml(`<div class="panes"></div>`);
        pair.append(streamed.root, whole.root);
        return pair;
      }),
    );
    this.#lanes();
  }

  #lanes(): void {
    const several = this.#rows.length > 1;
    this.#gauge.show(
      this.#rows.flatMap(({ streamed, whole, model }) => [
        { lane: streamed.lane, name: "Streamed", detail: several ? model : "", className: "water" },
        { lane: whole.lane, name: "Whole", detail: several ? model : "", className: "stone" },
      ]),
    );
    this.#gauge.draw();
  }

  /** What stands in the panes before there is an answer. */
  #invite(): void {
    const { streamed, whole } = this.#rows[0]!;
    const ideas = fromHtml(`<ul class="ideas" aria-label="Prompts to try"></ul>`);
    for (const idea of IDEAS) {
      const item = document.createElement("li");
      item.append(
        makeButton(idea, "idea", () => {
          this.#prompt.value = idea;
          this.#prompt.focus();
          this.#update();
        }),
      );
      ideas.append(item);
    }
    streamed
      .part("empty")
      .append(fromHtml("<p>Text shows here as the model writes it. Something to ask:</p>"), ideas);
    whole
      .part("empty")
      .append(
        fromHtml(
          "<p>The same prompt to the same model, as one response. The reader waits for the last " +
            "word before the first.</p>",
        ),
      );
  }
}
