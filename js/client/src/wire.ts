/** Frames of the native and of the plain wire, to events. The wire is told by what arrives. */

import { HeadwaterError } from "./errors.js";
import type { StreamEvent } from "./events.js";

export type Wire = "native" | "plain";

const unknown = { usage: null, timing: null };

/**
 * The event that the `data` of one frame holds, and the wire it was spoken in.
 *
 * Native events of a type this version does not know are handed on as they are. Data of neither
 * wire is an error, not skipped: an answer read in the wrong wire would look like an empty one.
 */
export function decode(data: string): [StreamEvent, Wire] {
  if (data === "[DONE]") return [{ type: "stream-end", reason: null, ...unknown }, "plain"];
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    // Told below, together with JSON of another shape.
  }
  const { type, token: text, error: message } = frame ?? {};
  if (typeof type === "string") return [frame, "native"];
  if (typeof text === "string") return [{ type: "text-delta", text }, "plain"];
  if (typeof message === "string") {
    const error = { type: "stream-error", code: "unknown", message, retryable: false } as const;
    return [{ ...error, ...unknown }, "plain"];
  }
  throw new HeadwaterError("invalid_response", "A frame of another wire.");
}
