/** The components of examples/, compiled and used as they are. */

import "./dom.js";

import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { mounting } from "./components.js";
import { END, HALF, NATIVE, NATIVE_ERROR, TEXT, withServer } from "./logs.js";
import { encode, hang, head, status, type Behaviour } from "./server.js";

const EXAMPLES = ["vue/Answer.vue", "svelte/Answer.svelte"];
const cancelled = encode([{ id: "1-5", data: JSON.stringify({ ...END, reason: "cancelled" }) }]);

let page: Element;
beforeEach(() => {
  sessionStorage.clear();
  page = document.createElement("main");
  document.body.append(page);
});
afterEach(() => vi.unstubAllGlobals());

const text = (): string => page.querySelector("p")!.textContent;
const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 5 });
const submit = () => {
  const form = page.querySelector("form")!;
  form.dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
};

const real = fetch;

/** The page's own address. */
function at(url: string): void {
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => real(url + path, init));
}

it.each(EXAMPLES)("%s asks, is reloaded, stops, and goes away", async (name) => {
  const mount = await mounting(
    fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url)),
  );
  let release = () => {};
  const stopped = new Promise<void>((resolve) => (release = resolve));
  const stoppable: Behaviour = async ({ response, bytes }) => {
    head(response);
    response.write(bytes.subarray(0, HALF));
    await stopped;
    response.end(cancelled);
  };
  await withServer(
    NATIVE,
    [hang(HALF), stoppable],
    async (server) => {
      at(server.url);
      const leave = mount(page);
      expect(text()).toBe("");
      submit();
      await until(() => expect(text()).not.toBe(""));
      leave();
      page.replaceChildren();
      const leaveAgain = mount(page);
      await until(() => expect(text()).not.toBe(""));
      page.querySelector<HTMLElement>("button[type=button]")!.click();
      await until(() => expect(page.querySelector("button[type=button]")).toBeNull());
      expect(TEXT.startsWith(text())).toBe(true);
      expect(server.seen.map(({ method }) => method)).toEqual(["POST", "GET", "DELETE"]);
      submit();
      await until(() => expect(text()).toBe(TEXT));
      leaveAgain();
    },
    [(exchange) => (release(), status(204)(exchange))],
  );
  await withServer(NATIVE_ERROR, [], async (server) => {
    at(server.url);
    page.replaceChildren();
    const leave = mount(page);
    submit();
    await until(() =>
      expect(page.querySelector("[role=alert]")?.textContent).toBe("The provider was cut."),
    );
    leave();
  });
});
