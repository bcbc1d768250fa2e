/** One run: the same prompt to both sides, from one moment on, to the verdict. */

import { HeadwaterError, stream } from "@headwater/client";

import { byId, setText } from "./elements.js";
import { NOTHING, seconds } from "./format.js";
import type { Gauge } from "./gauge.js";
import { nameDefault } from "./models.js";
import type { Pane } from "./pane.js";
import { noteEnd, noteId, REMEMBERED } from "./place.js";
import { startStreamed, type Source, type Streamed } from "./streamed.js";
import { startWhole } from "./whole.js";

export interface Panes {
  streamed: Pane;
  whole: Pane;
}

/** What to run: a prompt, or a stream that there is already, to be read from its first word. */
export type Task = Asked | Replay;

interface Asked {
  prompt: string;
  model: string;
}

interface Replay {
  source: Source;
}

const announce = (text: string): void => setText(byId("announcer"), text);

/** What streaming changed, in one sentence; empty while or where there is nothing to compare. */
function verdict(streamed: Pane, whole: Pane): string {
  if (streamed.firstAt === null) {
    return streamed.running || whole.running ? "" : "Nothing came to compare.";
  }
  if (whole.firstAt === null) {
    if (whole.running)
      return `Something to read after ${seconds(streamed.firstAt)}. Whole: still waiting.`;
    return `Streamed, there was something to read after ${seconds(streamed.firstAt)}.`;
  }
  const earlier = whole.firstAt - streamed.firstAt;
  if (earlier <= 0) return "This time the whole answer was there first.";
  return (
    `Something to read after ${seconds(streamed.firstAt)} instead of ${seconds(whole.firstAt)}: ` +
    `${seconds(earlier)} less of waiting.`
  );
}

export class Run {
  #hangUp = new AbortController();
  #streamed: Streamed;
  #cuts = 0;
  #replayed: boolean;

  /** Resolves when both sides have ended: whether it was for want of a key. */
  readonly finished: Promise<boolean>;

  constructor(
    private readonly panes: Panes,
    private readonly gauge: Gauge,
    task: Task,
  ) {
    const { streamed, whole } = panes;
    const start = performance.now();
    this.#replayed = "source" in task;
    streamed.begin(start, this.#replayed);
    whole.begin(start, this.#replayed);
    gauge.show(streamed.lane, whole.lane);
    setText(byId("stream-position"), NOTHING);
    setText(byId("cuts"), "");
    const asked = "source" in task ? undefined : task;
    setText(
      byId("verdict"),
      asked
        ? "Both are waiting for the model."
        : "The stream is read again from its first word; the model is not asked twice.",
    );
    announce(asked ? "Running." : "Reading an answer that was begun before.");
    this.#streamed = startStreamed(streamed, "source" in task ? task.source : begins(task), {
      onId: noteId,
      onModel: (model) => {
        if (asked && !asked.model) nameDefault(model);
      },
      onState: (state, held) => this.#onState(state, held),
      onPosition: (position) => setText(byId("stream-position"), position),
    });
    const streaming = this.#streamed.finished.then((error) => {
      noteEnd();
      this.#tell("Streamed answer", streamed);
      return error instanceof HeadwaterError && error.status === 401;
    });
    this.finished = Promise.all([streaming, this.#startWhole(asked)]).then(([refused]) => {
      this.paint();
      return refused;
    });
  }

  async #startWhole(asked: Asked | undefined): Promise<void> {
    const { whole } = this.panes;
    if (!asked) {
      return whole.rest("One request, one response: it cannot be read again, or by another tab.");
    }
    await startWhole(whole, asked.prompt, asked.model, this.#hangUp.signal);
    this.#tell("Whole answer", whole);
  }

  /** Stops both: the stream by its name, the whole answer by hanging up, which cancels it. */
  async stop(): Promise<void> {
    this.#hangUp.abort();
    if (!this.panes.streamed.running) return;
    try {
      await this.#streamed.stop();
    } catch (error) {
      announce(`Could not stop: ${error instanceof Error ? error.message : error}`);
    }
  }

  cut(): void {
    this.#streamed.cut();
  }

  /** Brings everything on the page up to date. */
  paint(): void {
    const { streamed, whole } = this.panes;
    if (streamed.running || whole.running) {
      this.gauge.draw(streamed.running ? streamed.elapsed : whole.elapsed);
    } else this.gauge.draw(Math.max(streamed.totalAt!, whole.totalAt!));
    streamed.paint();
    whole.paint();
    const text = this.#replayed ? "" : verdict(streamed, whole);
    if (text) setText(byId("verdict"), text);
  }

  #onState(state: string, held: boolean): void {
    byId<HTMLButtonElement>("cut").disabled = state !== "streaming" || !held;
    if (state === "reconnecting") {
      this.#cuts++;
      setText(byId("cuts"), "Cut; coming back…");
      announce("Connection cut. Reconnecting.");
    } else if (state === "streaming" && this.#cuts) {
      setText(byId("cuts"), this.#cuts === 1 ? "Resumed once" : `Resumed ${this.#cuts} times`);
      announce("Resumed.");
    }
  }

  #tell(name: string, pane: Pane): void {
    announce(`${name}: ended after ${seconds(pane.totalAt ?? 0)}.`);
  }
}

const begins =
  ({ prompt, model }: Asked): Source =>
  (own) =>
    stream("v1/streams", {
      ...own,
      body: { prompt, ...(model && { model }) },
      remember: REMEMBERED,
    });
