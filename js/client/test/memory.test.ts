/** What is remembered through a reload, for how long, and what comes of it. */

import { describe, expect, it } from "vitest";

import { recall, resume, stream, type RecallOptions, type Stream } from "../src/index.js";
import { HALF, NATIVE, ours, PLAIN, QUICK, read, textOf, TEXT, withServer } from "./logs.js";
import { cutAfter, encode, hang, head, refuse, status, whole, type Behaviour } from "./server.js";

class Place {
  readonly all = new Map<string, string>();
  getItem = (key: string) => this.all.get(key) ?? null;
  setItem = (key: string, value: string) => void this.all.set(key, value);
  removeItem = (key: string) => void this.all.delete(key);
}

/** Reads until the text is there, and then no more: as if the page had been left. */
async function readUntil(source: Stream, text: string): Promise<string> {
  let seen = "";
  for await (const event of source) {
    if (event.type === "text-delta") seen += event.text;
    if (seen.length >= text.length) break;
  }
  return seen;
}

async function readAll(source: Stream): Promise<string> {
  const events = [];
  for await (const event of source) events.push(event);
  return textOf(events);
}

const pieces = (count: number) =>
  textOf(NATIVE.slice(0, count).map(({ data }) => JSON.parse(data)));

describe("recall", () => {
  it.each(["native", "plain"] as const)("reads the %s wire again from its start", async (wire) => {
    const frames = wire === "native" ? NATIVE : PLAIN;
    const storage = new Place();
    await withServer(frames, [hang(encode(frames.slice(0, 3)).length)], async ({ url, seen }) => {
      const options = { base: url, storage, remember: "chat" };
      await readUntil(stream(`${url}/own`, { ...options, body: { prompt: "p" } }), "Grüße");
      const again = recall("chat", { base: url, storage })!;
      expect(again.id).toBe("s1");
      expect(await readAll(again)).toBe(TEXT);
      expect(seen.map(({ method, url, after }) => [method, url, after])).toEqual([
        ["POST", "/own", undefined],
        ["GET", `/v1/streams/s1?wire=${wire}`, undefined],
      ]);
      expect(storage.all.size).toBe(0);
    });
  });

  it("reads what follows the position, on request, and through another reload", async () => {
    const storage = new Place();
    await withServer(
      NATIVE,
      [hang(HALF), hang(encode(NATIVE.slice(4, 5)).length)],
      async ({ url, seen }) => {
        const options: RecallOptions = { base: url, storage, from: "position" };
        const before = await readUntil(
          stream(`${url}/own`, { base: url, storage, remember: "chat" }),
          pieces(4),
        );
        await readUntil(recall("chat", options)!, "\n");
        expect(before + (await readAll(recall("chat", options)!))).toContain(before);
        expect(seen.map(({ after }) => after)).toEqual([undefined, "1-4", "1-5"]);
      },
    );
  });

  it("knows a stream by its head, before the first token", async () => {
    const storage = new Place();
    const quiet: Behaviour = ({ response }) => head(response);
    await withServer(NATIVE, [quiet], async ({ url, seen }) => {
      const left = new AbortController();
      const options = { base: url, storage, remember: "chat" };
      const onState = (state: string) => state === "streaming" && left.abort();
      const first = stream(`${url}/own`, {
        ...options,
        idempotent: false,
        signal: left.signal,
        onState,
      });
      await expect(readAll(first)).rejects.toMatchObject({ name: "AbortError" });
      expect(await readAll(recall("chat", { base: url, storage })!)).toBe(TEXT);
      expect(seen.map(({ method }) => method)).toEqual(["POST", "GET"]);
    });
  });

  it("asks again, under the same key, for what had no name yet", async () => {
    const storage = new Place();
    const never: Behaviour = () => {};
    await withServer(NATIVE, [never], async ({ url, seen }) => {
      const left = new AbortController();
      const options = { base: url, storage, remember: "chat", headers: { "X-A": "b" } };
      const body = { prompt: "ü" };
      const first = readAll(stream(`${url}/own`, { ...options, body, signal: left.signal }));
      setTimeout(() => left.abort(), 30);
      await expect(first).rejects.toMatchObject({ name: "AbortError" });
      const again = recall("chat", { base: url, storage })!;
      expect(again.id).toBeUndefined();
      expect(await readAll(again)).toBe(TEXT);
      expect(seen).toHaveLength(2);
      for (const what of ["method", "url", "body"] as const)
        expect(seen[1]![what]).toBe(seen[0]![what]);
      expect(seen[1]!.headers["idempotency-key"]).toBe(seen[0]!.headers["idempotency-key"]);
      expect(storage.all.size).toBe(0);
    });
  });

  it("keeps no prompt once the stream has a name, and never a header", async () => {
    const storage = new Place();
    await withServer(NATIVE, [hang(HALF)], async ({ url }) => {
      const headers = { authorization: "secret" };
      const body = { prompt: "private" };
      await readUntil(stream(url, { storage, remember: "chat", headers, body }), "G");
      expect([...storage.all]).toEqual([
        ["headwater:chat", '{"id":"s1","position":"1-2","wire":"native"}'],
      ]);
    });
  });

  it("finds nothing where nothing is, or something else", () => {
    const storage = new Place();
    expect(recall("chat", { storage })).toBeUndefined();
    for (const junk of ["", "{", "null", "7", "[]", '"a"', "{}"]) {
      storage.setItem("headwater:chat", junk);
      expect(recall("chat", { storage })).toBeUndefined();
    }
  });
});

describe("what is remembered", () => {
  const gone = (code: number, word: string): [string, Behaviour[], boolean] => [
    `HTTP ${code} at the reconnect`,
    [cutAfter(HALF), status(code, ours(word))],
    code !== 404 && code !== 410,
  ];
  it.each<[string, Behaviour[], boolean]>([
    ["its end", [whole], false],
    ["204", [cutAfter(HALF), status(204)], false],
    gone(404, "not_found"),
    gone(410, "trimmed"),
    gone(401, "unauthorized"),
    gone(409, "position_lost"),
    ["a refused request", [status(400, ours("invalid_request"))], false],
    ["a conflict of keys", [status(409, ours("idempotency_conflict"))], false],
    ["no answer", Array<Behaviour>(9).fill(refuse), true],
    ["no way back", [cutAfter(HALF), ...Array<Behaviour>(30).fill(refuse)], true],
    ["a stream without a name", [nameless()], false],
  ])("after %s", async (_, plan, kept) => {
    const storage = new Place();
    await read(NATIVE, plan, { storage, remember: "chat" });
    expect(storage.all.size).toBe(kept ? 1 : 0);
  });

  it("is given up by stop, at once and for good", async () => {
    const storage = new Place();
    await withServer(NATIVE, [hang(HALF)], async ({ url }) => {
      const reading = stream(url, { base: url, storage, remember: "chat" });
      let events = 0;
      for await (const _ of reading) {
        if (++events === 2) void reading.stop();
        if (events > 1) expect(storage.all.size).toBe(0);
        if (events === 4) break;
      }
    });
  });

  it("is given up by stop before the head", async () => {
    const storage = new Place();
    const late: Behaviour = async (exchange) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return whole(exchange);
    };
    await withServer(NATIVE, [late], async ({ url }) => {
      const reading = stream(url, { base: url, storage, remember: "chat" });
      const all = readAll(reading);
      const stopping = reading.stop();
      expect(storage.all.size).toBe(0);
      await stopping;
      await all;
      expect(storage.all.size).toBe(0);
    });
  });

  it("also of a stream that is known by its id", async () => {
    const storage = new Place();
    await withServer(NATIVE, [hang(HALF)], async ({ url }) => {
      await readUntil(resume("s1", { base: url, storage, remember: "chat" }), "G");
      expect(recall("chat", { storage })!.id).toBe("s1");
    });
  });
});

describe("storage that is", () => {
  const broken = () => {
    throw new DOMException("Forbidden.", "SecurityError");
  };
  const places = {
    "not there": undefined,
    forbidden: { getItem: broken, setItem: broken, removeItem: broken },
  };
  it.each(Object.entries(places))("%s breaks nothing", async (_, storage) => {
    const options = { storage, remember: "chat", retry: QUICK };
    const { text, error } = await read(NATIVE, [refuse, cutAfter(HALF)], options);
    expect([error, text]).toEqual([undefined, TEXT]);
    expect(recall("chat", { storage })).toBeUndefined();
  });
});

/** A stream of somebody else's, without our header. */
function nameless(): Behaviour {
  return async ({ response, bytes }) => {
    head(response, null);
    // Without the first event, which has the name as well.
    response.end(bytes.subarray(encode(NATIVE.slice(0, 1)).length, HALF));
  };
}
