/** Each token once, in order: the figures, as they are counted. */

import { fromHtml, setText, within } from "../shell/elements.js";
import { NOTHING } from "../shell/format.js";
import { audit, soFar, type Held } from "./audit.js";

const FIGURES = [
  ["received", "Events received"],
  ["logged", "Events in the log"],
  ["duplicates", "Twice"],
  ["gaps", "Missing"],
  ["disorder", "Out of order"],
  ["differing", "Differing"],
] as const;

const HTML = `
<div class="ledger">
  <dl class="metrics">${FIGURES.map(
    ([name, label]) => `<div><dt>${label}</dt><dd data-testid="${name}">${NOTHING}</dd></div>`,
  ).join("")}</dl>
  <p class="verdict" role="status" data-testid="audit">What reaches the page is counted here, and
    at the end compared with the log on the server.</p>
</div>`;

export class Counters {
  readonly element = fromHtml(HTML);
  /** What the reader was handed. */
  readonly received: Held[] = [];
  #counted = -1;

  clear(): void {
    this.received.length = 0;
    this.#counted = -1;
    for (const [name] of FIGURES) this.#set(name, NOTHING);
    this.#say("Counting. The log is compared when the stream has ended.");
  }

  /** Brings the figures up to date with what was received. */
  paint(): void {
    if (this.#counted === this.received.length) return;
    this.#counted = this.received.length;
    const { duplicates, disorder } = soFar(this.received);
    this.#set("received", this.#counted);
    this.#set("duplicates", duplicates);
    this.#set("disorder", disorder);
  }

  /** Compares with the log: whether the reader has what it holds, each event once, in order. */
  compare(log: Held[]): void {
    this.paint();
    const found = audit(this.received, log);
    for (const [name] of FIGURES) this.#set(name, found[name]);
    const { duplicates, gaps, disorder, differing } = found;
    const whole = duplicates + gaps + disorder + differing === 0;
    this.element.dataset.whole = String(whole);
    this.#say(
      whole
        ? `Each of the ${found.logged} events of the log arrived once, in order.`
        : "What arrived is not what the log holds: this is a fault of Headwater’s.",
    );
  }

  /** It cannot be compared. */
  fail(why: string): void {
    this.#say(`The log cannot be compared: ${why}`);
  }

  #say(text: string): void {
    setText(within(this.element, ".verdict"), text);
  }

  #set(name: string, value: number | string): void {
    setText(within(this.element, `[data-testid=${name}]`), String(value));
  }
}
