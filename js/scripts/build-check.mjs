/** Builds anew and fails when the output that is committed is another. */

import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

import { buildInto, OUTPUT, PACKAGE } from "./build.mjs";

/** Path to content of every file of the output under `directory`. */
async function contents(directory) {
  const files = new Map();
  for (const name of OUTPUT) {
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    const names = found?.isDirectory() ? await readdir(path, { recursive: true }) : [""];
    for (const file of names.map((inner) => join(path, inner))) {
      const bytes = await readFile(file).catch(() => undefined);
      if (bytes) files.set(relative(directory, file), bytes);
    }
  }
  return files;
}

const fresh = await mkdtemp(join(tmpdir(), "headwater-check-"));
try {
  await buildInto(fresh);
  const [built, committed] = await Promise.all([contents(fresh), contents(PACKAGE)]);
  const differing = [...new Set([...built.keys(), ...committed.keys()])].filter(
    (name) => !committed.get(name)?.equals(built.get(name) ?? Buffer.alloc(0)),
  );
  if (differing.length) {
    console.error(`Differs from its source, run \`npm run build\`: ${differing.join(", ")}`);
    process.exitCode = 1;
  } else console.log(`The built output is that of its source: ${built.size} files.`);
} finally {
  await rm(fresh, { recursive: true });
}
