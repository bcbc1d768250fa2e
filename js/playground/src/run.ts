/** One run: the same prompt to both sides, from one moment on, to the verdict. */

import { byId, setText } from "./elements.js";
import { NOTHING, seconds } from "./format.js";
import type { Gauge } from "./gauge.js";
import type { Pane } from "./pane.js";
import { startStreamed, type Streamed } from "./streamed.js";
import { startWhole } from "./whole.js";

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

  /** Resolves when both sides have ended. */
  readonly finished: Promise<void>;

  constructor(
    private readonly panes: { streamed: Pane; whole: Pane },
    private readonly gauge: Gauge,
    prompt: string,
    model: string,
  ) {
    const { streamed, whole } = panes;
    const start = performance.now();
    streamed.begin(start);
    whole.begin(start);
    gauge.show(streamed.lane, whole.lane);
    setText(byId("stream-position"), NOTHING);
    setText(byId("cuts"), "");
    setText(byId("verdict"), "Both are waiting for the model.");
    announce("Running.");
    this.#streamed = startStreamed(streamed, prompt, model, {
      onState: (state) => this.#onState(state),
      onPosition: (position) => setText(byId("stream-position"), position),
    });
    this.finished = Promise.all([
      this.#streamed.finished.then(() => this.#tell("Streamed answer", streamed)),
      startWhole(whole, prompt, model, this.#hangUp.signal).then(() =>
        this.#tell("Whole answer", whole),
      ),
    ]).then(() => this.paint());
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
    const text = verdict(streamed, whole);
    if (text) setText(byId("verdict"), text);
  }

  #onState(state: string): void {
    byId<HTMLButtonElement>("cut").disabled = state !== "streaming";
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
