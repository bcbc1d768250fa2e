/** One pane: its clocks, its text, its state and its errors. Knows nothing of where they come from. */

import { HeadwaterError, type Timing } from "@headwater/client";

import { idle, type Arrival } from "../reading/statistics.js";
import { fromHtml, make, setText, within } from "../shell/elements.js";
import { NOTHING, rate, seconds } from "../shell/format.js";
import { emptyLane, type Lane } from "../shell/gauge.js";
import { errorNotice } from "../text/notice.js";
import { MarkdownView } from "../text/markdown.js";

const REASONS: Record<string, string> = {
  length: "Ended at the token limit.",
  "content-filter": "Ended by the provider’s content filter.",
  content_filter: "Ended by the provider’s content filter.",
  "tool-calls": "Ended with a call of a tool.",
  tool_calls: "Ended with a call of a tool.",
  cancelled: "Stopped.",
};

const METRICS = [
  ["first", "First text", "first-token"],
  ["idle", "Waiting", "waiting"],
  ["total", "Total", "total"],
  ["tokens", "Tokens", "tokens"],
  ["rate", "Tokens/s", "rate"],
] as const;

const html = (side: string, title: string): string => `
<section class="pane ${side}" aria-label="${title}">
  <header>
    <h2>${title} <small data-model></small></h2>
    <span class="state" data-testid="${side}-state" data-state="idle">idle</span>
  </header>
  <dl class="metrics">${METRICS.map(
    ([name, label, id]) =>
      `<div class="${name}"><dt>${label}</dt>` +
      `<dd data-testid="${side}-${id}" data-metric="${name}">${NOTHING}</dd></div>`,
  ).join("")}</dl>
  <div class="scroll" tabindex="0" role="region" aria-label="${title} answer" data-scroll>
    <details class="thinking" hidden data-thinking>
      <summary>Thinking</summary>
      <div data-thoughts></div>
    </details>
    <div class="prose" data-testid="${side}-pane" data-prose></div>
    <div data-notice></div>
    <div class="empty" data-empty></div>
  </div>
</section>`;

export class Pane {
  readonly root: HTMLElement;
  lane: Lane = emptyLane();
  tokens = 0;
  totalAt: number | null = null;
  /** What the server measured; of an answer that is read again, all that is known. */
  timing: Timing | null = null;
  #arrivals: Arrival[] = [];
  #replayed = false;
  #thoughts = "";
  #start = 0;
  #prose: MarkdownView;
  #state: HTMLElement;

  constructor(side: "streamed" | "whole", title: string) {
    this.root = fromHtml(html(side, title));
    this.#state = within(this.root, ".state");
    this.#prose = new MarkdownView(this.part("prose"));
  }

  /**
   * Empties the pane for a run that began at `start`, on performance.now()'s clock. The clocks of
   * one that is `replayed` stand still: it began before the page did.
   */
  begin(start: number, model: string, replayed = false): void {
    this.#start = start;
    this.#replayed = replayed;
    this.timing = null;
    this.lane = emptyLane();
    this.tokens = 0;
    this.totalAt = null;
    this.#arrivals = [];
    this.#thoughts = "";
    this.#prose.clear();
    this.part("notice").replaceChildren();
    this.part("empty").hidden = this.part("thinking").hidden = true;
    this.root.setAttribute("aria-busy", "true");
    this.name(model);
  }

  /** Says which model answers. */
  name(model: string): void {
    setText(this.part("model"), model);
  }

  /** Has nothing to show, and says why. */
  rest(why: string): void {
    this.totalAt = this.lane.end = 0;
    this.root.removeAttribute("aria-busy");
    this.setState("idle");
    this.#note(why);
  }

  /** Milliseconds since the run began. */
  get elapsed(): number {
    return performance.now() - this.#start;
  }

  get running(): boolean {
    return this.totalAt === null;
  }

  get firstAt(): number | null {
    return this.#arrivals[0]?.at ?? null;
  }

  get state(): string {
    return this.#state.dataset.state!;
  }

  /** How long a reader had nothing to read, so far. */
  get idle(): number {
    return idle(this.#arrivals, this.totalAt ?? this.elapsed);
  }

  setState(state: string): void {
    setText(this.#state, state);
    this.#state.dataset.state = state;
  }

  /** Text arrived; it is shown with the next frame. */
  add(text: string, thoughts = ""): void {
    const at = this.elapsed;
    this.lane.ticks.push(at);
    this.#arrivals.push({ at, length: text.length + thoughts.length });
    this.#prose.add(text);
    this.#thoughts += thoughts;
  }

  /** Nothing more will come; `reason` is shown unless it is the usual one. */
  end(reason: string | null): void {
    if (!this.running) return;
    this.#end(reason === "cancelled" ? "stopped" : "done");
    const note = REASONS[reason ?? ""] ?? (this.firstAt === null ? "The answer is empty." : "");
    if (note) this.#note(note);
  }

  /** Ends with an error that a reader can act on. */
  fail(error: unknown): void {
    if (!this.running) return;
    this.#end("failed");
    this.part("notice").replaceChildren(errorNotice(error));
  }

  #end(state: string): void {
    this.totalAt = this.lane.end = this.elapsed;
    this.root.removeAttribute("aria-busy");
    this.setState(state);
    this.paint(true);
  }

  /** Brings clocks and text up to date; called with every frame. Whether text was shown. */
  paint(now = false): boolean {
    const { first, total, waited } = this.#times();
    const show = (name: string, ms: number | null) =>
      this.#metric(name, ms === null ? NOTHING : seconds(ms));
    show("first", first);
    show("idle", waited);
    show("total", total);
    this.#metric("tokens", this.tokens ? String(this.tokens) : NOTHING);
    // A whole answer comes in one piece: its tokens took all the time there was.
    const since = this.lane.ticks.length > 1 ? first! : 0;
    const flowed = this.firstAt === null || total === null ? 0 : total - since;
    this.#metric("rate", rate(this.tokens, flowed));
    this.root.toggleAttribute("data-waiting", this.running && this.firstAt === null);
    return this.#show(now);
  }

  #times(): { first: number | null; total: number | null; waited: number | null } {
    if (this.#replayed) {
      const { first_token = null, total = null } = this.timing ?? {};
      return { first: first_token, total, waited: null };
    }
    const total = this.totalAt ?? this.elapsed;
    return {
      first: this.firstAt ?? (this.running ? total : null),
      total,
      waited: this.firstAt === null && !this.running ? null : this.idle,
    };
  }

  #show(now: boolean): boolean {
    const scroll = this.part("scroll");
    const follow = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    const shown = this.#prose.paint(now);
    this.part("thinking").hidden = !this.#thoughts;
    setText(this.part("thoughts"), this.#thoughts);
    if (shown && follow && this.lane.ticks.length > 1) scroll.scrollTop = scroll.scrollHeight;
    return shown || this.#thoughts !== "";
  }

  #note(text: string): void {
    const note = make("div", "", "notice note");
    note.append(make("p", text));
    this.part("notice").replaceChildren(note);
  }

  #metric(name: string, text: string): void {
    setText(within(this.root, `[data-metric="${name}"]`), text);
  }

  part(name: string): HTMLElement {
    return within(this.root, `[data-${name}]`);
  }
}

/** Whether the server wants a key. */
export const wantsKey = (error: unknown): boolean =>
  error instanceof HeadwaterError && error.status === 401;
