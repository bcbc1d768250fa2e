/** The choice of models: a button that names what is chosen, and a list with a filter. */

import { fromHtml, make, setText, within } from "../shell/elements.js";
import { recalledJson, remember } from "../shell/storage.js";
import type { Model } from "./api.js";
import { onCatalogue } from "./catalogue.js";

const HTML = `
<div class="picker">
  <button type="button" class="picked" data-testid="model" aria-expanded="false">
    <span class="sr-only">Model: </span><span data-chosen>Server’s default</span>
  </button>
  <div class="menu" hidden>
    <input type="search" data-testid="model-filter" aria-label="Filter, or the name of a model"
      placeholder="Filter, or a name" autocomplete="off" spellcheck="false" />
    <div class="choices" data-choices></div>
    <p class="hint">A name may be any that the server knows; a tape takes its options as a query:
      <code>tape/story?speed=4</code></p>
  </div>
</div>`;

export interface PickerOptions {
  /** Under which the choice is remembered, and the name of its inputs. */
  name: string;
  /** How many models may be chosen. Default 1. */
  most?: number;
  /** Whether a model is offered. Default: every one. */
  offers?: (model: Model) => boolean;
  /** What is chosen at first; default what the server answers with where none is named. */
  first?: (models: Model[], usual: string) => string;
}

export class Picker {
  readonly element = fromHtml(HTML);
  #button = within<HTMLButtonElement>(this.element, ".picked");
  #menu = within(this.element, ".menu");
  #filter = within<HTMLInputElement>(this.element, "input");
  #choices = within(this.element, "[data-choices]");
  #models: Model[] = [];
  #first = "";
  /** What the server answers with where none is named. */
  #usual = "";
  #chosen: string[];

  constructor(private readonly options: PickerOptions) {
    this.#chosen = recalledJson<string[]>(this.#key) ?? [];
    this.#button.addEventListener("click", () => this.#toggle(this.#menu.hidden !== false));
    this.#filter.addEventListener("input", () => this.#list());
    this.#filter.addEventListener("keydown", (event) => this.#enter(event));
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.#menu.hidden) return;
      event.preventDefault();
      this.#close();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!this.element.contains(target as Node)) this.#toggle(false);
    });
    this.element.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !this.element.contains(relatedTarget as Node)) this.#toggle(false);
    });
    onCatalogue(({ models, usual }) => {
      const { offers = () => true, first = () => usual } = options;
      this.#models = models.filter(offers);
      this.#first = first(this.#models, usual);
      this.#usual = usual;
      // What has gone since is not offered; a name that was typed is the reader's own affair.
      const gone = ({ id, available }: Model) => !available && this.#chosen.includes(id);
      const missing = this.#models.filter(gone).map(({ id }) => id);
      this.#chosen = this.#chosen.filter((id) => !missing.includes(id));
      this.#tell();
    });
  }

  /** The names of the models; of the server's default while nothing else is known, "". */
  get chosen(): [string, ...string[]] {
    const [first = this.#first, ...more] = this.#chosen;
    return [first, ...more];
  }

  get #key(): string {
    return `headwater-models-${this.options.name}`;
  }

  #toggle(open: boolean): void {
    if (open === !this.#menu.hidden) return;
    this.#menu.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.#filter.value = "";
    this.#list();
    this.#filter.focus();
  }

  /** Enter takes the first that can be had, and that alone. */
  #enter(event: KeyboardEvent): void {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = this.#choices.querySelector<HTMLInputElement>("input:not(:disabled)");
    if (!first) return;
    this.#take([first.value]);
    this.#close();
  }

  #choose(id: string, chosen: boolean): void {
    const { most = 1 } = this.options;
    if (most === 1) {
      this.#take([id]);
      return this.#close();
    }
    const others = this.chosen.filter((other) => other && other !== id);
    this.#take(chosen ? [...others, id].slice(-most) : others);
    this.#mark();
  }

  #take(chosen: string[]): void {
    this.#chosen = chosen;
    remember(this.#key, JSON.stringify(chosen));
    this.#tell();
  }

  #close(): void {
    this.#toggle(false);
    this.#button.focus();
  }

  #tell(): void {
    const text = this.chosen.filter(Boolean).join(", ") || "Server’s default";
    const usual = this.#usual !== "" && text === this.#usual;
    setText(within(this.element, "[data-chosen]"), usual ? `${text} (default)` : text);
  }

  #list(): void {
    const wanted = this.#filter.value.trim();
    const words = wanted.toLowerCase().split(/\s+/);
    const found = this.#models.filter(({ id, provider }) =>
      words.every((word) => `${provider} ${id}`.toLowerCase().includes(word)),
    );
    const named = wanted && !this.#models.some(({ id }) => id === wanted);
    const typed: Model = { id: wanted, provider: "as typed", available: true };
    const asTyped = named && (!found.length || /[/?]/.test(wanted)) ? [typed] : [];
    const more = this.#chosen.filter((id) => !this.#models.some((model) => model.id === id));
    const earlier = wanted ? [] : more.map((id) => ({ ...typed, id }));
    this.#choices.replaceChildren(...groups([...asTyped, ...earlier, ...found], this.#choice));
    this.#mark();
  }

  #choice = ({ id, provider, available }: Model): HTMLElement => {
    const label = make("label", "", "choice");
    const input = make("input");
    input.type = (this.options.most ?? 1) > 1 ? "checkbox" : "radio";
    input.name = this.options.name;
    input.value = id;
    input.disabled = !available;
    // Of a radio that is on, a click is all there is.
    input.addEventListener("click", () => this.#choose(id, input.checked));
    label.append(input, make("span", id));
    if (!available)
      label.append(make("small", provider === "local" ? "not fetched" : "key missing"));
    return label;
  };

  #mark(): void {
    for (const input of this.#choices.querySelectorAll("input"))
      input.checked = this.chosen.includes(input.value);
  }
}

/** By provider, those with something to offer first; the server's order otherwise. */
function groups(models: Model[], choice: (model: Model) => HTMLElement): HTMLElement[] {
  const byProvider = Map.groupBy(models, ({ provider }) => provider);
  const offers = (members: Model[]) => Number(members.some(({ available }) => available));
  return [...byProvider]
    .sort(([, a], [, b]) => offers(b) - offers(a))
    .map(([provider, members]) => {
      const group = make("fieldset");
      group.append(make("legend", provider), ...members.map(choice));
      return group;
    });
}
