/** What the server lists: asked for once, shown in the header, told to whoever chooses a model. */

import { HeadwaterError } from "@headwater/client";

import { byId } from "../shell/elements.js";
import { askForKey } from "../shell/session.js";
import { listModels, type Model } from "./api.js";

export interface Catalogue {
  models: Model[];
  /** What answers where the reader has chosen nothing; "" where nothing is known. */
  usual: string;
}

const listeners: ((catalogue: Catalogue) => void)[] = [];
let known: Catalogue | undefined;

/** Calls back with the catalogue, now or when it is there. */
export function onCatalogue(listener: (catalogue: Catalogue) => void): void {
  listeners.push(listener);
  if (known) listener(known);
}

/** The server's default; where it has none, a tape, which needs neither key nor model. */
function usualOf(models: Model[], named: string | null | undefined): string {
  const tape = models.find(({ id }) => id === "tape/story");
  return named ?? (tape ?? models.find(({ provider }) => provider === "tape"))?.id ?? "";
}

export async function setUpCatalogue(): Promise<void> {
  const status = byId("models-status");
  try {
    const { data: models = [], default: named } = await listModels();
    known = { models, usual: usualOf(models, named) };
    const ready = models.filter(({ available }) => available);
    status.textContent = `${ready.length} of ${models.length} models ready`;
    for (const listener of listeners) listener(known);
  } catch (error) {
    status.textContent = "Models cannot be listed";
    if (error instanceof HeadwaterError && error.status === 401 && (await askForKey()))
      await setUpCatalogue();
  }
}
