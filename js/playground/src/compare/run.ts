/** One run of one model: the same prompt to both sides, from one moment on. */

import { stream } from "@headwater/client";

import { follow, type Following, type Source } from "../reading/follow.js";
import { note, type Trace } from "../reading/journal.js";
import { announce } from "../shell/elements.js";
import { seconds } from "../shell/format.js";
import { Pane, wantsKey } from "./pane.js";
import { remembered } from "./place.js";
import { PaneReader } from "./reader.js";
import { startWhole } from "./whole.js";

/** What to run: a prompt, or a stream that there is already, to be read from its first word. */
export type Task = { model: string } & ({ prompt: string } | { source: Source });

const begins =
  (prompt: string, model: string, row: number): Source =>
  (own) =>
    stream("v1/streams", {
      ...own,
      body: { prompt, ...(model && { model }) },
      remember: remembered(row),
    });

/** The two panes of a model, and what runs in them. */
export class Row {
  readonly streamed = new Pane("streamed", "Streamed");
  readonly whole = new Pane("whole", "Whole");
  model = "";
  replayed = false;
  #hangUp = new AbortController();
  #following: Following | undefined;
  #trace: Trace | undefined;

  get running(): boolean {
    return this.streamed.running || this.whole.running;
  }

  /** Is in the queue behind other models. */
  wait(model: string): void {
    this.model = model;
    for (const pane of [this.streamed, this.whole]) {
      pane.begin(performance.now(), model);
      pane.rest("Waits for its turn: two models at a time, so that they do not slow each other.");
      pane.setState("waiting");
    }
  }

  /** Its turn will not come. */
  skip(): void {
    for (const pane of [this.streamed, this.whole]) {
      pane.rest("Stopped before its turn.");
      pane.setState("stopped");
    }
  }

  /** Runs until both sides have ended: whether it was for want of a key. Never rejects. */
  async run(task: Task, row: number, named: (id: string) => void): Promise<boolean> {
    const { streamed, whole } = this;
    this.model = task.model;
    this.replayed = "source" in task;
    this.#hangUp = new AbortController();
    const start = performance.now();
    for (const pane of [streamed, whole]) pane.begin(start, task.model, this.replayed);
    const trace = (this.#trace = note("Compare", task.model, this.replayed));
    const source = "source" in task ? task.source : begins(task.prompt, task.model, row);
    this.#following = follow(source, new PaneReader(streamed, trace, named), { trace });
    const streaming = this.#following.finished.then((error) => {
      tell("Streamed answer", streamed);
      return wantsKey(error);
    });
    const [refused] = await Promise.all([streaming, this.#runWhole(task)]);
    this.paint();
    return refused;
  }

  async #runWhole(task: Task): Promise<void> {
    if ("source" in task)
      return this.whole.rest(
        "One request, one response: it cannot be read again, or by another tab.",
      );
    await startWhole(this.whole, task.prompt, task.model, this.#hangUp.signal);
    tell("Whole answer", this.whole);
  }

  /** Stops both: the stream by its name, the whole answer by hanging up, which cancels it. */
  async stop(): Promise<void> {
    this.#hangUp.abort();
    if (!this.streamed.running) return;
    try {
      await this.#following?.stop();
    } catch (error) {
      announce(`Could not stop: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Brings both panes up to date. */
  paint(): void {
    if (this.streamed.paint()) this.#trace?.shown();
    this.whole.paint();
  }
}

function tell(name: string, pane: Pane): void {
  announce(`${name}: ${pane.state} after ${seconds(pane.totalAt ?? 0)}.`);
}
