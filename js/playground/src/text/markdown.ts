/** Markdown of a model, which may be hostile, to DOM that can neither run nor load anything. */

import DOMPurify, { type Config } from "dompurify";

import { Blocks } from "./blocks.js";
import "./prose.css";

const ALLOWED_TAGS = (
  "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input li ol p pre strong " +
  "table tbody td th thead tr ul #text"
).split(" ");

const SANITIZE = {
  ALLOWED_TAGS,
  ALLOWED_ATTR: ["href", "title", "start", "align", "type", "checked", "disabled"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
} satisfies Config & { RETURN_DOM_FRAGMENT: true };

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
    node.setAttribute("title", node.getAttribute("href")!);
  }
  // The only input that Markdown knows is the box of a task, which is not for clicking.
  if (node.nodeName === "INPUT") {
    node.setAttribute("type", "checkbox");
    node.setAttribute("disabled", "");
    node.setAttribute("aria-label", "task");
  }
  // What scrolls sideways must be reached by the keyboard too.
  if (node.nodeName === "PRE") node.setAttribute("tabindex", "0");
});

// An open block that is long takes long to render: that may take a quarter of the time, not all.
const REST = 3;

/** Shows a text that grows. Finished blocks stay as they are; only the open one is made again. */
export class MarkdownView {
  #blocks = new Blocks();
  #open: ChildNode[] = [];
  #dirty = false;
  #readyAt = 0;

  constructor(private readonly root: HTMLElement) {}

  add(text: string): void {
    if (!text) return;
    this.#blocks.add(text);
    this.#dirty = true;
  }

  /** Shows what was added, unless the time is not yet right; whether it showed anything. */
  paint(now = false): boolean {
    const began = performance.now();
    if (!this.#dirty || (!now && began < this.#readyAt)) return false;
    this.#dirty = false;
    const { finished, open } = this.#blocks.take();
    for (const node of this.#open) node.remove();
    for (const block of finished) this.root.append(DOMPurify.sanitize(block, SANITIZE));
    const fragment = DOMPurify.sanitize(open, SANITIZE);
    this.#open = [...fragment.childNodes];
    this.root.append(fragment);
    this.#readyAt = performance.now() + REST * (performance.now() - began);
    return true;
  }

  clear(): void {
    this.#blocks = new Blocks();
    this.#open = [];
    this.#dirty = false;
    this.root.replaceChildren();
  }
}
