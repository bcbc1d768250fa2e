/** What one probe brought, and when: the facts that are judged. */

/** A probe's first event: what the server saw and sent. */
export interface ProbeStart {
  nonce: string;
  request: { http_version: string; headers: Record<string, string> };
  response: { headers: Record<string, string> };
  heartbeat_s: number;
}

/** Milliseconds by the server's clock and by the browser's: only differences mean something. */
export interface Tick {
  sent: number;
  arrived: number;
  /** Characters of padding. */
  pad: number;
}

/** One answer; all times of the browser's in milliseconds since it was asked for. */
export interface Measured {
  /** Why there is no answer that can be judged, or nothing. */
  failure: string;
  /** The HTTP status; 0 where no answer came. */
  status: number;
  headers: Record<string, string>;
  start: ProbeStart | null;
  startAt: number;
  ticks: Tick[];
  /** Whether the probe's last event came. */
  complete: boolean;
  endAt: number;
  /** What the browser spoke to whoever it asked, as ALPN calls it; nothing where it does not say. */
  protocol: string;
}

/** Everything that was measured. */
export interface Seen {
  plain: Measured;
  /** One URL twice. */
  twins: [Measured, Measured];
  large: Measured;
  /** Null where no silence was asked for. */
  silent: Measured | null;
}

/** What a reader sends that must reach the server as it is. */
export const SENT: Record<string, string> = {
  Accept: "text/event-stream",
  "Last-Event-ID": "1-7",
  "Idempotency-Key": "doctor",
  "Headwater-On-Disconnect": "continue",
};

/** Characters in each of the large events, and how many there are. */
export const LARGE = { size: 64 * 1024, ticks: 4 };

/** The silence that a response must survive, in seconds: longer than between two heartbeats. */
export const SILENCE_S = 20;
