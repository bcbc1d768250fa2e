/** Fails when the client's core or the page's own JavaScript, gzipped, is over its budget. */

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { buildPage } from "./build.mjs";
import { bundleAddition, bundleClient, bundleElement, bundleTabs } from "./bundle.mjs";

const CORE_BUDGET = 3000;
const PAGE_BUDGET = 90_000;

const gzipped = (code) => gzipSync(code, { level: 9 }).length;

/** Bytes of all scripts of the page, each as it is sent. */
async function pageSize() {
  const work = await mkdtemp(join(tmpdir(), "headwater-size-"));
  try {
    await buildPage(work);
    const names = await readdir(join(work, "assets"));
    const scripts = names.filter((name) => name.endsWith(".js"));
    const codes = await Promise.all(scripts.map((name) => readFile(join(work, "assets", name))));
    return codes.reduce((sum, code) => sum + gzipped(code), 0);
  } finally {
    await rm(work, { recursive: true });
  }
}

const core = gzipped(await bundleClient({ external: ["eventsource-parser"] }));
const whole = gzipped(await bundleClient());
const more = {
  tabs: gzipped(await bundleTabs()),
  element: gzipped(await bundleElement()),
  react: gzipped(await bundleAddition("react")),
  "ai-sdk": gzipped(await bundleAddition("ai-sdk")),
};
const page = await pageSize();
console.log(
  `@headwater/client: ${core} of ${CORE_BUDGET} bytes gzipped; ${whole} with eventsource-parser; more for ` +
    Object.entries(more)
      .map(([name, size]) => `/${name} ${size}`)
      .join(", "),
);
console.log(`playground: ${page} of ${PAGE_BUDGET} bytes gzipped`);
if (core > CORE_BUDGET || page > PAGE_BUDGET) process.exitCode = 1;
