/**
 * Headwater's client: `stream` starts a stream and reads it to its end through cuts, reloads and
 * restarts; `resume` goes on with one that is known by its id.
 */

export { HeadwaterError, type ErrorDetails } from "./errors.js";
export * from "./events.js";
export type { RetryOptions } from "./retry.js";
export {
  resume,
  stream,
  type ReadOptions,
  type ResumeOptions,
  type Stream,
  type StreamOptions,
  type StreamState,
} from "./stream.js";
export type { Wire } from "./wire.js";
