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

/** Where the server has the modules that are files of their own. */
const SERVED = { "/index.js": "./headwater.js", "/element.js": "./headwater-element.js" };

const served = (entry, names) => {
  const place = (id) => names.find((name) => id.endsWith(name));
  return bundleClient({
    entry,
    external: (id) => place(id) !== undefined,
    paths: (id) => SERVED[place(id)] ?? id,
  });
};

/** The client as it is served. */
export const bundlePage = () => served("page", ["/element.js"]);

/** What `./tabs` and `./element` add; they import the core from beside them: it is loaded once. */
export const bundleTabs = () => served("tabs", ["/index.js"]);
export const bundleElement = () => served("element", ["/index.js"]);

/** What an entry adds that only a build of the reader's own takes in. */
export const bundleAddition = (entry) =>
  bundleClient({ entry, external: (id) => id === "react" || id.endsWith("/index.js") });
