/** What `npm pack` would publish, installed in a project of somebody else's. */

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";

const run = promisify(execFile);
const client = fileURLToPath(new URL("../", import.meta.url));
const modules = fileURLToPath(new URL("../../node_modules/", import.meta.url));

/** Every entry, and what it is for. */
const ENTRIES = {
  "@headwater/client": ["HeadwaterError", "isTerminal", "recall", "resume", "stream"],
  "@headwater/client/ai-sdk": ["stopping"],
  "@headwater/client/element": ["HeadwaterStream"],
  "@headwater/client/react": ["useStream"],
  "@headwater/client/tabs": ["shared"],
};

let project: string;
let inside: string;

/** Makes what is installed beside it findable, without a network. */
async function install(name: string): Promise<void> {
  const place = join(project, "node_modules", name);
  await mkdir(join(place, ".."), { recursive: true });
  await symlink(join(modules, name), place);
}

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "headwater-pack-"));
  inside = join(project, "node_modules/@headwater/client");
  await mkdir(inside, { recursive: true });
  await run("npm", ["pack", "--silent", "--pack-destination", project], { cwd: client });
  const [tarball] = (await readdir(project)).filter((name) => name.endsWith(".tgz"));
  await run("tar", ["-xzf", join(project, tarball!), "-C", inside, "--strip-components=1"]);
  await writeFile(join(project, "package.json"), '{ "type": "module" }');
  await install("eventsource-parser");
});
afterAll(() => rm(project, { recursive: true }));

it("holds the modules, their types, and the documentation: nothing else", async () => {
  const entries = await readdir(inside, { recursive: true, withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  const sources = await readdir(join(client, "src"));
  const built = sources
    .filter((name) => name !== "page.ts")
    .flatMap((name) => [name.replace(/ts$/, "js"), name.replace(/ts$/, "d.ts")]);
  expect(names.sort()).toEqual([...built, "LICENSE", "README.md", "package.json"].sort());
  const published = JSON.parse(await readFile(join(inside, "package.json"), "utf8"));
  const named = Object.keys(published.exports).map((path) => `@headwater/client${path.slice(1)}`);
  expect(named.sort()).toEqual(Object.keys(ENTRIES));
  expect(published.dependencies).toEqual({ "eventsource-parser": expect.any(String) });
});

it("is imported by Node, each entry with its names; React is asked for by one alone", async () => {
  const names = async (entry: string) => {
    const code = `console.log(JSON.stringify(Object.keys(await import("${entry}"))))`;
    const { stdout } = await run(process.execPath, ["--eval", code], { cwd: project });
    return JSON.parse(stdout) as string[];
  };
  await expect(names("@headwater/client/react")).rejects.toThrow(/Cannot find package 'react'/);
  await install("react");
  for (const [entry, exported] of Object.entries(ENTRIES))
    expect([entry, (await names(entry)).sort()]).toEqual([entry, exported]);
});

const USE = `
import { stream, type StreamEvent } from "@headwater/client";
import { stopping } from "@headwater/client/ai-sdk";
import { HeadwaterStream } from "@headwater/client/element";
import { useStream } from "@headwater/client/react";
import { shared } from "@headwater/client/tabs";

export async function read(): Promise<string> {
  let text = "";
  const answer = shared((own) => stream("/v1/streams", { ...own, body: { prompt: "p" } }));
  for await (const event of answer satisfies AsyncIterable<StreamEvent>)
    if (event.type === "text-delta") text += event.text;
  return text;
}
export function Page(): string {
  const { text, status, error, start, stop } = useStream({ remember: "chat" });
  start({ prompt: "p" });
  void stop();
  // @ts-expect-error: there is no such status.
  if (status === "finished") return "";
  return error ? error.message : text;
}
interface Mine {
  sendMessages(options: { chatId: string; mine: true }): Promise<ReadableStream<string>>;
  reconnectToStream(options: { chatId: string }): Promise<ReadableStream<string> | null>;
}
export const made = (mine: Mine): Mine => stopping(mine, { api: "/ai/api/chat" });
export const element: HeadwaterStream | null = document.querySelector("headwater-stream");
`;

it.each(["Bundler", "NodeNext"])("has types that resolve: %s", async (resolution) => {
  for (const name of ["@types/react"]) await install(name).catch(() => "it is there already");
  await writeFile(join(project, "use.ts"), USE);
  const options = {
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    target: "ES2022",
    lib: ["ES2022", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
    types: [],
    module: resolution === "Bundler" ? "ESNext" : resolution,
    moduleResolution: resolution,
  };
  await writeFile(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: ["use.ts"] }),
  );
  const compiler = join(modules, "typescript/bin/tsc");
  const { stdout } = await run(process.execPath, [compiler, "-p", project]).catch((error) => error);
  expect(stdout).toBe("");
});
