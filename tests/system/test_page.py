"""The playground in a real browser, in front of a real server."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from headwater.testing import MODELS, STALL, Answer, FaultyProxy, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.conftest import Figures
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "page.png"
PROMPT = "Explain how a river finds its way to the sea, in five paragraphs."
# The embedded model often writes until its 2,048 tokens are full; to this it seldom does.
SHORT = "Say hello in one sentence."
# No Markdown in them: what is on the screen is what was sent.
TOKENS = [f"word{number} " for number in range(80)]
LONG = [f"word{number} " for number in range(200)]
GAP_S = 0.05

ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=GAP_S),
    "long": chat(LONG, gap_s=GAP_S),
    "stall": Answer([chunk({"content": "Wait "}), chunk({"content": "for it"}), STALL]),
    "broken": reply(500, {"error": {"message": "out of memory"}}),
    "cut": Answer([chunk({"content": "Half an "}), chunk({"content": "answer"})]),
    "markup": chat(
        [
            "# Title\n\n",
            "<img src=x onerror=alert(1)>",
            "<script>alert(2)</script> ",
            "![pixel](https://example.com/p.png?secret) ",
            "[link](javascript:alert(3)) ",
            "**bold** and a\n\n| table | x |\n|---|---|\n| a | b |\n",
        ],
        gap_s=0.02,
    ),
}

# When text was on the screen first, and what the browser forbade; looked at with every frame.
WATCH = """
window.seen = {
  began: null, stopped: null, stream: null, whole: null, pieces: 0, ended: null,
  states: [], forbidden: [],
};
const stopping = () => (seen.stopped = performance.timeOrigin + performance.now());
document.addEventListener("securitypolicyviolation", (event) => {
  seen.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`);
});
document.addEventListener("DOMContentLoaded", () => {
  const composer = document.getElementById("composer");
  composer.addEventListener("submit", () => (seen.began = performance.now()), { capture: true });
  for (const name of ["stream", "whole"]) {
    const pane = document.getElementById(`${name}-pane`);
    new MutationObserver(() => {
      if (!pane.textContent.trim()) return;
      seen[name] ??= performance.now();
      if (name === "stream") seen.pieces++;
    }).observe(pane, { childList: true, subtree: true, characterData: true });
  }
  document.getElementById("stop").addEventListener("click", stopping, { capture: true });
  document.addEventListener("keydown", stopping, { capture: true });
  const state = document.getElementById("stream-state");
  new MutationObserver(() => {
    seen.states.push([state.textContent, performance.now()]);
    if (["done", "stopped", "failed"].includes(state.textContent)) seen.ended = performance.now();
  }).observe(state, { childList: true, subtree: true, characterData: true });
});
"""


ENOUGH_WORDS = (
    "(count) => document.getElementById('stream-pane').textContent.split('word').length > count"
)


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    with serve("--upstream", upstream.url, cwd=folder) as running:
        yield running


@pytest.fixture(scope="module")
def with_model(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as `make demo` starts it: the embedded model is its default."""
    with serve(cwd=tmp_path_factory.mktemp(embedded)) as running:
        yield running


class Visit:
    """One page, and everything that a user's console and network panel would show."""

    def __init__(self, browser: Browser, port: int, **context: Any) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.context = browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.urls: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        self.page.on(
            "console",
            lambda said: (
                self.faults.append(f"{said.type}: {said.text}")
                if said.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("request", lambda asked: self.urls.append(asked.url))
        self.page.add_init_script(WATCH)
        self.page.goto(self.base)
        # The list of models has come.
        expect(self.page.locator("#models-status")).to_have_text(re.compile(r"\d+ of \d+"))

    def run(self, prompt: str) -> None:
        self.page.get_by_test_id("prompt").fill(prompt)
        self.page.get_by_test_id("run").click()

    def seen(self) -> Any:
        return self.page.evaluate("seen")

    def text(self, pane: str = "stream-pane") -> str:
        return (self.page.get_by_test_id(pane).text_content() or "").strip()

    def wait(self, pane: str, state: str, timeout_s: float = 20) -> None:
        found = self.page.get_by_test_id(f"{pane}-state")
        expect(found).to_have_attribute("data-state", state, timeout=timeout_s * 1000)

    def wait_for_words(self, count: int) -> None:
        self.page.wait_for_function(ENOUGH_WORDS, arg=count, timeout=20_000)

    def assert_clean(self) -> None:
        assert self.faults == []
        assert self.seen()["forbidden"] == []
        assert [url for url in self.urls if not url.startswith(f"{self.base}/")] == []


class Tab:
    """Another tab at the address that a visit's page has; `connections` are its own to a stream."""

    def __init__(self, visit: Visit) -> None:
        self.page = visit.context.new_page()
        self.faults: list[str] = []
        self.connections: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(visit.page.url)

    def _note(self, asked: Any) -> None:
        if asked.method != "DELETE" and "/v1/streams" in asked.url:
            self.connections.append(asked.url)

    def text(self) -> str:
        return (self.page.get_by_test_id("stream-pane").text_content() or "").strip()

    def wait_for_words(self, count: int) -> None:
        self.page.wait_for_function(ENOUGH_WORDS, arg=count, timeout=20_000)


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    visit = Visit(browser, server.port)
    yield visit
    visit.context.close()


@pytest.mark.timeout(300)
def test_the_first_token_of_the_embedded_model_is_early(
    browser: Browser, with_model: Server, figures: Figures
) -> None:
    visit = Visit(browser, with_model.port)
    # Once, so that the model is loaded: it is not this that is looked at.
    visit.run(PROMPT)
    visit.page.wait_for_function("() => seen.stream !== null", timeout=20_000)
    visit.page.get_by_test_id("stop").click()
    visit.wait("stream", "stopped")
    # Not a reload, after which the page shows what was there before.
    visit.page.goto(visit.base)
    visit.run(SHORT)
    visit.page.wait_for_function("() => seen.stream !== null", timeout=20_000)
    assert visit.text("whole-pane") == ""
    assert visit.seen()["ended"] is None, "the answer was whole"
    visit.wait("stream", "done", 90)
    visit.wait("whole", "done", 90)
    seen = visit.seen()
    assert seen["stream"] < seen["ended"]
    assert seen["stream"] < seen["whole"]
    assert seen["pieces"] >= 5, "painted as lumps"
    first, whole = ((seen[name] - seen["began"]) / 1000 for name in ("stream", "whole"))
    figures(
        "page, embedded model: text on the screen",
        f"streamed after {first:.2f} s, whole after {whole:.2f} s",
    )
    for metric in ("stream-first-token", "stream-total", "whole-total"):
        text = visit.page.get_by_test_id(metric).text_content() or ""
        assert re.fullmatch(r"\d+\.\d+ s", text), (metric, text)
    visit.assert_clean()
    visit.context.close()


def test_both_panes_show_the_same_text(visit: Visit, upstream: Upstream) -> None:
    default = visit.page.locator("#model option").first
    expect(default).to_have_text(re.compile("default: test-model$"))
    before = len(upstream.posts)
    visit.run("tokens")
    visit.wait("stream", "done")
    visit.wait("whole", "done")
    assert visit.text() == visit.text("whole-pane") == "".join(TOKENS).strip()
    assert len(upstream.posts) == before + 2
    assert visit.page.get_by_test_id("stream-position").text_content() == f"1-{len(TOKENS) + 2}"
    visit.assert_clean()


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_frees_the_upstream(
    visit: Visit, upstream: Upstream, figures: Figures, how: str
) -> None:
    before = len(upstream.posts)
    visit.run("stall")
    expect(visit.page.get_by_test_id("stream-pane")).to_have_text("Wait for it")
    upstream.wait(lambda: len(upstream.posts) == before + 2)
    if how == "button":
        visit.page.get_by_test_id("stop").click()
    else:
        visit.page.keyboard.press("Escape")
    asked = upstream.posts[before:]
    upstream.wait(lambda: all(one.hung_up_at is not None for one in asked), 2)
    # From the click in the page, not from Playwright's way to it; by one machine's two clocks.
    stopped = visit.seen()["stopped"] / 1000 - (time.time() - time.monotonic())
    freed = max(one.hung_up_at or 0.0 for one in asked) - stopped
    figures(f"page, {how}: stop to upstream freed", f"{freed:.3f} s")
    visit.wait("stream", "stopped")
    visit.wait("whole", "stopped")
    expect(visit.page.get_by_test_id("run")).to_be_enabled()
    assert visit.text() == "Wait for it"
    visit.assert_clean()


def test_a_connection_cut_by_the_button_comes_back(visit: Visit, upstream: Upstream) -> None:
    before = len(upstream.posts)
    visit.run("tokens")
    for number, times in enumerate(["once", "2 times", "3 times"], 1):
        visit.wait_for_words(10 * number)
        visit.page.get_by_test_id("cut").click()
        expect(visit.page.get_by_test_id("cuts")).to_have_text(f"Resumed {times}")
    visit.wait("stream", "done")
    visit.wait("whole", "done")
    assert visit.text() == "".join(TOKENS).strip()
    assert len(upstream.posts) == before + 2, "one for each pane, and none for a cut"
    visit.assert_clean()


def test_a_connection_that_is_really_cut_comes_back(
    browser: Browser, server: Server, upstream: Upstream, figures: Figures
) -> None:
    asked_before = len(upstream.posts)
    with FaultyProxy(server.port) as proxy:
        visit = Visit(browser, proxy.port)
        visit.run("tokens")
        for number, times in enumerate(["once", "2 times", "3 times"], 1):
            visit.wait_for_words(10 * number)
            assert proxy.cut(asked=b"/v1/streams") == 1
            expect(visit.page.get_by_test_id("cuts")).to_have_text(f"Resumed {times}")
        visit.wait("stream", "done")
        visit.wait("whole", "done")
        assert visit.text() == visit.text("whole-pane") == "".join(TOKENS).strip()
        assert len(upstream.posts) == asked_before + 2
        # Measured in the page: Playwright looks at it only now and then.
        states = visit.seen()["states"]
        away = [
            (after[1] - before[1]) / 1000
            for before, after in itertools.pairwise(states)
            if (before[0], after[0]) == ("reconnecting", "streaming")
        ]
        assert len(away) == 3
        figures("page, TCP cut to streaming again", ", ".join(f"{s:.3f} s" for s in away))
        # Chromium itself notes a broken connection; there is nothing else.
        assert [fault for fault in visit.faults if "net::ERR_" not in fault] == []
        assert visit.seen()["forbidden"] == []
        visit.context.close()


def test_a_reload_goes_on_with_the_answer(
    visit: Visit, upstream: Upstream, figures: Figures
) -> None:
    before = len(upstream.posts)
    visit.run("tokens")
    for words in (15, 40):
        visit.wait_for_words(words)
        visit.page.reload()
    began = time.monotonic()
    visit.wait_for_words(40)
    figures("page, reloaded: the text is back", f"{time.monotonic() - began:.3f} s")
    visit.wait("stream", "done")
    assert visit.text() == "".join(TOKENS).strip()
    assert visit.page.get_by_test_id("prompt").input_value() == "tokens"
    assert len(upstream.posts) == before + 2, "one for each pane, and none for a reload"
    # The page as it is when the answer is over: the same.
    visit.page.reload()
    visit.wait("stream", "done")
    assert visit.text() == "".join(TOKENS).strip()
    assert len(upstream.posts) == before + 2
    visit.assert_clean()


def test_a_second_tab_shows_the_same_answer(visit: Visit, upstream: Upstream) -> None:
    before = len(upstream.posts)
    visit.run("long")
    visit.wait_for_words(10)
    second, third = Tab(visit), Tab(visit)
    second.wait_for_words(20)
    third.wait_for_words(20)
    assert second.connections == third.connections == []
    # The tab that reads is closed: another goes on where it was.
    visit.page.close()
    for tab in (second, third):
        expect(tab.page.get_by_test_id("stream-state")).to_have_text("done", timeout=20_000)
        assert tab.text() == "".join(LONG).strip()
    assert len(second.connections) + len(third.connections) == 1
    assert len(upstream.posts) == before + 2
    assert visit.faults + second.faults + third.faults == []


def test_stop_in_one_tab_stops_it_in_all(visit: Visit, upstream: Upstream) -> None:
    before = len(upstream.posts)
    visit.run("stall")
    expect(visit.page.get_by_test_id("stream-pane")).to_have_text("Wait for it")
    second = Tab(visit)
    expect(second.page.get_by_test_id("stream-pane")).to_have_text("Wait for it")
    second.page.get_by_test_id("stop").click()
    visit.wait("stream", "stopped")
    expect(second.page.get_by_test_id("stream-state")).to_have_text("stopped")
    assert visit.text() == second.text() == "Wait for it"
    asked = upstream.posts[before:]
    assert len(asked) == 2
    upstream.wait(lambda: sum(one.hung_up_at is not None for one in asked) == 1, 2)
    # The whole answer was asked for by the first tab alone.
    visit.page.get_by_test_id("stop").click()
    visit.wait("whole", "stopped")
    upstream.wait(lambda: all(one.hung_up_at is not None for one in asked), 2)
    assert second.faults == []
    visit.assert_clean()


def test_five_seconds_in_airplane_mode(visit: Visit, upstream: Upstream, figures: Figures) -> None:
    before = len(upstream.posts)
    network = visit.context.new_cdp_session(visit.page)
    network.send("Network.enable")

    def fly(offline: bool) -> None:
        network.send(
            "Network.emulateNetworkConditions",
            {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )

    visit.run("long")
    visit.wait_for_words(20)
    fly(True)
    visit.page.wait_for_timeout(5000)
    assert visit.page.evaluate("navigator.onLine") is False
    fly(False)
    landed = visit.page.evaluate("performance.now()")
    visit.wait("stream", "done")
    assert visit.text() == "".join(LONG).strip()
    assert len(upstream.posts) == before + 2
    states = visit.seen()["states"]
    assert "reconnecting" in [state for state, _ in states]
    back = next(at for state, at in states if state == "streaming" and at > landed - 500)
    figures("page, network back to streaming again", f"{(back - landed) / 1000:.3f} s")
    assert visit.seen()["forbidden"] == []
    # Chromium itself notes what it could not send; there is nothing else.
    assert [fault for fault in visit.faults if "net::ERR_" not in fault] == []


@pytest.mark.parametrize(
    ("prompt", "text", "said"),
    [("broken", "", "out of memory"), ("cut", "Half an answer", "broke off")],
)
def test_a_failure_is_told(visit: Visit, prompt: str, text: str, said: str) -> None:
    visit.run(prompt)
    visit.wait("stream", "failed")
    visit.wait("whole", "failed")
    assert visit.text() == text
    for pane in ("streamed", "whole"):
        expect(visit.page.locator(f".pane.{pane} [role=alert]")).to_contain_text(said)
    expect(visit.page.get_by_test_id("run")).to_be_enabled()
    assert visit.seen()["forbidden"] == []


def test_what_a_model_writes_is_not_obeyed(visit: Visit) -> None:
    visit.run("markup")
    visit.wait("stream", "done")
    visit.wait("whole", "done")
    panes = visit.page.locator(".prose")
    assert panes.locator("h1, h2, h3").first.text_content() == "Title"
    assert panes.locator("strong").first.text_content() == "bold"
    assert panes.locator("td").count() >= 2
    assert panes.locator("script, [onerror], img[src^=http], a[href^=javascript]").count() == 0
    visit.assert_clean()


SIZES: dict[str, dict[str, Any]] = {
    "light": {"viewport": ViewportSize(width=1280, height=800), "color_scheme": "light"},
    "dark": {"viewport": ViewportSize(width=1280, height=800), "color_scheme": "dark"},
    "phone": {
        "viewport": ViewportSize(width=390, height=844),
        "color_scheme": "light",
        "is_mobile": True,
        "has_touch": True,
        "device_scale_factor": 2,
    },
}


@pytest.mark.parametrize("look", SIZES)
def test_how_it_looks(
    browser: Browser, with_model: Server, look: str, tmp_path: Path, figures: Figures
) -> None:
    visit = Visit(browser, with_model.port, **SIZES[look])
    shots = [visit.page.screenshot(path=tmp_path / f"{look}-before.png")]
    visit.run(PROMPT)
    enough = "() => document.getElementById('stream-pane').textContent.length > 250"
    visit.page.wait_for_function(enough, timeout=60_000)
    shots.append(visit.page.screenshot(path=tmp_path / f"{look}-middle.png"))
    if look == "light" and os.environ.get("HEADWATER_SCREENSHOTS") == "1":
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        IMAGE.write_bytes(shots[-1])
    visit.page.get_by_test_id("stop").click()
    visit.wait("stream", "stopped")
    visit.wait("whole", "stopped")
    shots.append(visit.page.screenshot(path=tmp_path / f"{look}-end.png", full_page=True))
    assert len(set(shots)) == 3
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visit.page.evaluate(overflow) <= 0, "it scrolls sideways"
    figures(f"screenshots, {look}", str(tmp_path))
    visit.assert_clean()
    visit.context.close()
