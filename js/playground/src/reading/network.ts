/** A bad network, made in the page: it stands between the client and the browser's fetch. */

export type Note = (what: string) => void;

export class BadNetwork {
  /** Whether what comes is held back until its end, as by a proxy that buffers. */
  buffering = false;
  #wire: AbortController | undefined;
  #connections = 0;
  #offlineUntil = 0;

  constructor(private readonly note: Note) {}

  /** In place of the global one. */
  fetch: typeof fetch = async (input, init = {}) => {
    const stopping = init.method === "DELETE";
    const number = stopping ? 0 : ++this.#connections;
    if (performance.now() < this.#offlineUntil) {
      if (number) this.note(`connection ${number}: refused, the page is offline`);
      throw new TypeError("Offline, as was asked for.");
    }
    if (stopping) return fetch(input, init);
    const wire = (this.#wire = new AbortController());
    const from = new Headers(init.headers).get("last-event-id");
    this.note(
      `connection ${number}: ${init.method ?? "GET"}${from ? `, Last-Event-ID ${from}` : ""}`,
    );
    const signals = init.signal ? [init.signal, wire.signal] : [wire.signal];
    const answer = await fetch(input, { ...init, signal: AbortSignal.any(signals) });
    if (!this.buffering || !answer.body) return answer;
    this.note(`connection ${number}: held back until its end`);
    return new Response(answer.body.pipeThrough(heldBack()), answer);
  };

  /** Breaks the connection under the client, which is not told. */
  cut(): void {
    this.#wire?.abort();
  }

  /** Breaks the connection, and refuses new ones for a while. */
  goOffline(ms: number): void {
    this.#offlineUntil = performance.now() + ms;
    this.cut();
    // As a browser does when it is back; the client then waits no longer.
    setTimeout(() => dispatchEvent(new Event("online")), ms);
  }

  /** Ends what was being done to the network. */
  heal(): void {
    this.buffering = false;
    this.#offlineUntil = 0;
  }
}

/** Lets nothing through until everything is there. */
function heldBack(): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  const held: Uint8Array<ArrayBuffer>[] = [];
  return new TransformStream({
    transform: (chunk) => void held.push(chunk),
    flush: (controller) => held.forEach((chunk) => controller.enqueue(chunk)),
  });
}
