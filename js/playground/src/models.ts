/** The choice of a model: what the server lists, what can be used, what was used last. */

import { HeadwaterError } from "@headwater/client";

import { listModels, type Model } from "./api.js";
import { byId } from "./elements.js";
import { askForKey } from "./session.js";
import { recall, remember } from "./theme.js";

const KEY = "headwater-model";

const select = byId<HTMLSelectElement>("model");
const status = byId("models-status");

function option({ id, available }: Model): HTMLOptionElement {
  const element = new Option(available ? id : `${id} — key missing`, id);
  element.disabled = !available;
  return element;
}

/** Providers with something to offer first; the server's order otherwise. */
function groups(models: Model[]): HTMLOptGroupElement[] {
  const byProvider = new Map<string, Model[]>();
  for (const model of models) {
    byProvider.set(model.provider, [...(byProvider.get(model.provider) ?? []), model]);
  }
  return [...byProvider]
    .sort(([, a], [, b]) => Number(b.some(usable)) - Number(a.some(usable)))
    .map(([provider, members]) => {
      const group = document.createElement("optgroup");
      group.label = provider;
      group.append(...members.map(option));
      return group;
    });
}

/** Tells which model the server takes where none is chosen. */
export function nameDefault(model: string): void {
  select.options[0]!.text = `Server’s default: ${model}`;
}

const usable = (model: Model): boolean => model.available;

/** Fills the select; the server's default stays the first choice, and the only one on failure. */
export async function setUpModels(): Promise<void> {
  select.addEventListener("change", () => remember(KEY, select.value || null));
  await load();
}

async function load(): Promise<void> {
  try {
    const { data: models = [], default: usual } = await listModels();
    if (usual) nameDefault(usual);
    const ready = models.filter(usable);
    select.append(...groups(models));
    status.textContent = `${ready.length} of ${models.length} models ready`;
    const last = recall(KEY);
    if (ready.some(({ id }) => id === last)) select.value = last!;
  } catch (error) {
    status.textContent = "Models cannot be listed";
    if (error instanceof HeadwaterError && error.status === 401 && (await askForKey()))
      await load();
  }
}
