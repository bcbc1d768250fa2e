/** Fails when the client's core, gzipped and without eventsource-parser, is over its budget. */

import { gzipSync } from "node:zlib";

import { bundleClient } from "./bundle.mjs";

const BUDGET = 3000;

const size = gzipSync(await bundleClient({ external: ["eventsource-parser"] }), {
  level: 9,
}).length;
const whole = gzipSync(await bundleClient(), { level: 9 }).length;
console.log(
  `@headwater/client: ${size} of ${BUDGET} bytes gzipped; ${whole} with eventsource-parser`,
);
if (size > BUDGET) process.exitCode = 1;
