/** A conversation, as it is kept in the browser for a reload and for other tabs. */

import type { StreamEvent, Timing, Usage } from "@headwater/client";

import { recalledJson, remember } from "../shell/storage.js";

export interface Failure {
  code: string;
  message: string;
  retryable: boolean;
}

export interface Answer {
  role: "assistant";
  model: string;
  text: string;
  thoughts: string;
  /** The stream that it is read from, once that has a name. */
  stream?: string;
  /** How it ended: a reason of the provider's, or `failed`. Missing while it runs. */
  outcome?: string;
  error?: Failure;
  usage?: Usage | null;
  timing?: Timing | null;
  calls: { call: string; name: string; arguments: string }[];
  sources: { url: string; title: string | null }[];
  /** What has to go back to the provider with the next question, verbatim. */
  provider: { provider: string; part: string; value: unknown }[];
  /** Where another attempt went on, as the number of characters before it. */
  seams: { at: number; reason: string }[];
}

export type Turn = { role: "user"; text: string } | Answer;

export const newAnswer = (model: string): Answer => ({
  role: "assistant",
  model,
  text: "",
  thoughts: "",
  calls: [],
  sources: [],
  provider: [],
  seams: [],
});

/** What an event adds to an answer. */
export function take(answer: Answer, event: StreamEvent): void {
  switch (event.type) {
    case "stream-start":
      answer.model = event.model;
      break;
    case "text-delta":
    case "refusal-delta":
      answer.text += event.text;
      break;
    case "reasoning-delta":
      answer.thoughts += event.text;
      break;
    case "tool-call-start":
      answer.calls.push({ call: event.call, name: event.name, arguments: "" });
      break;
    case "tool-call-delta": {
      const found = answer.calls.find(({ call }) => call === event.call);
      if (found) found.arguments += event.arguments;
      break;
    }
    case "source":
      answer.sources.push({ url: event.url, title: event.title });
      break;
    case "provider-data": {
      const { provider, part, value } = event;
      answer.provider.push({ provider, part, value });
      break;
    }
    case "stream-repair":
      answer.seams.push({ at: answer.text.length, reason: event.reason });
      break;
    case "stream-end":
      answer.outcome = event.reason ?? "stop";
      answer.usage = event.usage;
      answer.timing = event.timing;
      break;
    case "stream-error": {
      const { code, message, retryable, usage, timing } = event;
      Object.assign(answer, { outcome: "failed", usage, timing });
      answer.error = { code, message, retryable };
    }
  }
}

/** The messages of a request; answers that said nothing are left out, with what was asked. */
export function messages(turns: Turn[]): unknown[] {
  return turns.flatMap((turn, at): unknown[] => {
    if (turn.role === "assistant") {
      const { text: content, provider } = turn;
      if (!content) return [];
      return [{ role: "assistant", content, ...(provider.length && { provider_data: provider }) }];
    }
    const answer = turns[at + 1];
    const unanswered = answer?.role === "assistant" && answer.outcome && !answer.text;
    return unanswered ? [] : [{ role: "user", content: turn.text }];
  });
}

const KEY = "headwater-chat";

/** Keeps the turns; of an answer that runs only what it is called, as its text is in the log. */
export function keep(turns: Turn[]): void {
  const kept = turns.map((turn) =>
    turn.role === "user" || turn.outcome
      ? turn
      : { ...newAnswer(turn.model), ...(turn.stream && { stream: turn.stream }) },
  );
  remember(KEY, kept.length ? JSON.stringify(kept) : null);
}

export const kept = (): Turn[] => recalledJson<Turn[]>(KEY) ?? [];

/** Calls back when another tab has changed what is kept. */
export function onKept(listener: () => void): void {
  addEventListener("storage", ({ key }) => key === KEY && listener());
}
