/** The log of what reached the page: events with their positions, and what was done to the wire. */

import { make } from "../shell/elements.js";

// What fits a screen several times over. The counters know the rest.
const KEPT = 300;

const TEXT = 48;

/** An event in a few words. */
export function brief(event: { type: string }): string {
  const { type, ...rest } = event as { type: string; text?: string };
  const text = rest.text === undefined ? JSON.stringify(rest) : JSON.stringify(rest.text);
  return `${type} ${text.length > TEXT ? `${text.slice(0, TEXT)}…` : text}`;
}

export class Frames {
  #waiting: HTMLElement[] = [];

  constructor(private readonly list: HTMLElement) {}

  clear(): void {
    this.#waiting = [];
    this.list.replaceChildren();
  }

  /** An event, at its position. */
  add(position: string, what: string): void {
    const item = make("li");
    item.append(make("b", position), make("span", what));
    this.#waiting.push(item);
  }

  /** What happened to the connection, or was done to it. */
  note(what: string): void {
    this.#waiting.push(make("li", what, "done"));
  }

  /** Shows what came since the last frame, and stays at the end where the reader is there. */
  paint(): void {
    if (!this.#waiting.length) return;
    const { list } = this;
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...this.#waiting);
    this.#waiting = [];
    while (list.childElementCount > KEPT) list.firstElementChild!.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }
}
