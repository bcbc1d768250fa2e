/** Builds a component of Vue's or Svelte's, with its framework and our client, for a test to mount. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { compile } from "svelte/compiler";
import { build, transformWithOxc, type Plugin } from "vite";
import { compileScript, parse } from "vue/compiler-sfc";

const js = fileURLToPath(new URL("../../", import.meta.url));
const MOUNT = {
  vue: (path: string) => `import { createApp } from "vue";
    import Component from "${path}";
    export default (target) => {
      const app = createApp(Component);
      app.mount(target);
      return () => app.unmount();
    };`,
  svelte: (path: string) => `import { mount, unmount } from "svelte";
    import Component from "${path}";
    export default (target) => {
      const component = mount(Component, { target });
      return () => unmount(component);
    };`,
};

const plain = async (code: string, path: string) =>
  (await transformWithOxc(code, `${path}.ts`, { lang: "ts" })).code;

async function compiled(code: string, path: string): Promise<string | undefined> {
  if (path.endsWith(".svelte")) return compile(code, { filename: path, dev: false }).js.code;
  if (!path.endsWith(".vue")) return undefined;
  const { descriptor, errors } = parse(code, { filename: path });
  if (errors.length) throw errors[0];
  const { content } = compileScript(descriptor, { id: path, inlineTemplate: true });
  return plain(content, path);
}

const components = (entry: string): Plugin => ({
  name: "components",
  enforce: "pre",
  resolveId(source, importer) {
    if (source.endsWith("/entry")) return "\0entry";
    if (source === "@headwater/client") return join(js, "client/src/index.ts");
    // The examples have no modules of their own.
    const away = importer === "\0entry" || importer?.includes("/examples/");
    return away && !source.startsWith("/") ? this.resolve(source, join(js, "x.js")) : null;
  },
  load: (id) => (id === "\0entry" ? entry : null),
  transform: compiled,
});

/** The function that mounts the component at `path` and gives the one that takes it away. */
export async function mounting(path: string): Promise<(target: Element) => () => void> {
  const kind = path.endsWith(".vue") ? "vue" : "svelte";
  const output = await build({
    root: js,
    configFile: false,
    logLevel: "warn",
    plugins: [components(MOUNT[kind](path))],
    define: { "process.env.NODE_ENV": '"production"' },
    build: {
      write: false,
      minify: false,
      target: "es2022",
      lib: { entry: "entry", formats: ["es"] },
    },
  });
  const [{ output: files }] = output as unknown as [{ output: [{ code: string }] }];
  const folder = await mkdtemp(join(tmpdir(), "headwater-example-"));
  try {
    const file = join(folder, "component.mjs");
    await writeFile(file, files[0].code);
    return (await import(/* @vite-ignore */ pathToFileURL(file).href)).default;
  } finally {
    await rm(folder, { recursive: true });
  }
}
