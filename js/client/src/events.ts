/**
 * The vocabulary of a stream: one type an event, one union, told apart by `type`.
 *
 * The plain wire carries text, an error and an end only; its end tells neither reason, usage nor
 * timing, which are then null.
 */

/** Tokens as the provider counted them. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  reasoning_tokens?: number;
  cached_tokens?: number;
}

/**
 * Milliseconds from the arrival of the request; null where the stage was not reached.
 * `route` is who answered, where that was not the first choice.
 */
export interface Timing {
  queue: number;
  connect: number | null;
  first_token: number | null;
  total: number;
  overhead: number;
  attempts: number;
  route?: string;
}

export type FinishReason = "stop" | "length" | "tool-calls" | "content-filter" | "cancelled";

/** The first event of every native stream. `created` is Unix time in seconds. */
export interface StreamStart {
  type: "stream-start";
  stream: string;
  model: string;
  created: number;
}

/** A piece of the answer. */
export interface TextDelta {
  type: "text-delta";
  text: string;
}

/** A piece of what the model thought before it answered. */
export interface ReasoningDelta {
  type: "reasoning-delta";
  text: string;
}

/** A piece of a refusal, where the provider marks refusals. */
export interface RefusalDelta {
  type: "refusal-delta";
  text: string;
}

/** The model begins to call the tool `name`. */
export interface ToolCallStart {
  type: "tool-call-start";
  call: string;
  name: string;
}

/** A raw fragment of the JSON of a call's arguments: valid JSON only once joined to the others. */
export interface ToolCallDelta {
  type: "tool-call-delta";
  call: string;
  arguments: string;
}

/** The arguments of the call are whole. */
export interface ToolCallEnd {
  type: "tool-call-end";
  call: string;
}

/** What a tool that ran beside the model answered. */
export interface ToolResult {
  type: "tool-result";
  call: string;
  output: unknown;
}

/** A page that the answer rests on. */
export interface Source {
  type: "source";
  url: string;
  title: string | null;
}

/** A file the model made, as a URL or a data URL. */
export interface File {
  type: "file";
  media_type: string;
  url: string;
}

/** An agent begins one round of model and tools. */
export interface StepStart {
  type: "step-start";
}

/** An agent ends one round of model and tools. */
export interface StepEnd {
  type: "step-end";
}

/** Application data alongside the answer; transient data is not part of the message. */
export interface Data {
  type: "data";
  name: string;
  value: unknown;
  transient?: boolean;
}

/** What only this provider understands: keep it verbatim and send it back on the next turn. */
export interface ProviderData {
  type: "provider-data";
  provider: string;
  part: string;
  value: unknown;
}

/** A visible seam: the text after it comes from another attempt. */
export interface StreamRepair {
  type: "stream-repair";
  reason: string;
  from: string;
}

/** The terminal event of a response that ended as it should, or was stopped (`cancelled`). */
export interface StreamEnd {
  type: "stream-end";
  reason: FinishReason | null;
  usage: Usage | null;
  timing: Timing | null;
  /** What ended it, where that was not the provider: `caller`, `unread`, `revoked` … */
  ended_by?: string;
}

/** The terminal event of a response that failed. On the plain wire `code` is `unknown`. */
export interface StreamError {
  type: "stream-error";
  code: string;
  message: string;
  retryable: boolean;
  usage: Usage | null;
  timing: Timing | null;
  /** What ended it, where that was not the provider: `deadline`, `shutdown`, `process_lost` … */
  ended_by?: string;
  /** Why a text that was cut off was not continued: `not_tried: REASON` or `failed: CODE`. */
  repair?: string;
}

export type TerminalEvent = StreamEnd | StreamError;

export type StreamEvent =
  | StreamStart
  | TextDelta
  | ReasoningDelta
  | RefusalDelta
  | ToolCallStart
  | ToolCallDelta
  | ToolCallEnd
  | ToolResult
  | Source
  | File
  | StepStart
  | StepEnd
  | Data
  | ProviderData
  | StreamRepair
  | TerminalEvent;

/** Whether the event is the last of its stream: every stream has exactly one such event. */
export function isTerminal(event: StreamEvent): event is TerminalEvent {
  return event.type === "stream-end" || event.type === "stream-error";
}
