/** The client as ES modules. */

import { fileURLToPath } from "node:url";
import { build } from "vite";

const client = fileURLToPath(new URL("../client/", import.meta.url));

/** The minified source of an entry and what it imports; `external` modules stay imports. */
export async function bundleClient({ entry = "index", external = [], paths = {} } = {}) {
  const [{ output }] = await build({
    root: client,
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      target: "es2022",
      reportCompressedSize: false,
      lib: { entry: `src/${entry}.ts`, formats: ["es"] },
      // Vite leaves the white space of a library in; this is read by browsers as it is.
      rolldownOptions: { external, output: { minify: true, paths } },
    },
  });
  return output[0].code;
}

/** What `./tabs` adds; it imports the core from beside it, so that a page loads that once. */
export const bundleTabs = () =>
  bundleClient({
    entry: "tabs",
    external: (id) => id.endsWith("/index.js"),
    paths: (id) => (id.endsWith("/index.js") ? "./headwater.js" : id),
  });
