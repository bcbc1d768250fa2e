/**
 * A stand-in for the server, for looking at the page and for its tests: paced answers, a log that
 * can be resumed, and models named after what goes wrong with them.
 *
 *     node playground/dev/stand-in.mjs [PORT] [PREFIX]
 */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { ANSWER, HOSTILE } from "./answer.mjs";

const BUILT = fileURLToPath(new URL("../../../src/headwater/playground/", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const MODELS = [
  ["river", "local", true],
  ["river-fast", "local", true],
  ["hostile", "local", true],
  ["thinking", "local", true],
  ["late", "local", true],
  ["busy", "local", true],
  ["breaks", "local", true],
  ["gpt-large", "openai", false],
  ["claude-large", "anthropic", false],
];

const streams = new Map();
/** Streams by the Idempotency-Key that they were asked for with. */
const keyed = new Map();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const pieces = (model) => (model === "hostile" ? HOSTILE : ANSWER).match(/\s*\S{1,7}\s*/gu);

function append(log, event) {
  log.events.push(event);
  for (const wake of log.readers.splice(0)) wake();
}

/** The generation: writes a log, whoever reads it. */
async function generate(log, model) {
  const fast = model === "river" ? 1 : 0.2;
  const begun = performance.now();
  const all = pieces(model);
  append(log, { type: "stream-start", stream: log.id, model, created: 0 });
  await pause(350 * fast);
  const thoughts = model === "thinking" ? ["Water ", "runs ", "down. ", "That ", "is all."] : [];
  for (const text of thoughts) {
    append(log, { type: "reasoning-delta", text });
    await pause(60);
  }
  let sent = 0;
  for (const text of all) {
    if (log.stopped) break;
    append(log, { type: "text-delta", text });
    await pause((10 + 25 * Math.random() ** 3) * fast);
    if (model === "breaks" && ++sent === 60) {
      const message = "The provider closed the connection before the answer was complete.";
      return append(log, { type: "stream-error", code: "truncated", message, retryable: true });
    }
  }
  const usage = { input_tokens: 12, output_tokens: all.length };
  const timing = { total: performance.now() - begun };
  append(log, { type: "stream-end", reason: log.stopped ? "cancelled" : "stop", usage, timing });
}

async function follow(response, log, position) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Headwater-Stream": log.id });
  response.flushHeaders();
  for (let at = position; !response.destroyed; at++) {
    while (at >= log.events.length) await new Promise((resolve) => log.readers.push(resolve));
    const event = log.events[at];
    response.write(`id: 1-${at + 1}\ndata: ${JSON.stringify(event)}\n\n`);
    if (/end$|error$/.test(event.type)) return response.end();
  }
}

function json(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json", "X-Request-Id": "req-7" });
  response.end(JSON.stringify(body));
}

const busy = (response) =>
  json(response, 429, {
    error: { code: "rate_limited", message: "Too many requests: 60 a minute are allowed." },
  });

async function begin(response, { model = "river" }, key) {
  if (model === "busy") return busy(response);
  let log = keyed.get(key);
  if (!log) {
    log = { id: `s${streams.size + 1}`, events: [], readers: [], stopped: false };
    streams.set(log.id, log);
    if (key) keyed.set(key, log);
    void generate(log, model);
  }
  if (model === "late") await pause(1500);
  return follow(response, log, 0);
}

async function complete(response, { model = "river" }) {
  if (model === "busy") return busy(response);
  await pause(pieces(model).length * (model === "river" ? 18 : 4));
  const content = pieces(model).join("");
  json(response, 200, {
    choices: [{ message: { content }, finish_reason: "stop" }],
    usage: { completion_tokens: pieces(model).length },
  });
}

async function file(response, path) {
  const body = await readFile(join(BUILT, path === "/" ? "index.html" : path)).catch(() => null);
  if (!body) return json(response, 404, { error: { code: "not_found", message: "Not found." } });
  const type = TYPES[extname(path)] ?? TYPES[".html"];
  response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": CSP });
  response.end(body);
}

/** Whether the request was answered here, since `key` is wanted and the page has no cookie yet. */
function guard(key, path, { key: given }, request, response) {
  if (path === "/v1/session" && given === key) {
    response.writeHead(204, { "Set-Cookie": "session=open; HttpOnly; SameSite=Strict; Path=/" });
    response.end();
    return true;
  }
  const open = !key || !path.startsWith("/v1/") || /session=open/.test(request.headers.cookie);
  if (!open) json(response, 401, { error: { code: "unauthorized", message: "No such key." } });
  return !open;
}

async function serve({ prefix, key }, request, response) {
  const url = new URL(request.url, "http://localhost");
  if (!url.pathname.startsWith(prefix)) return json(response, 404, {});
  const path = url.pathname.slice(prefix.length) || "/";
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : {};
  if (guard(key, path, body, request, response)) return;
  const log = streams.get(path.match(/^\/v1\/streams\/(\w+)$/)?.[1]);
  if (path === "/v1/models") {
    const data = MODELS.map(([id, provider, available]) => ({ id, provider, available }));
    return json(response, 200, { data, default: MODELS[0][0] });
  }
  if (path === "/v1/streams") return begin(response, body, request.headers["idempotency-key"]);
  if (path === "/v1/chat/completions") return complete(response, body);
  if (log && request.method === "DELETE") {
    log.stopped = true;
    return response.writeHead(204).end();
  }
  if (log) {
    await pause(600);
    return follow(response, log, Number(request.headers["last-event-id"]?.split("-")[1] ?? 0));
  }
  return file(response, path);
}

/** How many streams there have been. */
export const streamCount = () => streams.size;

/** Listens on loopback under `prefix`, such as "/ai"; resolves with the node server. */
export function listen(port = 0, prefix = "", key = undefined) {
  const options = { prefix, key };
  const server = createServer((request, response) => void serve(options, request, response));
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await listen(Number(process.argv[2] ?? 8000), process.argv[3]);
  console.log(`http://127.0.0.1:${server.address().port}${process.argv[3] ?? ""}/`);
}
