/** A real HTTP server on loopback that speaks a recorded log, and can be told how to misbehave. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";

/** One frame of a log; without an id where the wire gives none, the last counts of several. */
export interface Frame {
  id?: string | string[];
  data: string;
}

export interface Seen {
  method: string;
  url: string;
  after: string | undefined;
  body: string;
  headers: IncomingMessage["headers"];
}

export interface Exchange {
  request: Seen;
  response: ServerResponse;
  /** What a well-behaved server would send: everything after the position that was asked for. */
  bytes: Buffer;
  closed: Promise<void>;
}

export type Behaviour = (exchange: Exchange) => void | Promise<void>;

export const encode = (frames: Frame[], eol = "\n"): Buffer =>
  Buffer.from(
    frames
      .map(({ id, data }) => {
        const ids = [id ?? []].flat().map((one) => `id: ${one}${eol}`);
        return `${ids.join("")}data: ${data}${eol}${eol}`;
      })
      .join(""),
  );

export function head(response: ServerResponse, name: string | null = "s1"): void {
  response.writeHead(200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    ...(name ? { "Headwater-Stream": name } : {}),
  });
  response.flushHeaders();
}

const write = (response: ServerResponse, bytes: Buffer): Promise<void> =>
  new Promise((resolve) =>
    bytes.length ? response.write(bytes, () => resolve()) : setImmediate(resolve),
  );

/** Everything, then the end. */
export const whole: Behaviour = ({ response, bytes }) => {
  head(response);
  response.end(bytes);
};

/** `count` bytes, then a cut: of the socket, or in silence as an end of the body. */
export const cutAfter =
  (count: number, how: "reset" | "eof" = "reset", name: string | null = "s1"): Behaviour =>
  async ({ response, bytes }) => {
    head(response, name);
    await write(response, bytes.subarray(0, count));
    if (how === "eof") response.end();
    else response.socket?.destroy();
  };

/** The bytes changed in some way, then the end. */
export const changed =
  (change: (bytes: Buffer) => Buffer): Behaviour =>
  ({ response, bytes }) => {
    head(response);
    response.end(change(bytes));
  };

/** The bytes, then nothing, with the connection left open. */
export const hang =
  (count = Infinity): Behaviour =>
  async ({ response, bytes }) => {
    head(response);
    await write(response, bytes.subarray(0, count));
  };

export const status =
  (code: number, body: unknown = "", headers: Record<string, string> = {}): Behaviour =>
  ({ response }) => {
    response.writeHead(code, headers);
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };

/** The head never comes: the socket is closed. */
export const refuse: Behaviour = ({ response }) => void response.socket?.destroy();

export class LogServer {
  readonly seen: Seen[] = [];
  url = "";
  #server = createServer((request, response) => void this.#serve(request, response));

  /** `plan` says what the first requests meet, DELETE aside; all later ones are served whole. */
  constructor(
    private readonly frames: Frame[],
    private readonly plan: Behaviour[] = [],
    private readonly deleted: Behaviour[] = [],
  ) {}

  async start(): Promise<this> {
    this.#server.keepAliveTimeout = 100;
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Requests of one method. */
  of(method: string): Seen[] {
    return this.seen.filter((seen) => seen.method === method);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => {});
    const closed = new Promise<void>((resolve) => response.on("close", () => resolve()));
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen: Seen = {
      method: request.method!,
      url: request.url!,
      after: request.headers["last-event-id"] as string | undefined,
      body: Buffer.concat(chunks).toString(),
      headers: request.headers,
    };
    this.seen.push(seen);
    const plan = seen.method === "DELETE" ? this.deleted : this.plan;
    const usual = seen.method === "DELETE" ? status(204) : whole;
    const bytes = encode(this.#after(seen.after));
    await (plan.shift() ?? usual)({ request: seen, response, bytes, closed });
  }

  #after(position: string | undefined): Frame[] {
    const at = position ? this.frames.findIndex(({ id }) => [id].flat().at(-1) === position) : -1;
    return this.frames.slice(at + 1);
  }
}
