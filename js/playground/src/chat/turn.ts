/** One turn on the page: what was asked, or an answer that may still grow. */

import { HeadwaterError } from "@headwater/client";

import { fromHtml, make, makeButton, setText, within } from "../shell/elements.js";
import { rate, seconds } from "../shell/format.js";
import { MarkdownView } from "../text/markdown.js";
import { errorNotice } from "../text/notice.js";
import type { Answer } from "./conversation.js";

const HTML = `
<article class="turn answer" data-testid="answer" aria-label="Answer">
  <header><span class="by" data-by></span><span class="state" data-testid="chat-state"
    data-state="connecting">connecting</span></header>
  <details class="thinking" hidden data-thinking><summary>Thinking</summary>
    <div data-thoughts></div></details>
  <div class="prose" data-testid="chat-text" data-prose></div>
  <div class="calls" data-calls></div>
  <div data-notice></div>
  <footer hidden><p class="usage" data-testid="usage"></p><div class="buttons"></div></footer>
</article>`;

const REASONS: Record<string, string> = {
  length: "ended at the token limit",
  "content-filter": "ended by the content filter",
  "tool-calls": "waits for a tool, which this page does not have",
};

export function question(text: string): HTMLElement {
  const element = make("article", "", "turn question");
  element.setAttribute("aria-label", "Question");
  element.append(make("p", text));
  return element;
}

export class AnswerView {
  readonly element = fromHtml(HTML);
  #prose = new MarkdownView(this.#part("prose"));
  /** How much of the text and of the thoughts the view has been given. */
  #given = 0;
  #thought = 0;

  /** `retry` asks again for this answer. */
  constructor(
    readonly answer: Answer,
    private readonly retry: () => void,
  ) {
    this.element.setAttribute("aria-busy", "true");
    this.paint(true);
    if (answer.outcome) this.end();
  }

  setState(state: string): void {
    const element = within(this.element, ".state");
    setText(element, state);
    element.dataset.state = state;
  }

  /** Shows what came since the last frame; whether that was anything. */
  paint(now = false): boolean {
    const { text, thoughts, model } = this.answer;
    setText(this.#part("by"), model);
    this.#prose.add(text.slice(this.#given));
    this.#given = text.length;
    const thought = thoughts.length > this.#thought;
    if (thought) {
      this.#part("thinking").hidden = false;
      this.#part("thoughts").append(thoughts.slice(this.#thought));
      this.#thought = thoughts.length;
    }
    const shown = this.#prose.paint(now);
    if (!text) this.element.toggleAttribute("data-waiting", !this.answer.outcome);
    else this.element.removeAttribute("data-waiting");
    return shown || thought;
  }

  /** The answer has its outcome: shows that, and what can be done with it. */
  end(): void {
    const { outcome, error, calls, sources } = this.answer;
    this.paint(true);
    this.element.removeAttribute("aria-busy");
    this.element.removeAttribute("data-waiting");
    this.setState(error ? "failed" : outcome === "cancelled" ? "stopped" : "done");
    if (error) {
      const { code, message, retryable } = error;
      this.#part("notice").replaceChildren(
        errorNotice(new HeadwaterError(code, message, { retryable }), this.retry),
      );
    }
    this.#part("calls").replaceChildren(...calls.map(call), ...sources.map(source));
    within(this.element, "footer").hidden = false;
    setText(within(this.element, ".usage"), this.#usage());
    within(this.element, ".buttons").replaceChildren(
      makeButton("Copy", "quiet", () => void this.#copy()),
      makeButton("Ask again", "quiet", this.retry),
    );
  }

  #usage(): string {
    const { usage, timing, outcome = "", seams } = this.answer;
    const tokens = usage?.output_tokens ?? 0;
    const flowed = (timing?.total ?? 0) - (timing?.first_token ?? 0);
    const first = timing?.first_token;
    return [
      usage && `${usage.input_tokens} tokens in, ${tokens} out`,
      usage?.reasoning_tokens && `${usage.reasoning_tokens} of them thought`,
      first && `first after ${seconds(first)}`,
      tokens > 1 && flowed > 0 && `${rate(tokens, flowed)} tokens/s`,
      timing?.route && `by ${timing.route}`,
      REASONS[outcome],
      ...seams.map(({ at, reason }) => `repaired after ${at} characters (${reason})`),
    ]
      .filter(Boolean)
      .join(" · ");
  }

  async #copy(): Promise<void> {
    const button = within(this.element, ".buttons button");
    setText(button, (await copied(this.answer.text)) ? "Copied" : "Cannot copy");
    setTimeout(() => setText(button, "Copy"), 2000);
  }

  #part(name: string): HTMLElement {
    return within(this.element, `[data-${name}]`);
  }
}

function call({ name, arguments: given }: Answer["calls"][number]): HTMLElement {
  const details = make("details", "", "call");
  details.append(make("summary", `Called ${name}`), make("pre", given));
  return details;
}

function source({ url, title }: Answer["sources"][number]): HTMLElement {
  const link = make("a", title ?? url, "source");
  if (/^https?:/i.test(url)) link.href = url;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  return link;
}

/** Whether the text is on the clipboard; without HTTPS there is only the old way. */
async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const area = make("textarea", text, "sr-only");
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
