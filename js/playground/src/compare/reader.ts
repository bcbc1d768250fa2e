/** What a streaming pane does with what comes. */

import { HeadwaterError, type StreamEvent, type StreamState } from "@headwater/client";

import type { Reader } from "../reading/follow.js";
import type { Trace } from "../reading/journal.js";
import type { Pane } from "./pane.js";

export class PaneReader implements Reader {
  constructor(
    private readonly pane: Pane,
    private readonly trace: Trace,
    readonly named: (id: string) => void,
  ) {}

  event(event: StreamEvent): void {
    const { pane } = this;
    if (event.type === "stream-start") pane.name(event.model);
    else if (event.type === "text-delta" || event.type === "refusal-delta") {
      pane.tokens++;
      pane.add(event.text);
    } else if (event.type === "reasoning-delta") {
      pane.tokens++;
      pane.add("", event.text);
    } else if (event.type === "stream-end") {
      pane.tokens = event.usage?.output_tokens ?? pane.tokens;
      pane.timing = event.timing;
      pane.end(event.reason);
    } else if (event.type === "stream-error") {
      const { code, message, retryable, timing } = event;
      pane.timing = timing;
      pane.fail(new HeadwaterError(code, message, { retryable }));
    }
  }

  state(state: StreamState): void {
    const { pane } = this;
    pane.setState(state);
    const { gaps } = pane.lane;
    if (state === "reconnecting") gaps.push([pane.elapsed, null]);
    else if (gaps.at(-1)) gaps.at(-1)![1] ??= pane.elapsed;
  }

  end(error: unknown, left: boolean): void {
    if (left) this.pane.end("cancelled");
    else if (error) this.pane.fail(error);
    else this.pane.end(null);
    this.trace.shown();
  }
}
