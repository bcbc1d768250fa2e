"""Compare, in a real browser: one prompt, streamed and whole."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from headwater.testing import MODELS, STALL, Answer, FaultyProxy, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.conftest import Figures
from tests.helpers.page import BOUND_S, Visit
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

PROMPT = "Explain how a river finds its way to the sea, in five paragraphs."
# The embedded model often writes until its 2,048 tokens are full; to this it seldom does.
SHORT = "Say hello in one sentence."
RESUMED = """(times) =>
    seen.states.filter(([state]) => state === "reconnecting").length === times
    && seen.states.at(-1)[0] === "streaming"
"""
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


def letters(words: int) -> int:
    """How many characters so many of the words have, at the least."""
    return 6 * words


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


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    visit = Visit(browser, server.url)
    yield visit
    visit.context.close()


@pytest.mark.timeout(300)
def test_the_first_token_of_the_embedded_model_is_early(demo: Visit, figures: Figures) -> None:
    visit = demo
    # Once, so that the model is loaded: it is not this that is looked at.
    visit.run(PROMPT)
    visit.page.wait_for_function("() => seen.streamed !== null", timeout=20_000)
    visit.get("stop").click()
    visit.wait("streamed", "stopped")
    # Not a reload, after which the page shows what was there before.
    visit.page.goto(visit.base)
    visit.run(SHORT)
    visit.page.wait_for_function("() => seen.streamed !== null", timeout=20_000)
    assert visit.text("whole-pane") == ""
    assert visit.seen()["ended"] is None, "the answer was whole"
    visit.wait("streamed", "done", 90)
    visit.wait("whole", "done", 90)
    seen = visit.seen()
    assert seen["streamed"] < seen["ended"]
    assert seen["streamed"] < seen["whole"]
    assert seen["pieces"] >= 5, "painted as lumps"
    first, whole = ((seen[name] - seen["began"]) / 1000 for name in ("streamed", "whole"))
    figures(
        "page, embedded model: text on the screen",
        f"streamed after {first:.2f} s, whole after {whole:.2f} s",
    )
    for metric in ("streamed-first-token", "streamed-total", "whole-total"):
        text = visit.get(metric).text_content() or ""
        assert re.fullmatch(r"\d+\.\d+ s", text), (metric, text)
    visit.assert_clean()


def test_both_panes_show_the_same_text(visit: Visit, upstream: Upstream) -> None:
    expect(visit.get("model")).to_have_text(re.compile(r"test-model \(default\)"))
    before = len(upstream.posts)
    visit.run("tokens")
    visit.wait("streamed", "done")
    visit.wait("whole", "done")
    assert visit.text() == visit.text("whole-pane") == "".join(TOKENS).strip()
    assert len(upstream.posts) == before + 2
    visit.assert_clean()


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_frees_the_upstream(
    visit: Visit, upstream: Upstream, figures: Figures, how: str
) -> None:
    before = len(upstream.posts)
    visit.run("stall")
    expect(visit.get("streamed-pane")).to_have_text("Wait for it")
    upstream.wait(lambda: len(upstream.posts) == before + 2)
    if how == "button":
        visit.get("stop").click()
    else:
        visit.page.keyboard.press("Escape")
    asked = upstream.posts[before:]
    upstream.wait(lambda: all(one.hung_up_at is not None for one in asked), 2)
    # From the click in the page, not from Playwright's way to it; by one machine's two clocks.
    stopped = visit.seen()["stopped"] / 1000 - (time.time() - time.monotonic())
    freed = max(one.hung_up_at or 0.0 for one in asked) - stopped
    figures(f"page, {how}: stop to upstream freed", f"{freed:.3f} s")
    visit.wait("streamed", "stopped")
    visit.wait("whole", "stopped")
    expect(visit.get("run")).to_be_enabled()
    assert visit.text() == "Wait for it"
    visit.assert_clean()


def test_a_connection_that_is_really_cut_comes_back(
    browser: Browser, server: Server, upstream: Upstream, figures: Figures
) -> None:
    asked_before = len(upstream.posts)
    with FaultyProxy(server.port) as proxy:
        visit = Visit(browser, f"http://127.0.0.1:{proxy.port}")
        visit.run("tokens")
        for number in (1, 2, 3):
            visit.wait_for_text("streamed-pane", letters(10 * number))
            assert proxy.cut(asked=b"/v1/streams") == 1
            visit.page.wait_for_function(RESUMED, arg=number, timeout=BOUND_S * 1000)
        visit.wait("streamed", "done")
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
        visit.assert_only_network_faults()
        visit.context.close()


def test_a_reload_goes_on_with_the_answer(
    visit: Visit, upstream: Upstream, figures: Figures
) -> None:
    before = len(upstream.posts)
    visit.run("tokens")
    for words in (15, 40):
        visit.wait_for_text("streamed-pane", letters(words))
        visit.page.reload()
    began = time.monotonic()
    visit.wait_for_text("streamed-pane", letters(40))
    figures("page, reloaded: the text is back", f"{time.monotonic() - began:.3f} s")
    visit.wait("streamed", "done")
    assert visit.text() == "".join(TOKENS).strip()
    assert visit.get("prompt").input_value() == "tokens"
    assert len(upstream.posts) == before + 2, "one for each pane, and none for a reload"
    # The page as it is when the answer is over: the same.
    visit.page.reload()
    visit.wait("streamed", "done")
    assert visit.text() == "".join(TOKENS).strip()
    assert len(upstream.posts) == before + 2
    visit.assert_clean()


def test_a_second_tab_shows_the_same_answer(visit: Visit, upstream: Upstream) -> None:
    before = len(upstream.posts)
    visit.run("long")
    visit.wait_for_text("streamed-pane", letters(10))
    second, third = visit.another(), visit.another()
    second.wait_for_text("streamed-pane", letters(20))
    third.wait_for_text("streamed-pane", letters(20))
    assert second.streams == third.streams == []
    # The tab that reads is closed: another goes on where it was.
    visit.page.close()
    for tab in (second, third):
        expect(tab.get("streamed-state")).to_have_text("done", timeout=20_000)
        assert tab.text() == "".join(LONG).strip()
    assert len(second.streams) + len(third.streams) == 1
    assert len(upstream.posts) == before + 2
    assert visit.faults + second.faults + third.faults == []


def test_stop_in_one_tab_stops_it_in_all(visit: Visit, upstream: Upstream) -> None:
    before = len(upstream.posts)
    visit.run("stall")
    expect(visit.get("streamed-pane")).to_have_text("Wait for it")
    second = visit.another()
    expect(second.get("streamed-pane")).to_have_text("Wait for it")
    second.get("stop").click()
    visit.wait("streamed", "stopped")
    expect(second.get("streamed-state")).to_have_text("stopped")
    assert visit.text() == second.text() == "Wait for it"
    asked = upstream.posts[before:]
    assert len(asked) == 2
    upstream.wait(lambda: sum(one.hung_up_at is not None for one in asked) == 1, 2)
    # The whole answer was asked for by the first tab alone.
    visit.get("stop").click()
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
    visit.wait_for_text("streamed-pane", letters(20))
    fly(True)
    visit.page.wait_for_timeout(5000)
    assert visit.page.evaluate("navigator.onLine") is False
    fly(False)
    landed = visit.page.evaluate("performance.now()")
    visit.wait("streamed", "done")
    assert visit.text() == "".join(LONG).strip()
    assert len(upstream.posts) == before + 2
    states = visit.seen()["states"]
    assert "reconnecting" in [state for state, _ in states]
    back = next(at for state, at in states if state == "streaming" and at > landed - 500)
    figures("page, network back to streaming again", f"{(back - landed) / 1000:.3f} s")
    visit.assert_only_network_faults()


@pytest.mark.parametrize(
    ("prompt", "text", "said"),
    [("broken", "", "out of memory"), ("cut", "Half an answer", "broke off")],
)
def test_a_failure_is_told(visit: Visit, prompt: str, text: str, said: str) -> None:
    visit.run(prompt)
    visit.wait("streamed", "failed")
    visit.wait("whole", "failed")
    assert visit.text() == text
    for pane in ("streamed", "whole"):
        expect(visit.page.locator(f".pane.{pane} [role=alert]")).to_contain_text(said)
    expect(visit.get("run")).to_be_enabled()
    assert visit.seen()["forbidden"] == []


def test_what_a_model_writes_is_not_obeyed(visit: Visit) -> None:
    visit.run("markup")
    visit.wait("streamed", "done")
    visit.wait("whole", "done")
    panes = visit.page.locator(".prose")
    assert panes.locator("h1, h2, h3").first.text_content() == "Title"
    assert panes.locator("strong").first.text_content() == "bold"
    assert panes.locator("td").count() >= 2
    assert panes.locator("script, [onerror], img[src^=http], a[href^=javascript]").count() == 0
    visit.assert_clean()


def test_several_models_are_compared_and_summed_up(demo: Visit) -> None:
    demo.get("prompt").fill("anything")
    demo.choose("tape/story?speed=20")
    expect(demo.get("model")).to_contain_text("tape/story?speed=20")
    for _ in range(2):
        demo.get("run").click()
        expect(demo.get("run")).to_be_enabled(timeout=BOUND_S * 1000)
    rows = demo.get("summary").locator("tbody tr")
    assert [row.locator("td").nth(1).text_content() for row in rows.all()] == ["2", "2"]
    demo.choose("tape/story?speed=20", "tape/tools", "tape/bursty")
    demo.get("run").click()
    # Two at a time: the third waits for its turn.
    expect(demo.get("streamed-state").nth(2)).to_have_text("waiting")
    expect(demo.get("run")).to_be_enabled(timeout=2 * BOUND_S * 1000)
    for pane in demo.panel.locator(".panes").all():
        streamed, whole = (pane.locator(f".{side} .prose") for side in ("streamed", "whole"))
        assert streamed.text_content() == whole.text_content() != ""
    assert rows.count() == 6
    demo.assert_clean()


def test_models_without_a_key_are_shown_and_cannot_be_chosen(demo: Visit) -> None:
    demo.get("model").click()
    demo.get("model-filter").fill("gpt-4o-mini")
    choices = demo.panel.locator("label.choice")
    expect(choices).to_have_count(1)
    expect(choices).to_contain_text("key missing")
    assert choices.locator("input").is_disabled()
    demo.page.keyboard.press("Escape")
    expect(demo.get("model-filter")).to_be_hidden()
    expect(demo.get("model")).to_be_focused()
