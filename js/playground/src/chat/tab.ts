/** Chat: a conversation that outlives a reload, and that other tabs follow. */

import "./chat.css";

import {
  HeadwaterError,
  recall,
  stream,
  type StreamEvent,
  type StreamState,
} from "@headwater/client";

import { follow, type Following, type Reader, type Source } from "../reading/follow.js";
import { note, type Trace } from "../reading/journal.js";
import { Picker } from "../reading/picker.js";
import { announce, everyFrame, fromHtml, make, within } from "../shell/elements.js";
import { askForKey } from "../shell/session.js";
import type { Tab, View } from "../shell/tabs.js";
import { keep, kept, messages, newAnswer, onKept, take, type Turn } from "./conversation.js";
import { AnswerView, question } from "./turn.js";

/** The name under which the client remembers the stream of the last answer. */
const REMEMBERED = "chat";

const HTML = `
<div>
  <div class="talk" tabindex="0" role="region" aria-label="Conversation" data-testid="talk"></div>
  <form class="composer">
    <label class="sr-only" for="message">Message</label>
    <textarea id="message" data-testid="message" rows="1" spellcheck="true"
      placeholder="Say something…"></textarea>
    <div class="controls">
      <div class="buttons">
        <button class="quiet" type="button" data-testid="new-chat">New</button>
        <button type="button" data-testid="chat-stop" hidden>Stop <kbd>Esc</kbd></button>
        <button class="primary" type="submit" data-testid="send">Send <kbd>⏎</kbd></button>
      </div>
    </div>
  </form>
</div>`;

export const chat: Tab = { id: "chat", label: "Chat", mount: (panel) => new Chat(panel) };

/** What runs: its view, and how to end it. */
interface Running {
  view: AnswerView;
  following: Following;
}

class Chat implements View {
  #turns: Turn[] = [];
  #running: Running | undefined;
  #picker = new Picker({ name: "chat" });
  #talk: HTMLElement;
  #message: HTMLTextAreaElement;
  /** Whether the reader is at the end of the talk, and wants to stay there. */
  #follows = true;

  constructor(private readonly panel: HTMLElement) {
    panel.append(...fromHtml(HTML).children);
    this.#talk = within(panel, ".talk");
    this.#message = within(panel, "textarea");
    within(panel, ".controls").prepend(this.#picker.element);
    within(panel, "form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#on("chat-stop", () => this.stop());
    this.#on("new-chat", () => this.#begin());
    this.#talk.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#talk;
      this.#follows = scrollHeight - scrollTop - clientHeight < 60;
    });
    onKept(() => this.#load());
    this.#load();
  }

  stop(): void {
    const stopping = this.#running?.following.stop();
    stopping?.catch((error: Error) => announce(`Could not stop: ${error.message}`));
  }

  #on(id: string, click: () => void): void {
    within(this.panel, `[data-testid=${id}]`).addEventListener("click", click);
  }

  /** Shows what is kept; goes on with an answer that had not ended. */
  #load(): void {
    const turns = kept();
    const same = JSON.stringify(turns.map(nameOf)) === JSON.stringify(this.#turns.map(nameOf));
    if (same && this.#turns.length) return;
    this.#turns = turns;
    this.#running = undefined;
    this.#show();
    const last = turns.at(-1);
    if (last?.role !== "assistant" || last.outcome) return;
    if (last.stream) this.#follow(last.stream, true);
    else if (recall(REMEMBERED)) this.#follow((own) => recall(REMEMBERED, own)!, true);
  }

  #begin(): void {
    this.stop();
    this.#turns = [];
    this.#running = undefined;
    keep([]);
    this.#show();
    this.#message.focus();
  }

  #send(): void {
    const text = this.#message.value.trim();
    if (!text || this.#running) return;
    this.#message.value = "";
    this.#turns.push({ role: "user", text });
    this.#ask();
  }

  /** Asks for an answer to the last question. */
  #ask(): void {
    const [model] = this.#picker.chosen;
    const body = { messages: messages(this.#turns), ...(model && { model }) };
    this.#turns.push(newAnswer(model));
    keep(this.#turns);
    this.#show();
    this.#follow((own) => stream("v1/streams", { ...own, body, remember: REMEMBERED }), false);
  }

  /** Forgets the answer at this place and all that came after it, and asks again. */
  #retry(at: number): void {
    if (this.#running) return;
    this.#turns.length = at;
    this.#ask();
  }

  #show(): void {
    const shown = this.#turns.map((turn, at) =>
      turn.role === "user"
        ? question(turn.text)
        : new AnswerView(turn, () => this.#retry(at)).element,
    );
    const empty = make(
      "p",
      "A conversation. Reload it, open it in a second tab, cut the network: it goes on.",
      "empty",
    );
    this.#talk.replaceChildren(...(shown.length ? shown : [empty]));
    this.#follows = true;
    this.#stay();
    this.#update();
  }

  #stay(): void {
    if (this.#follows) this.#talk.scrollTop = this.#talk.scrollHeight;
  }

  #update(): void {
    within(this.panel, "[data-testid=chat-stop]").hidden = !this.#running;
    within(this.panel, "[data-testid=send]").hidden = !!this.#running;
  }

  /** Reads the last answer into its view. */
  #follow(source: Source, replayed: boolean): void {
    const at = this.#turns.length - 1;
    const answer = this.#turns[at]!;
    if (answer.role !== "assistant") return;
    const view = new AnswerView(answer, () => this.#retry(at));
    this.#talk.lastElementChild!.replaceWith(view.element);
    const trace = note("Chat", answer.model, replayed);
    const reader = new AnswerReader(view, {
      mine: () => this.#running?.view === view,
      changed: () => keep(this.#turns),
    });
    const following = follow(source, reader, { trace });
    const running: Running = (this.#running = { view, following });
    this.#update();
    announce("Answering.");
    everyFrame(() => this.#paint(running, trace));
    void following.finished.then((error) => this.#ended(running, error, at));
  }

  /** Brings the answer up to date, and stays at its end where the reader is there. */
  #paint(running: Running, trace: Trace): boolean {
    if (running.view.paint()) trace.shown();
    this.#stay();
    return this.#running === running;
  }

  async #ended(running: Running, error: unknown, at: number): Promise<void> {
    if (this.#running !== running) return;
    this.#running = undefined;
    this.#update();
    this.#stay();
    announce(`Answer ${within(running.view.element, ".state").textContent}.`);
    const refused = error instanceof HeadwaterError && error.status === 401;
    if (refused && (await askForKey())) this.#retry(at);
  }
}

/** By which a tab knows whether it shows the same: how a stream ends, each tab hears from it. */
const nameOf = (turn: Turn): unknown =>
  turn.role === "user" ? [turn.text] : (turn.stream ?? turn.outcome);

interface Owner {
  /** Whether the answer is still the one that runs. */
  mine(): boolean;
  changed(): void;
}

class AnswerReader implements Reader {
  constructor(
    private readonly view: AnswerView,
    private readonly owner: Owner,
  ) {}

  named(id: string): void {
    this.view.answer.stream = id;
    if (this.owner.mine()) this.owner.changed();
  }

  event(event: StreamEvent): void {
    take(this.view.answer, event);
  }

  state(state: StreamState): void {
    this.view.setState(state);
  }

  end(error: unknown, left: boolean): void {
    const { answer } = this.view;
    if (left) answer.outcome ??= "cancelled";
    else if (error instanceof HeadwaterError) {
      const { code, message, retryable } = error;
      Object.assign(answer, { outcome: "failed", error: { code, message, retryable } });
    } else if (error) {
      const message = error instanceof Error ? error.message : String(error);
      Object.assign(answer, {
        outcome: "failed",
        error: { code: "page", message, retryable: true },
      });
    }
    answer.outcome ??= "stop";
    this.view.end();
    if (this.owner.mine()) this.owner.changed();
  }
}
