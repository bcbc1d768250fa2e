/** Break it: what can go wrong with a stream, done on purpose, and what becomes of the answer. */

import "./breakit.css";

import {
  HeadwaterError,
  resume,
  stream,
  type StreamEvent,
  type StreamState,
} from "@headwater/client";

import { follow, type Following, type Reader } from "../reading/follow.js";
import { note, type Trace } from "../reading/journal.js";
import { BadNetwork } from "../reading/network.js";
import { Picker } from "../reading/picker.js";
import { announce, everyFrame, fromHtml, setText, within } from "../shell/elements.js";
import { askForKey } from "../shell/session.js";
import type { Tab, View } from "../shell/tabs.js";
import { MarkdownView } from "../text/markdown.js";
import { errorNotice } from "../text/notice.js";
import type { Held } from "./audit.js";
import { Counters } from "./counters.js";
import { brief, Frames } from "./frames.js";

const OFFLINE_MS = 5000;
const PROMPT = "Tell me how a river is made, from the first spring to the sea.";
// Late enough that there is something to keep, early enough that it is soon.
const AFTER = 40;

/** What can be done to the wire while a stream runs. */
const WIRE = [
  ["cut", "Cut the connection", "The request is aborted under the client."],
  ["offline", "Go offline for 5\u00a0s", "Every request is refused, as without a network."],
  [
    "buffer",
    "Put a buffering proxy in",
    "Reconnects; the page holds all bytes back until the end.",
  ],
] as const;

/** What an upstream can do, as the fault of a tape; each is a run of its own. */
const UPSTREAM = [
  ["stall", "Stall the upstream", `stall=${AFTER}`, "It falls silent; heartbeats go on. Stop it."],
  ["kill", "Kill the upstream", `cut=${AFTER}`, "Its connection breaks off in mid-answer."],
  ["error", "Let the upstream fail", `error=${AFTER}`, "It says in mid-answer that it failed."],
  ["refuse", "Let the upstream refuse", "refuse", "It fails before the first token."],
] as const;

const button = ([id, label, , hint = ""]: readonly string[], disabled: string): string =>
  `<div><button type="button" data-testid="${id}" aria-describedby="about-${id}" ${disabled}>` +
  `${label}</button><p id="about-${id}" class="hint">${hint}</p></div>`;

const HTML = `
<div>
  <section class="levers" aria-label="What to break">
    <div class="controls">
      <div class="buttons">
        <button type="button" data-testid="break-stop" disabled>Stop <kbd>Esc</kbd></button>
        <button type="button" class="primary" data-testid="break-run">Run</button>
      </div>
    </div>
    <fieldset><legend>The network, while it streams</legend>
      ${WIRE.map(([id, label, hint]) => button([id, label, "", hint], "disabled")).join("")}
    </fieldset>
    <fieldset><legend>The upstream: runs a tape that does it after ${AFTER} events</legend>
      ${UPSTREAM.map((lever) => button(lever, "")).join("")}
    </fieldset>
  </section>
  <section class="pane streamed" aria-label="Answer">
    <header><h2>Answer <small data-model></small></h2>
      <span class="state" data-testid="break-state" data-state="idle">idle</span></header>
    <div class="scroll" tabindex="0" role="region" aria-label="Text of the answer">
      <div class="prose" data-testid="break-text"></div>
      <div data-notice></div>
    </div>
  </section>
  <section class="pane evidence" aria-label="Evidence">
    <header><h2>Evidence</h2></header>
    <ol class="frames" tabindex="0" aria-label="What reached the page, with positions"
      data-testid="frames"></ol>
  </section>
</div>`;

export const breakIt: Tab = { id: "break", label: "Break it", mount: (panel) => new Bench(panel) };

class Bench implements View, Reader {
  #picker = new Picker({
    name: "break",
    first: (models, usual) => models.find(({ id }) => id === "tape/story")?.id ?? usual,
  });
  #frames: Frames;
  #counters = new Counters();
  #prose: MarkdownView;
  #network = new BadNetwork((what) => this.#frames.note(what));
  #following: Following | undefined;
  #trace: Trace | undefined;
  #failure: unknown;
  #stream: string | undefined;

  constructor(private readonly panel: HTMLElement) {
    panel.append(...fromHtml(HTML).children);
    this.#frames = new Frames(within(panel, ".frames"));
    this.#prose = new MarkdownView(within(panel, ".prose"));
    within(panel, ".controls").prepend(this.#picker.element);
    within(panel, ".evidence header").after(this.#counters.element);
    this.#on("break-run", () => void this.#run(this.#picker.chosen[0]));
    this.#on("break-stop", () => this.stop());
    this.#on("cut", () => {
      this.#frames.note("you cut the connection");
      this.#network.cut();
    });
    this.#on("offline", () => {
      this.#frames.note(`you went offline for ${OFFLINE_MS / 1000} s`);
      this.#network.goOffline(OFFLINE_MS);
    });
    this.#on("buffer", () => {
      this.#frames.note("you put a buffering proxy between");
      this.#network.buffering = true;
      this.#network.cut();
    });
    for (const [id, , fault] of UPSTREAM) this.#on(id, () => void this.#run(`tape/story?${fault}`));
  }

  stop(): void {
    const stopping = this.#following?.stop();
    stopping?.catch((error: Error) => announce(`Could not stop: ${error.message}`));
  }

  named(id: string): void {
    this.#stream = id;
  }

  event(event: StreamEvent, position: string | undefined): void {
    this.#counters.received.push({ position: position ?? "", event: JSON.stringify(event) });
    this.#frames.add(position ?? "", brief(event));
    if (event.type === "stream-start") setText(within(this.panel, "[data-model]"), event.model);
    if (event.type === "text-delta") this.#prose.add(event.text);
    if (event.type === "stream-end" && event.reason === "cancelled") this.#state("stopped");
    if (event.type !== "stream-error") return;
    const { code, message, retryable } = event;
    this.#failure = new HeadwaterError(code, message, { retryable });
  }

  state(state: StreamState): void {
    this.#state(state);
    for (const [id] of WIRE) this.#button(id).disabled = state !== "streaming";
    if (state === "reconnecting") this.#frames.note("cut; coming back");
  }

  end(error: unknown, left: boolean): void {
    this.#failure ??= error;
    const stopped = within(this.panel, ".state").dataset.state === "stopped" || left;
    this.#state(stopped ? "stopped" : this.#failure ? "failed" : "done");
  }

  async #run(model: string): Promise<void> {
    if (this.#following) return;
    this.#network.heal();
    this.#frames.clear();
    this.#counters.clear();
    this.#prose.clear();
    this.#failure = this.#stream = undefined;
    within(this.panel, "[data-notice]").replaceChildren();
    const trace = (this.#trace = note("Break it", model));
    const body = { prompt: PROMPT, ...(model && { model }) };
    const source = (own: object) => stream("v1/streams", { ...own, body });
    const following = follow(source, this, { fetch: this.#network.fetch, trace });
    this.#following = following;
    this.#running(true);
    everyFrame(() => this.#paint());
    await following.finished;
    this.#following = undefined;
    this.#paint(true);
    this.#running(false);
    if (this.#failure)
      within(this.panel, "[data-notice]").replaceChildren(errorNotice(this.#failure));
    announce(`Answer ${within(this.panel, ".state").textContent}.`);
    await this.#compare();
    const { status } = (this.#failure ?? {}) as Partial<HeadwaterError>;
    if (status === 401 && (await askForKey())) await this.#run(model);
  }

  /** Reads the log anew, by another way than the answer came, and compares. */
  async #compare(): Promise<void> {
    if (!this.#stream) return this.#counters.fail("no stream was begun.");
    const log: Held[] = [];
    try {
      const source = resume(this.#stream, { base: "." });
      for await (const event of source)
        log.push({ position: source.position ?? "", event: JSON.stringify(event) });
      this.#counters.compare(log);
    } catch (error) {
      this.#counters.fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** Whether there is more to paint. */
  #paint(now = false): boolean {
    const scroll = within(this.panel, ".scroll");
    const follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    if (this.#prose.paint(now)) this.#trace?.shown();
    if (follows) scroll.scrollTop = scroll.scrollHeight;
    this.#frames.paint();
    this.#counters.paint();
    return this.#following !== undefined;
  }

  #running(running: boolean): void {
    this.#button("break-stop").disabled = !running;
    for (const id of ["break-run", ...UPSTREAM.map(([name]) => name)])
      this.#button(id).disabled = running;
    if (!running) for (const [id] of WIRE) this.#button(id).disabled = true;
  }

  #state(state: string): void {
    const element = within(this.panel, ".state");
    setText(element, state);
    element.dataset.state = state;
  }

  #button(id: string): HTMLButtonElement {
    return within(this.panel, `[data-testid=${id}]`);
  }

  #on(id: string, click: () => void): void {
    this.#button(id).addEventListener("click", click);
  }
}
