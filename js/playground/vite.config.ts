import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// In development the page is Vite's and everything else the server's.
const server = "http://127.0.0.1:8000";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  // The server may be mounted under a prefix that is not known when this is built.
  base: "./",
  resolve: {
    alias: {
      "@headwater/client/tabs": fileURLToPath(new URL("../client/src/tabs.ts", import.meta.url)),
      "@headwater/client": fileURLToPath(new URL("../client/src/index.ts", import.meta.url)),
    },
  },
  server: { proxy: { "/v1": server, "/probe": server } },
  build: {
    target: "es2022",
    // light-dark() as it is written, not as two sets of variables.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false },
    // Everything from files: the Content-Security-Policy forbids data: URLs.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
