/** Doctor: whether a stream reaches this browser as a stream, and what is between that spoils it. */

import "./doctor.css";

import type { HeadwaterError } from "@headwater/client";

import { everyFrame, fromHtml, make, setText, within } from "../shell/elements.js";
import { emptyLane, Gauge } from "../shell/gauge.js";
import { askForKey } from "../shell/session.js";
import type { Tab, View } from "../shell/tabs.js";
import { errorNotice } from "../text/notice.js";
import { judge, verdict, type Finding } from "./judge.js";
import { SILENCE_S, type Tick } from "./measured.js";
import { examine, type Listener } from "./probe.js";

const HTML = `
<div>
  <section class="card examination" aria-labelledby="doctor-title">
    <header><h2 id="doctor-title">Does a stream reach this browser?</h2>
      <span class="state" data-testid="doctor-state" data-state="idle">idle</span></header>
    <p class="hint">The server sends ticks and says when. What stands between may hold them back,
      keep them, or change them: each line says what was seen from here.</p>
    <div class="buttons">
      <button type="button" data-testid="doctor-stop" disabled>Stop <kbd>Esc</kbd></button>
      <button type="button" data-testid="doctor-silence">Also ${SILENCE_S}\u00a0s of silence</button>
      <button type="button" class="primary" data-testid="doctor-run">Examine</button>
    </div>
  </section>
  <section class="gauge" aria-label="Ticks"><p class="hint">Each lane from its own beginning: the
    two clocks are not compared, only the distances between ticks.</p></section>
  <section class="card findings" aria-labelledby="findings-title">
    <h2 id="findings-title">Findings</h2>
    <p class="verdict" role="status" data-testid="doctor-verdict">Nothing yet.</p>
    <ul data-testid="findings"></ul>
    <div data-notice></div>
    <p class="change" data-testid="change" hidden>Who it is, and the line to change, says
      <code></code>.</p>
  </section>
</div>`;

export const doctor: Tab = { id: "doctor", label: "Doctor", mount: (panel) => new Doctor(panel) };

/** Where this server is, under whatever prefix: what `headwater doctor` is to be asked. */
const address = (): string => new URL(".", document.baseURI).href.replace(/\/$/, "");

class Doctor implements View, Listener {
  #gauge = new Gauge();
  #sent = emptyLane();
  #arrived = emptyLane();
  #began = 0;
  #running: AbortController | undefined;

  constructor(private readonly panel: HTMLElement) {
    panel.append(...fromHtml(HTML).children);
    within(panel, ".gauge").prepend(this.#gauge.element);
    setText(within(panel, "code"), `headwater doctor ${address()}`);
    this.#button("run").addEventListener("click", () => void this.#run(false));
    this.#button("silence").addEventListener("click", () => void this.#run(true));
    this.#button("stop").addEventListener("click", () => this.stop());
    this.begun();
  }

  stop(): void {
    this.#running?.abort();
  }

  begun(): void {
    [this.#sent, this.#arrived] = [emptyLane(), emptyLane()];
    this.#began = performance.now();
    this.#gauge.show([
      { lane: this.#sent, name: "Sent", detail: "", className: "stone" },
      { lane: this.#arrived, name: "Arrived", detail: "", className: "water" },
    ]);
    this.#gauge.draw(0);
  }

  tick({ sent, arrived }: Tick): void {
    this.#sent.ticks.push(sent);
    this.#arrived.ticks.push(arrived);
    this.#sent.end = sent;
    this.#arrived.end = arrived;
  }

  async #run(silence: boolean): Promise<void> {
    if (this.#running) return;
    const running = (this.#running = new AbortController());
    this.#busy(true);
    this.#show([]);
    within(this.panel, "[data-notice]").replaceChildren();
    this.#say(silence ? `Listening, for ${SILENCE_S} s in all.` : "Listening.");
    everyFrame(() => this.#paint());
    let failure: unknown;
    try {
      const findings = judge(await examine(this, silence, running.signal));
      this.#show(findings);
      this.#say(verdict(findings));
      this.#state("done");
    } catch (error) {
      failure = running.signal.aborted ? undefined : error;
      this.#say(failure ? "The server could not be asked." : "Stopped before it could be told.");
      this.#state(failure ? "failed" : "stopped");
    }
    running.abort(); // where one question failed, the others need no answer
    this.#running = undefined;
    this.#busy(false);
    if (!failure) return;
    within(this.panel, "[data-notice]").replaceChildren(errorNotice(failure));
    const { status } = failure as Partial<HeadwaterError>;
    if (status === 401 && (await askForKey())) await this.#run(silence);
  }

  #paint(): boolean {
    // When the ticks are through, the other questions go on: they are not of this time.
    this.#gauge.draw(this.#arrived.end ?? performance.now() - this.#began);
    return this.#running !== undefined;
  }

  #show(findings: Finding[]): void {
    within(this.panel, "ul").replaceChildren(
      ...findings.map(({ name, status, seen }) => {
        const item = make("li");
        item.dataset.status = status;
        item.dataset.testid = `finding-${name}`;
        item.append(make("b", status), make("span", name, "name"), make("span", seen, "seen"));
        return item;
      }),
    );
    const flawed = findings.some(({ status }) => status === "fault" || status === "advice");
    within(this.panel, ".change").hidden = !flawed;
  }

  #say(text: string): void {
    setText(within(this.panel, ".verdict"), text);
  }

  #busy(busy: boolean): void {
    if (busy) this.#state("streaming", "listening");
    this.#button("stop").disabled = !busy;
    this.#button("run").disabled = this.#button("silence").disabled = busy;
  }

  #state(state: string, label = state): void {
    const element = within(this.panel, ".state");
    setText(element, label);
    element.dataset.state = state;
  }

  #button(name: string): HTMLButtonElement {
    return within(this.panel, `[data-testid=doctor-${name}]`);
  }
}
