/** Fails when the client's core, gzipped and without eventsource-parser, is over its budget. */

import { gzipSync } from "node:zlib";

import { bundleClient, bundleTabs } from "./bundle.mjs";

const BUDGET = 3000;

const gzipped = (code) => gzipSync(code, { level: 9 }).length;
const size = gzipped(await bundleClient({ external: ["eventsource-parser"] }));
const whole = gzipped(await bundleClient());
const tabs = gzipped(await bundleTabs());
console.log(
  `@headwater/client: ${size} of ${BUDGET} bytes gzipped; ${whole} with eventsource-parser; ` +
    `${tabs} more for /tabs`,
);
if (size > BUDGET) process.exitCode = 1;
