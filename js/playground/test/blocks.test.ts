/** Markdown that grows: wherever it is cut, it is in the end what it is when rendered whole. */

import { describe, expect, it } from "vitest";

import { Blocks, whole } from "../src/text/blocks.js";

const LINES = [
  "",
  "",
  "",
  "word",
  "two words",
  "# Title",
  "## Sub #",
  "===",
  "---",
  "- a",
  "- b",
  "  - c",
  "    code",
  "1. one",
  "2. two",
  "2",
  "10) ten",
  "-",
  "*",
  "* star",
  "+ plus",
  "> quote",
  "> - q",
  "lazy",
  "```",
  "```py",
  "~~~",
  "x = 1",
  "| a | b |",
  "|---|:-:|",
  "| 1 | 2 |",
  "<div>",
  "</div>",
  "<!-- c",
  "-->",
  "<pre>",
  "</pre>",
  "***",
  "**bold** *it* `code`",
  "**open",
  "[a](http://b.c)",
  "[a]",
  "[a]: http://b.c",
  "- [ ] task",
  "- [x] done",
  "a\\",
  "two  ",
  "\ttab",
  "é — 漢字 🌊",
  "![i](http://b.c/d.png)",
  "https://example.com",
  "<b>html</b>",
  "&amp; &lt;",
  "   ",
  "1",
  "#",
];

/** Numbers from a seed, the same everywhere. */
function numbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function text(next: (below: number) => number): string {
  const end = next(8) ? "\n" : "\r\n";
  return Array.from({ length: 1 + next(14) }, () => LINES[next(LINES.length)]).join(end);
}

/** Fed in pieces, with a look after each: what a reader has on the screen at the end. */
function grown(pieces: Iterable<string>): string {
  const blocks = new Blocks();
  let shown = "";
  let open = "";
  for (const piece of pieces) {
    blocks.add(piece);
    const taken = blocks.take();
    shown += taken.finished.join("");
    open = taken.open;
  }
  return shown + open;
}

function* cut(from: string, next: (below: number) => number, longest: number): Generator<string> {
  for (let at = 0; at < from.length;) {
    const length = 1 + next(longest);
    yield from.slice(at, at + length);
    at += length;
  }
}

describe("Markdown that grows", () => {
  it.each([1, 3, 40])("is what it is whole, in pieces of up to %i", (longest) => {
    const next = numbers(longest);
    for (let round = 0; round < 1500; round++) {
      const source = text(next);
      expect(grown(cut(source, next, longest)), JSON.stringify(source)).toBe(whole(source));
    }
  });

  it("leaves what is finished alone: the open block is all that is given again", () => {
    const blocks = new Blocks();
    blocks.add("# One\n\nTwo\n\n- three\n");
    expect(blocks.take()).toEqual({
      finished: ["<h1>One</h1>\n", "<p>Two</p>\n"],
      open: "<ul>\n<li>three</li>\n</ul>\n",
    });
    blocks.add("- four");
    expect(blocks.take()).toEqual({
      finished: [],
      open: "<ul>\n<li>three</li>\n<li>four</li>\n</ul>\n",
    });
  });

  it("costs what the open block costs, not what the answer has", () => {
    const blocks = new Blocks();
    let given = 0;
    for (let paragraph = 0; paragraph < 2000; paragraph++) {
      blocks.add(`Paragraph ${paragraph} has some words.\n\n`);
      const { finished, open } = blocks.take();
      given += finished.join("").length + open.length;
    }
    // Each was given twice at most: once open, once finished.
    expect(given).toBeLessThan(2 * 2000 * 60);
  });

  it("shows HTML and images as text and links", () => {
    expect(whole("<script>alert(1)</script>")).not.toContain("<script>");
    expect(whole("![pixel](https://example.com/p.png)")).toBe(
      '<p><a href="https://example.com/p.png">pixel</a></p>\n',
    );
  });
});
