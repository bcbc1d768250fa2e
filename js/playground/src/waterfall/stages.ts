/** From the question to the first text on the screen: which stage took how long. Pure. */

import type { Timing } from "@headwater/client";

/** What is known of a response; times in milliseconds, on one clock. */
export interface Times {
  asked: number;
  /** The browser sent the request; null where it does not tell. */
  sent: number | null;
  first: number | null;
  painted: number | null;
  timing: Timing | null;
}

export interface Stage {
  name: string;
  /** Who it belongs to, which gives it its colour. */
  by: "browser" | "headwater" | "provider" | "network";
  /** Milliseconds since the question, and how long it took. */
  from: number;
  ms: number;
  about: string;
}

const ABOUT = {
  request: "in the browser, until the request was sent",
  queue: "at the server, until the provider was asked",
  connect: "until there was a connection to the provider",
  provider: "until its first token had come back",
  overhead: "from its arrival at the server until readers had it",
  network: "both ways between browser and server, and the page reading it",
  paint: "until it was on the screen",
};

/**
 * The stages, one after the other. The server's clock and the browser's are never compared: the
 * network's share is what is left of the browser's time when the server's is taken away.
 */
export function stages({ asked, sent, first, painted, timing }: Times): Stage[] {
  if (first === null || !timing || timing.first_token === null) return [];
  const { queue, connect, first_token, overhead } = timing;
  const connected = connect ?? queue;
  const ours = Math.max(0, overhead - queue);
  const request = Math.max(0, (sent ?? asked) - asked);
  const network = Math.max(0, first - asked - request - first_token - ours);
  const lengths: [keyof typeof ABOUT, string, Stage["by"], number][] = [
    ["request", "Request", "browser", request],
    ["queue", "Queue", "headwater", queue],
    ["connect", "Connect", "provider", Math.max(0, connected - queue)],
    ["provider", "Provider’s first token", "provider", Math.max(0, first_token - connected)],
    ["overhead", "Our overhead", "headwater", ours],
    ["network", "Network", "network", network],
    ["paint", "Paint", "browser", painted ? Math.max(0, painted - first) : 0],
  ];
  let from = 0;
  return lengths.map(([key, name, by, ms]) => {
    const stage = { name, by, from, ms, about: ABOUT[key] };
    from += ms;
    return stage;
  });
}
