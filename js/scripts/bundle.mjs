/** The client as one ES module. */

import { fileURLToPath } from "node:url";
import { build } from "vite";

const client = fileURLToPath(new URL("../client/", import.meta.url));

/** The minified source of the bundle; `external` modules stay imports. */
export async function bundleClient({ external = [] } = {}) {
  const [{ output }] = await build({
    root: client,
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      target: "es2022",
      reportCompressedSize: false,
      lib: { entry: "src/index.ts", formats: ["es"] },
      // Vite leaves the white space of a library in; this is read by browsers as it is.
      rolldownOptions: { external, output: { minify: true } },
    },
  });
  return output[0].code;
}
