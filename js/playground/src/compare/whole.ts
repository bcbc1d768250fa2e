/** The other side of a run: one request, one response, and the wait between them. */

import { complete } from "../reading/api.js";
import type { Pane } from "./pane.js";

/** Asks for the whole answer and writes it into the pane; never rejects. */
export async function startWhole(
  pane: Pane,
  prompt: string,
  model: string,
  signal: AbortSignal,
): Promise<void> {
  pane.setState("waiting");
  try {
    const { text, thoughts, reason, tokens } = await complete(prompt, model, signal);
    pane.tokens = tokens ?? 0;
    if (text || thoughts) pane.add(text, thoughts);
    pane.end(reason);
  } catch (error) {
    if (!signal.aborted) return pane.fail(error);
    pane.end("cancelled");
  }
}
