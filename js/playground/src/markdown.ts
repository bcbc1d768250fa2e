/** Markdown of a model, which may be hostile, to DOM that can neither run nor load anything. */

import DOMPurify, { type Config } from "dompurify";
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
});

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
  }
});

interface Block {
  raw: string;
  nodes: ChildNode[];
}

/** Shows a text that grows. Only the blocks that changed are rendered again. */
export class MarkdownView {
  #blocks: Block[] = [];

  constructor(private readonly root: HTMLElement) {}

  render(text: string): void {
    const tokens = marked.lexer(text);
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same]!.raw) same++;
    for (const { nodes } of this.#blocks.splice(same)) nodes.forEach((node) => node.remove());
    for (const token of tokens.slice(same)) this.#append(token);
  }

  clear(): void {
    this.#blocks = [];
    this.root.replaceChildren();
  }

  #append(token: Token): void {
    const html = marked.parser([token]);
    const fragment = DOMPurify.sanitize(html, SANITIZE);
    const nodes = [...fragment.childNodes];
    this.#blocks.push({ raw: token.raw, nodes });
    this.root.append(fragment);
  }
}
