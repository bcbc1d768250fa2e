/** Each token once, in order: what a reader was handed, against what the log holds. */

/** An event as it stands at a position. */
export interface Held {
  position: string;
  /** The event as JSON. */
  event: string;
}

export interface Audit {
  received: number;
  logged: number;
  /** Positions that the reader was handed more than once. */
  duplicates: number;
  /** Positions of the log that it was never handed. */
  gaps: number;
  /** Times that a position came after one that stands behind it. */
  disorder: number;
  /** Positions where the reader has another event than the log, or the log has none. */
  differing: number;
}

/** `EPOCH-SEQ` as numbers that can be compared. */
function place(position: string): [number, number] {
  const [epoch = 0, sequence = 0] = position.split("-").map(Number);
  return [epoch, sequence];
}

function isBehind(one: string, other: string): boolean {
  const [epoch, sequence] = place(one);
  const [otherEpoch, otherSequence] = place(other);
  return epoch === otherEpoch ? sequence < otherSequence : epoch < otherEpoch;
}

/** What can be said of what was received alone, while the stream runs. */
export function soFar(received: Held[]): Pick<Audit, "duplicates" | "disorder"> {
  const distinct = new Set(received.map(({ position }) => position));
  let disorder = 0;
  for (let at = 1; at < received.length; at++)
    if (isBehind(received[at]!.position, received[at - 1]!.position)) disorder++;
  return { duplicates: received.length - distinct.size, disorder };
}

/** The whole of it, once the log has been read as well. */
export function audit(received: Held[], log: Held[]): Audit {
  const logged = new Map(log.map(({ position, event }) => [position, event]));
  const had = new Set(received.map(({ position }) => position));
  return {
    received: received.length,
    logged: log.length,
    ...soFar(received),
    gaps: log.filter(({ position }) => !had.has(position)).length,
    differing: received.filter(({ position, event }) => logged.get(position) !== event).length,
  };
}
