/** The dialog that asks for a key, when the server wants one. */

import { openSession } from "../reading/api.js";
import { byId } from "./elements.js";

const dialog = byId<HTMLDialogElement>("session");
const field = byId<HTMLInputElement>("key");
const message = byId("session-error");

let asking: Promise<boolean> | undefined;

/**
 * Asks for a key, until one is accepted (true) or the reader cancels (false). Whoever asks in the
 * meantime gets the same answer.
 */
export const askForKey = (): Promise<boolean> =>
  (asking ??= ask().finally(() => (asking = undefined)));

function ask(): Promise<boolean> {
  field.value = message.textContent = "";
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "open"), { once: true });
  });
}

byId("session-cancel").addEventListener("click", () => dialog.close());

byId("session-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await openSession(field.value);
    dialog.close("open");
  } catch (error) {
    message.textContent = error instanceof Error ? error.message : String(error);
  }
});
