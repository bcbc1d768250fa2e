/**
 * Markdown that grows, as HTML: blocks that are finished, and the open one at the end.
 *
 * Pure, and not yet safe: what it gives is sanitised where it becomes DOM. The cost of a piece of
 * text is that of the block it falls into, not of the whole answer.
 */

import { Marked, type Token, type Tokens } from "marked";

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  renderer: {
    // HTML is shown as the text it is: the reader sees what the model wrote.
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
    // An image would be loaded, and its address can carry the conversation away.
    image: ({ href, text }: Tokens.Image) =>
      `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
  tokenizer: {
    // A definition changes links far above it, in what a reader has read long ago.
    def: () => undefined,
  },
});

/** The HTML of a text that is whole. */
export const whole = (text: string): string => marked.parse(text) as string;

const html = (tokens: Token[]): string => marked.parser(tokens);

export class Blocks {
  /** What follows the last finished block. */
  #tail = "";
  /** How much of the tail was looked at, as whole lines, for blocks that are finished. */
  #looked = 0;
  /** A carriage return at the end: the line feed it belongs to may come next. */
  #held = "";

  add(text: string): void {
    text = this.#held + text;
    this.#held = text.endsWith("\r") ? "\r" : "";
    if (this.#held) text = text.slice(0, -1);
    this.#tail += text.replace(/\r\n?/g, "\n");
  }

  /** The blocks that were finished since the last call, and the one that is open. */
  take(): { finished: string[]; open: string } {
    const finished = this.#finish();
    return { finished, open: html(marked.lexer(this.#tail)) };
  }

  /**
   * A block is finished when another one has begun behind it, in a line that is whole: of a "2" it
   * is not known whether it will be the next item of the list above it.
   */
  #finish(): string[] {
    const lines = this.#tail.lastIndexOf("\n") + 1;
    if (lines === this.#looked) return [];
    const tokens = marked.lexer(this.#tail.slice(0, lines));
    const last = tokens.findLastIndex(({ type }) => type !== "space");
    const finished = tokens.slice(0, Math.max(last, 0));
    const length = finished.reduce((sum, { raw }) => sum + raw.length, 0);
    this.#tail = this.#tail.slice(length);
    this.#looked = lines - length;
    return finished.map((token) => html([token])).filter(Boolean);
  }
}
