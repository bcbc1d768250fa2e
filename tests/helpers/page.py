"""The playground as its reader sees it, and what a user's console and network panel would show."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

#: A page is read at a glance; a test waits for what it should show, and never longer than this.
BOUND_S = 20.0

# When text was on the screen first, and what the browser forbade; looked at with every frame.
_WATCH = """
window.seen = {
  began: null, stopped: null, streamed: null, whole: null, pieces: 0, ended: null,
  states: [], forbidden: [],
};
const stopping = () => (seen.stopped = performance.timeOrigin + performance.now());
document.addEventListener("securitypolicyviolation", (event) => {
  seen.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`);
});
document.addEventListener("submit", () => (seen.began = performance.now()), { capture: true });
document.addEventListener("keydown", stopping, { capture: true });
document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-testid=stop]")) stopping();
}, { capture: true });
new MutationObserver(() => {
  const find = (id) => document.querySelector(`[data-testid=${id}]`);
  for (const name of ["streamed", "whole"]) {
    if (!find(`${name}-pane`)?.textContent.trim()) continue;
    seen[name] ??= performance.now();
    if (name === "streamed") seen.pieces++;
  }
  const state = find("streamed-state")?.textContent;
  if (!state || state === seen.states.at(-1)?.[0]) return;
  seen.states.push([state, performance.now()]);
  if (["done", "stopped", "failed"].includes(state)) seen.ended ??= performance.now();
}).observe(document, { childList: true, subtree: true, characterData: true });
"""

_SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Visit:
    """One page in a context of its own, or in another's as its second tab.

    Without a `tab` it is what the address says, at first Compare. Its choices are made as a reader
    makes them: by the names on the tabs and what the test identifiers stand for.
    """

    def __init__(
        self,
        browser: Browser,
        base: str,
        tab: str = "",
        *,
        within: BrowserContext | None = None,
        listed: bool = True,
        **context: Any,
    ) -> None:
        self.base = base
        self.context = within or browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.urls: list[str] = []
        self.streams: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        self.page.on("console", self._note)
        self.page.on("request", self._asked)
        self.page.add_init_script(_WATCH)
        self.page.goto(base if "#" in base else f"{base}/#{tab}")
        if listed:
            expect(self.page.locator("#models-status")).to_have_text(re.compile(r"\d+ of \d+"))

    def _note(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.faults.append(f"{said.type}: {said.text}")

    def _asked(self, asked: Any) -> None:
        self.urls.append(asked.url)
        if asked.method != "DELETE" and "/v1/streams" in asked.url:
            self.streams.append(asked.url)

    def another(self) -> Visit:
        """The same address in another tab of the browser."""
        browser = self.context.browser
        assert browser is not None
        return Visit(browser, self.page.url, within=self.context)

    def show(self, tab: str) -> Locator:
        self.page.get_by_role("tab", name=tab).click()
        return self.panel

    @property
    def panel(self) -> Locator:
        return self.page.locator("[role=tabpanel]:not([hidden])")

    def get(self, name: str) -> Locator:
        return self.panel.get_by_test_id(name)

    def choose(self, model: str, *more: str) -> None:
        """These models and no others."""
        self.get("model").click()
        self.get("model-filter").fill(model)
        self.get("model-filter").press("Enter")
        for another in more:
            self.get("model").click()
            self.panel.get_by_label(another, exact=True).check()
            self.page.keyboard.press("Escape")

    def run(self, prompt: str, model: str = "") -> None:
        """Ask on Compare."""
        if model:
            self.choose(model)
        self.get("prompt").fill(prompt)
        self.get("run").click()

    def say(self, message: str, model: str = "") -> None:
        """Ask in Chat."""
        if model:
            self.choose(model)
        self.get("message").fill(message)
        self.get("message").press("Enter")

    def text(self, name: str = "streamed-pane") -> str:
        return (self.get(name).last.text_content() or "").strip()

    def wait(self, name: str, state: str, timeout_s: float = BOUND_S) -> None:
        """Wait for the state of what `name` stands for: streamed, whole, chat or break."""
        found = self.get(f"{name}-state").last
        expect(found).to_have_attribute("data-state", state, timeout=timeout_s * 1000)

    def wait_for_text(self, name: str, length: int) -> None:
        """Wait until there are so many characters."""
        expect(self.get(name).last).to_have_text(
            re.compile(rf"^[\s\S]{{{length},}}"), timeout=BOUND_S * 1000
        )

    def seen(self) -> Any:
        return self.page.evaluate("seen")

    def assert_clean(self) -> None:
        """Nothing in the console, nothing forbidden, nothing from elsewhere, nothing too wide."""
        assert self.faults == []
        self.assert_within_bounds()

    def assert_within_bounds(self) -> None:
        base = self.base.partition("#")[0]
        assert self.seen()["forbidden"] == []
        assert [url for url in self.urls if not url.startswith(base.rstrip("/") + "/")] == []
        assert self.page.evaluate(_SIDEWAYS) <= 0, "it scrolls sideways"

    def assert_only_network_faults(self) -> None:
        """Chromium itself notes what it could not send; there is nothing else."""
        assert [fault for fault in self.faults if "net::ERR_" not in fault] == []
        self.assert_within_bounds()
