/** One pane: its clocks, its text, its state and its errors. Knows nothing of where they come from. */

import { HeadwaterError, type Timing } from "@headwater/client";

import { byId, make, setText, within } from "./elements.js";
import { NOTHING, rate, seconds } from "./format.js";
import { emptyLane, type Lane } from "./gauge.js";
import { MarkdownView } from "./markdown.js";

const REASONS: Record<string, string> = {
  length: "Ended at the token limit.",
  "content-filter": "Ended by the provider’s content filter.",
  content_filter: "Ended by the provider’s content filter.",
  cancelled: "Stopped.",
};

export class Pane {
  lane: Lane = emptyLane();
  tokens = 0;
  firstAt: number | null = null;
  totalAt: number | null = null;
  /** What the server measured; of an answer that is read again, all that is known. */
  timing: Timing | null = null;
  #replayed = false;
  #text = "";
  #thoughts = "";
  #dirty = false;
  #readyAt = 0;
  #start = 0;
  #root: HTMLElement;
  #prose: MarkdownView;
  #state: HTMLElement;

  constructor(name: "stream" | "whole") {
    this.#state = byId(`${name}-state`);
    this.#root = this.#state.closest<HTMLElement>(".pane")!;
    this.#prose = new MarkdownView(byId(`${name}-pane`));
  }

  /**
   * Empties the pane for a run that began at `start`, on performance.now()'s clock. The clocks of
   * one that is `replayed` stand still: it began before the page did.
   */
  begin(start: number, replayed = false): void {
    this.#start = start;
    this.#replayed = replayed;
    this.timing = null;
    this.lane = emptyLane();
    this.tokens = 0;
    this.firstAt = this.totalAt = null;
    this.#text = this.#thoughts = "";
    this.#prose.clear();
    this.#part("notice").hidden = this.#part("empty").hidden = true;
    this.#part("thinking").hidden = true;
    this.#root.setAttribute("aria-busy", "true");
  }

  /** Has nothing to show, and says why. */
  rest(why: string): void {
    this.totalAt = this.lane.end = 0;
    this.#root.removeAttribute("aria-busy");
    this.setState("idle");
    this.#note([make("p", why)], "note");
  }

  /** Milliseconds since the run began. */
  get elapsed(): number {
    return performance.now() - this.#start;
  }

  get running(): boolean {
    return this.totalAt === null;
  }

  setState(state: string): void {
    setText(this.#state, state);
    this.#state.dataset.state = state;
  }

  /** Text arrived; it is shown with the next frame. */
  add(text: string, thoughts = ""): void {
    const now = this.elapsed;
    this.firstAt ??= now;
    this.lane.ticks.push(now);
    this.#text += text;
    this.#thoughts += thoughts;
    this.#dirty = true;
  }

  /** Nothing more will come; `reason` is shown unless it is the usual one. */
  end(reason: string | null): void {
    if (!this.running) return;
    this.totalAt = this.lane.end = this.elapsed;
    this.#root.removeAttribute("aria-busy");
    this.setState(reason === "cancelled" ? "stopped" : "done");
    this.paint();
    const note = REASONS[reason ?? ""];
    if (note) this.#note([make("p", note)], "note");
    else if (!this.#text && !this.#thoughts)
      this.#note([make("p", "The answer is empty.")], "note");
  }

  /** Ends with an error that a reader can act on. */
  fail(error: unknown): void {
    if (!this.running) return;
    this.totalAt = this.lane.end = this.elapsed;
    this.#root.removeAttribute("aria-busy");
    this.setState("failed");
    this.paint();
    const { code, retryable, requestId } =
      error instanceof HeadwaterError ? error : { code: "page", retryable: false, requestId: "" };
    const message = error instanceof Error ? error.message : String(error);
    const detail = [code, requestId && `request ${requestId}`].filter(Boolean).join(" · ");
    this.#note(
      [
        make("p", message),
        ...(retryable ? [make("p", "The same request may work when sent again.", "hint")] : []),
        make("p", detail, "detail"),
      ],
      "error",
    );
  }

  /** Brings clocks and text up to date; called with every frame. */
  paint(): void {
    const { first, total } = this.#times();
    this.#metric("first", first === null ? NOTHING : seconds(first));
    this.#metric("total", total === null ? NOTHING : seconds(total));
    this.#metric("tokens", this.tokens ? String(this.tokens) : NOTHING);
    // A whole answer comes in one piece: its tokens took all the time there was.
    const since = this.lane.ticks.length > 1 ? first! : 0;
    const flowed = this.firstAt === null || total === null ? 0 : total - since;
    this.#metric("rate", rate(this.tokens, flowed));
    this.#root.toggleAttribute("data-waiting", this.running && this.firstAt === null);
    const now = performance.now();
    // Rendering takes longer as the text grows: it may have an eighth of the time, not all of it.
    if (!this.#dirty || (this.running && now < this.#readyAt)) return;
    this.#dirty = false;
    this.#show();
    this.#readyAt = now + 8 * (performance.now() - now);
  }

  #times(): { first: number | null; total: number | null } {
    if (this.#replayed) {
      return { first: this.timing?.first_token ?? null, total: this.timing?.total ?? null };
    }
    const total = this.totalAt ?? this.elapsed;
    return { first: this.firstAt ?? (this.running ? total : null), total };
  }

  #show(): void {
    const scroll = this.#part("scroll");
    const follow = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    this.#prose.render(this.#text);
    this.#part("thinking").hidden = !this.#thoughts;
    setText(this.#part("thoughts"), this.#thoughts);
    if (follow && this.lane.ticks.length > 1) scroll.scrollTop = scroll.scrollHeight;
  }

  #note(content: HTMLElement[], kind: "note" | "error"): void {
    const notice = this.#part("notice");
    notice.className = `notice ${kind}`;
    notice.setAttribute("role", kind === "error" ? "alert" : "note");
    notice.hidden = false;
    notice.replaceChildren(...content);
    notice.scrollIntoView({ block: "nearest" });
  }

  #metric(name: string, text: string): void {
    setText(within(this.#root, `[data-metric="${name}"]`), text);
  }

  #part(name: string): HTMLElement {
    return within(this.#root, `[data-${name}]`);
  }
}
