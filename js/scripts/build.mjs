/**
 * Builds what the server ships: the playground, the client, and the licences of what is in them.
 *
 * Without an argument into the Python package, else into the given directory.
 */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

import { bundleElement, bundlePage, bundleTabs } from "./bundle.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));

export const PACKAGE = join(root, "../src/headwater/playground");
/** What the build writes, and may therefore delete; the rest of the directory is not ours. */
export const OUTPUT = [
  "index.html",
  "assets",
  "headwater.js",
  "headwater-tabs.js",
  "headwater-element.js",
  "THIRD_PARTY_LICENSES.txt",
];

const BUNDLED = ["eventsource-parser", "marked", "dompurify"];

async function licences() {
  const texts = BUNDLED.map(async (name) => {
    const directory = join(root, "node_modules", name);
    const { version } = JSON.parse(await readFile(join(directory, "package.json"), "utf8"));
    const text = await readFile(join(directory, "LICENSE"), "utf8");
    return `${name} ${version}\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`);
}

/** The files of the client, each under its name and licence. */
async function client() {
  const path = join(root, "client/package.json");
  const { name, version, license } = JSON.parse(await readFile(path, "utf8"));
  const notice = "Contains eventsource-parser, MIT: see THIRD_PARTY_LICENSES.txt.";
  return {
    "headwater.js": `/*! ${name} ${version}, ${license}. ${notice} */\n${await bundlePage()}`,
    "headwater-tabs.js": `/*! ${name}/tabs ${version}, ${license}. */\n${await bundleTabs()}`,
    "headwater-element.js": `/*! ${name}/element ${version}, ${license}. */\n${await bundleElement()}`,
  };
}

/** The page alone. */
export const buildPage = (directory) =>
  build({
    root: join(root, "playground"),
    logLevel: "warn",
    build: { outDir: directory, emptyOutDir: true },
  });

export async function buildInto(directory) {
  const work = await mkdtemp(join(tmpdir(), "headwater-build-"));
  await buildPage(work);
  for (const [file, code] of Object.entries(await client()))
    await writeFile(join(work, file), code);
  await writeFile(join(work, "THIRD_PARTY_LICENSES.txt"), await licences());
  await mkdir(directory, { recursive: true });
  for (const name of OUTPUT) {
    await rm(join(directory, name), { recursive: true, force: true });
    await cp(join(work, name), join(directory, name), { recursive: true });
  }
  await rm(work, { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildInto(process.argv[2] ?? PACKAGE);
}
