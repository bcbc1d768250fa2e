"""How the page looks, to eyes, to a keyboard and to axe; and where it may be served.

With HEADWATER_SCREENSHOTS=1 the pictures in docs/images are made anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.conftest import Figures
from tests.helpers.page import BOUND_S, Visit
from tests.helpers.servers import Server, serve, uvicorn

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
AXE = ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js"
PROMPT = "Explain how a river finds its way to the sea, in five paragraphs."

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": ViewportSize(width=1280, height=800), "color_scheme": "light"},
    "dark": {"viewport": ViewportSize(width=1280, height=800), "color_scheme": "dark"},
    "phone": {
        "viewport": ViewportSize(width=360, height=740),
        "color_scheme": "light",
        "reduced_motion": "reduce",
        "is_mobile": True,
        "has_touch": True,
        "device_scale_factor": 2,
    },
}


def compare(visit: Visit) -> None:
    visit.run(PROMPT, "tape/story")
    visit.wait_for_text("streamed-pane", 300)


def chat(visit: Visit) -> None:
    visit.say("How long do rivers take to fill a pool?", "tape/reasoning?speed=20")
    visit.wait("chat", "done")


def break_it(visit: Visit) -> None:
    visit.choose("tape/story?speed=4")
    visit.get("break-run").click()
    visit.wait_for_text("break-text", 300)
    visit.get("cut").click()
    expect(visit.get("audit")).to_contain_text("arrived once", timeout=BOUND_S * 1000)
    cut = visit.get("frames").get_by_text("you cut the connection")
    cut.evaluate("(note) => (note.parentElement.scrollTop = note.offsetTop - 500)")


def waterfall(visit: Visit) -> None:
    expect(visit.get("traces").get_by_role("button")).to_have_count(3)
    visit.get("traces").get_by_role("button", name="Chat").click()


def doctor(visit: Visit) -> None:
    visit.get("doctor-run").click()
    visit.wait("doctor", "done", 4 * BOUND_S)


#: What a tab is called, what fills it, what it is for, and how its picture is called.
TABS: list[tuple[str, Callable[[Visit], None], str, str]] = [
    ("Compare", compare, "streamed-pane", "page"),
    ("Chat", chat, "usage", "page-chat"),
    ("Break it", break_it, "break-text", "page-break"),
    ("Waterfall", waterfall, "trace", "page-waterfall"),
    ("Doctor", doctor, "doctor-verdict", "page-doctor"),
]

AUDIT = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}"""


@pytest.mark.parametrize("look", LOOKS)
def test_each_tab_looks_right_and_axe_finds_nothing(
    browser: Browser, with_model: Server, look: str, tmp_path: Path, figures: Figures
) -> None:
    assert AXE.exists(), "axe-core is not installed: cd js && npm ci"
    visit = Visit(browser, with_model.url, **LOOKS[look])
    visit.page.evaluate(AXE.read_text())
    for tab, fill, content, picture in TABS:
        visit.show(tab)
        fill(visit)
        # On a phone too: nothing has to be scrolled away first.
        expect(visit.get(content).last).to_be_in_viewport()
        assert visit.page.evaluate("scrollY") == 0
        path = tmp_path / f"{look}-{picture}.png"
        shot = visit.page.screenshot(path=path)
        if look == ("dark" if tab == "Break it" else "light") and os.environ.get(
            "HEADWATER_SCREENSHOTS"
        ):
            (IMAGES / f"{picture}.png").write_bytes(shot)
        assert visit.page.evaluate(AUDIT) == []
        visit.assert_clean()
    figures(f"screenshots, {look}", str(tmp_path))
    visit.context.close()


def test_the_tabs_are_moved_through_by_the_arrows(browser: Browser, with_model: Server) -> None:
    visit = Visit(browser, with_model.url)
    tabs = visit.page.get_by_role("tab")
    tabs.first.focus()
    for key, name in [
        ("ArrowRight", "Chat"),
        ("End", "Doctor"),
        ("ArrowRight", "Compare"),
        ("ArrowLeft", "Doctor"),
        ("Home", "Compare"),
    ]:
        visit.page.keyboard.press(key)
        selected = visit.page.get_by_role("tab", name=name, selected=True)
        expect(selected).to_be_focused()
        panel = visit.page.get_by_role("tabpanel", name=name)
        expect(panel).to_be_visible()
    # One of them is in the order of Tab, and the ring around what has the focus is seen.
    assert [tab.get_attribute("tabindex") for tab in tabs.all()] == ["0", "-1", "-1", "-1", "-1"]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert visit.page.evaluate(outline) == "solid"
    visit.page.keyboard.press("End")
    visit.page.reload()
    expect(visit.page.get_by_role("tab", name="Doctor", selected=True)).to_be_visible()
    visit.assert_clean()
    visit.context.close()


def test_no_token_is_announced_but_the_end_is(browser: Browser, with_model: Server) -> None:
    visit = Visit(browser, with_model.url, "chat")
    live = visit.panel.locator("[aria-live=polite], [aria-live=assertive], [role=status]")
    assert live.locator(".prose").count() == 0
    visit.say("Tell me a story.", "tape/story?speed=max")
    expect(visit.page.locator("#announcer")).to_have_text("Answer done.", timeout=BOUND_S * 1000)
    assert visit.page.locator(".prose").evaluate("(prose) => !prose.closest('[aria-live]')")
    visit.context.close()


def test_the_theme_that_was_chosen_is_kept(browser: Browser, with_model: Server) -> None:
    visit = Visit(browser, with_model.url)
    for _ in range(2):
        visit.page.get_by_test_id("theme").click()
    visit.page.reload()
    assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
    visit.context.close()


def test_without_a_key_and_without_a_model_a_tape_is_the_default(
    browser: Browser, tmp_path: Path
) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path / "empty"), "HOME": str(tmp_path)}
    with serve(cwd=tmp_path, environ=environ) as server:
        visit = Visit(browser, server.url)
        expect(visit.get("model")).to_contain_text("tape/story")
        visit.get("prompt").fill("anything")
        visit.get("run").click()
        visit.wait_for_text("streamed-pane", 20)
        visit.get("stop").click()
        visit.wait("streamed", "stopped")
        visit.assert_clean()
        visit.context.close()


KEY = "open-sesame-0123456789"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Server]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "headwater.toml").write_text(f'[auth.keys]\nann = "sha256:{digest}"\n')
    with serve(cwd=tmp_path) as running:
        yield running


def test_where_a_key_is_wanted_the_page_asks_for_it(browser: Browser, closed: Server) -> None:
    visit = Visit(browser, closed.url, listed=False)
    key = visit.page.get_by_test_id("key")
    key.fill("wrong")
    key.press("Enter")
    expect(visit.page.locator("#session-error")).not_to_be_empty()
    key.fill(KEY)
    key.press("Enter")
    expect(visit.page.locator("#models-status")).to_have_text(re.compile("ready"))
    # The session is over while the page is open: each tab asks, and goes on.
    for tab, state in (
        ("Compare", "streamed"),
        ("Chat", "chat"),
        ("Break it", "break"),
        ("Doctor", "doctor"),
    ):
        visit.show(tab)
        if tab != "Doctor":
            visit.choose("tape/story?speed=max")
        visit.context.clear_cookies()
        if tab == "Compare":
            visit.run("p")
        elif tab == "Chat":
            visit.say("p")
        elif tab == "Doctor":
            visit.get("doctor-run").click()
        else:
            visit.get("break-run").click()
        key.fill(KEY)
        key.press("Enter")
        visit.wait(state, "done")
    # A refused request is in the console too: that is Chromium's own doing.
    assert [fault for fault in visit.faults if "status of 401" not in fault] == []
    visit.assert_within_bounds()
    visit.context.close()


MOUNTED = """
from starlette.applications import Starlette
from starlette.routing import Mount

from headwater import Headwater

app = Starlette(routes=[Mount("/ai", Headwater(principal=lambda request: "ann").asgi())])
"""


def test_it_works_behind_a_prefix(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "mounted.py").write_text(MOUNTED)
    with uvicorn("mounted:app", cwd=tmp_path) as server:
        visit = Visit(browser, f"{server.url}/ai")
        visit.run("anything", "tape/story?speed=4")
        visit.wait_for_text("streamed-pane", 100)
        visit.page.reload()
        visit.wait("streamed", "done")
        visit.show("Chat")
        visit.say("anything", "tape/story?speed=max")
        visit.wait("chat", "done")
        visit.show("Break it")
        visit.choose("tape/story?speed=4")
        visit.get("break-run").click()
        visit.wait_for_text("break-text", 100)
        visit.get("cut").click()
        expect(visit.get("audit")).to_contain_text("arrived once", timeout=BOUND_S * 1000)
        visit.show("Doctor")
        doctor(visit)
        expect(visit.get("doctor-verdict")).to_contain_text("reaches this browser as a stream")
        visit.assert_clean()
        visit.context.close()
