/**
 * Headwater's client: `stream` starts a stream and reads it to its end through cuts, reloads and
 * restarts; `recall` finds it again after a reload; `resume` reads one that is known by its id.
 */

export { HeadwaterError, type ErrorDetails } from "./errors.js";
export * from "./events.js";
export type { MemoryStorage } from "./memory.js";
export type { RetryOptions } from "./retry.js";
export {
  recall,
  resume,
  stream,
  type ReadOptions,
  type RecallOptions,
  type ResumeOptions,
  type Stream,
  type StreamOptions,
  type StreamState,
} from "./stream.js";
export type { Wire } from "./wire.js";
