/** `<headwater-stream src="/v1/streams" prompt="…">`: an answer in a page that has no script. */

import { AnswerReader, IDLE, type Answer, type AnswerOptions } from "./answer.js";
import { recall, resume, stream, type ReadOptions, type Stream } from "./index.js";

export type { Answer, Failure } from "./answer.js";

// Long enough for a screen reader to take it, short enough that nobody meets the text twice.
const SAID_MS = 1000;

// Rules of the page's own win over these. They are not written into it: it may forbid inline style.
const STYLE = `
:host { display: block; white-space: pre-wrap; overflow-wrap: break-word }
:host([hidden]), :empty:not(slot) { display: none }
[role=status] { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
`;

// Also imported where pages are only rendered: there it is a class that nobody makes.
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/**
 * Asks `prompt` of `src`, or reads the stream with the id `stream`, as soon as it is in the page,
 * and again when one of the three is changed. Further attributes: `model`; `base`, by default what
 * is before `/v1/streams` in `src`; `remember`, the name by which it is found after a reload.
 *
 * Its text is the text of the element, never HTML; until there is some, what the page wrote there
 * stays. Events, which do not bubble: `start` with `{id}`, `end` with the `Answer`, `error` with
 * the `Failure`, whose message is shown as part `error`. `data-status` has the status, for styles.
 */
export class HeadwaterStream extends Base {
  static observedAttributes = ["src", "prompt", "stream"];

  #reader = new AnswerReader();
  #shown = IDLE;
  /** Where the text goes, once there is some. */
  #text: Text | undefined;
  #settling = false;
  #asked = "";
  #error = document.createElement("div");
  #said = document.createElement("div");

  constructor() {
    super();
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    this.#error.role = "alert";
    this.#error.part.add("error");
    this.#said.role = "status";
    shadow.append(document.createElement("slot"), this.#error, this.#said);
    this.#reader.listen(() => this.#show(this.#reader.answer));
  }

  /** What is shown. */
  get answer(): Answer {
    return this.#shown;
  }

  /** Headers, a `fetch` and the like, for what begins after they are set. */
  get options(): AnswerOptions {
    return this.#reader.options;
  }

  set options(options: AnswerOptions) {
    this.#reader.options = options;
  }

  /** Asks again; with a `body` of your own in place of prompt and model. */
  start(body: unknown = this.#body()): void {
    this.#begin((own) => stream(this.#src, { ...own, body }));
  }

  /** Ends the generation for all its readers. Where that fails, `answer.error` says why. */
  stop(): Promise<void> {
    return this.#reader.stop();
  }

  connectedCallback(): void {
    this.#soon();
  }

  disconnectedCallback(): void {
    this.#soon();
  }

  attributeChangedCallback(): void {
    this.#soon();
  }

  /** Once for all that a script does in a row: setting two attributes, moving the element. */
  #soon(): void {
    if (this.#settling) return;
    this.#settling = true;
    queueMicrotask(() => {
      this.#settling = false;
      this.#settle();
    });
  }

  #settle(): void {
    if (!this.isConnected) return this.#reader.leave();
    this.options = { ...this.options, ...this.#named() };
    const [id, prompt] = [this.getAttribute("stream"), this.getAttribute("prompt")];
    const wanted = id || prompt ? JSON.stringify([id, prompt, this.#src]) : "";
    const [first, same] = [!this.#asked, wanted === this.#asked];
    this.#asked = wanted;
    if (!wanted || same) return this.#reader.enter();
    if (id) return this.#begin((own) => resume(id, own));
    const begun = (own: ReadOptions) => stream(this.#src, { ...own, body: this.#body() });
    const { remember } = this.options;
    this.#begin((own) => (first && remember && recall(remember, own)) || begun(own));
  }

  #begin(open: (own: ReadOptions) => Stream): void {
    this.#text?.remove();
    this.#text = undefined;
    this.#shown = IDLE;
    this.#reader.begin(open);
  }

  get #src(): string {
    return this.getAttribute("src") ?? "/v1/streams";
  }

  #body(): unknown {
    return {
      prompt: this.getAttribute("prompt"),
      model: this.getAttribute("model") ?? undefined,
    };
  }

  /** What attributes say of the options; else those that a script has set. */
  #named(): AnswerOptions {
    const { base = /^(.*)\/v1\/streams$/.exec(this.#src)?.[1], remember } = this.options;
    return {
      base: this.getAttribute("base") ?? base,
      remember: this.getAttribute("remember") ?? remember,
    };
  }

  #show(answer: Answer): void {
    const before = this.#shown;
    this.#shown = answer;
    this.#write(answer.text);
    const { status, error } = answer;
    const over = status === "done" || status === "failed";
    this.dataset.status = status;
    this.ariaBusy = String(!over);
    this.#error.textContent = error?.message ?? "";
    // An answer may be whole within one frame.
    if (!before.id && answer.id) this.#dispatch("start", { id: answer.id });
    if (error && error !== before.error) this.#dispatch("error", error);
    if (!over || status === before.status) return;
    this.#say(answer.text);
    if (status === "done") this.#dispatch("end", answer);
  }

  /** Adds what is new, so that what is selected stays selected. */
  #write(text: string): void {
    if (!text) return;
    if (!this.#text) this.replaceChildren((this.#text = new Text()));
    this.#text!.appendData(text.slice(this.#text!.length));
  }

  /** To screen readers it is told once, when it is whole: not every token. */
  #say(text: string): void {
    this.#said.textContent = text;
    setTimeout(() => (this.#said.textContent = ""), SAID_MS);
  }

  #dispatch(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "headwater-stream": HeadwaterStream;
  }
}

const NAME = "headwater-stream";
if (globalThis.customElements && !customElements.get(NAME))
  customElements.define(NAME, HeadwaterStream);
