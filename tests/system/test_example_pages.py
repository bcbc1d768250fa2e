"""The examples with a page, in Chromium, as their reader sees them: one table, since they all ask
by a prompt and a button, show an answer and an alert, and can be stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    FaultyProxy,
    FaultyUpstream,
    Gate,
    Request,
    chunk,
    event,
)
from tests.helpers.examples import example
from tests.helpers.polling import eventually
from tests.helpers.servers import Server

pytestmark = pytest.mark.system

TOKENS = ["<b>Ray</b>", "leigh ", "天空", "🌊\n\n", "<img src=x onerror=alert(1)>", "end."]
BOUND_MS = 20_000

EXAMPLES = ("flask_nginx", "fastapi_react", "ai_sdk")


class World:
    """One example behind a proxy that can cut it, and what its upstream answers.

    A gate stands before every token but the first.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.renew()

    def renew(self) -> None:
        self.gates = [Gate() for _ in TOKENS[1:]]

    def answer(self, asked: Request) -> Answer:
        if asked.method == "GET":
            return MODELS
        said = [chunk({"content": token}) for token in TOKENS]
        gated = [step for pair in zip(self.gates, said[1:], strict=True) for step in pair]
        failure = event({"error": {"message": "overloaded"}})
        return {
            "tokens": Answer([said[0], *gated, chunk({}, "stop"), DONE]),
            "stall": Answer([said[0], STALL]),
            "broken": Answer([said[0], failure, DONE]),
            "silent": Answer([STALL]),
        }[asked.json["messages"][-1]["content"]]

    def go_on(self) -> None:
        for gate in self.gates:
            gate.set()


@pytest.fixture(scope="module", params=EXAMPLES)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[World, Server, FaultyUpstream]]:
    world = World(request.param)
    # No heartbeat helps: what a page knows before the first token, it knows from the head.
    settings = {"HEADWATER_SERVER__HEARTBEAT_S": "600"}
    with FaultyUpstream(world.answer) as upstream:
        settings["HEADWATER_SERVER__UPSTREAM"] = upstream.url
        with example(request.param, settings) as server:
            yield world, server, upstream


@pytest.fixture
def world(running: tuple[World, Server, FaultyUpstream]) -> World:
    running[0].renew()
    return running[0]


@pytest.fixture
def upstream(running: tuple[World, Server, FaultyUpstream]) -> FaultyUpstream:
    return running[2]


@pytest.fixture
def proxy(running: tuple[World, Server, FaultyUpstream]) -> Iterator[FaultyProxy]:
    with FaultyProxy(running[1].port) as between:
        yield between


@pytest.fixture
def page(browser: Browser, proxy: FaultyProxy) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(proxy.url)
    yield page
    context.close()
    assert faults == []


def ask(page: Page, prompt: str) -> None:
    page.get_by_role("textbox", name="Prompt").fill(prompt)
    page.get_by_role("button", name="Ask").click()


def shows(page: Page, text: str) -> None:
    expect(page.get_by_label("Answer").last).to_have_text(text, timeout=BOUND_MS)


def stop(page: Page) -> Locator:
    return page.get_by_role("button", name="Stop")


def is_over(page: Page) -> None:
    expect(stop(page)).to_have_count(0, timeout=BOUND_MS)
    expect(page.get_by_role("button", name="Ask")).to_be_enabled()


def test_tokens_are_shown_one_by_one_and_as_text(page: Page, world: World) -> None:
    ask(page, "tokens")
    for number, gate in enumerate(world.gates, 1):
        shows(page, "".join(TOKENS[:number]))
        gate.set()
    shows(page, "".join(TOKENS))
    assert page.locator("main :is(b, img)").count() == 0
    is_over(page)


def test_a_reload_goes_on_without_a_second_generation(
    page: Page, world: World, upstream: FaultyUpstream
) -> None:
    before = len(upstream.posts)
    ask(page, "tokens")
    shows(page, TOKENS[0])
    page.reload()
    shows(page, TOKENS[0])
    world.go_on()
    shows(page, "".join(TOKENS))
    is_over(page)
    assert len(upstream.posts) == before + 1


def test_a_cut_goes_on(
    page: Page, world: World, proxy: FaultyProxy, upstream: FaultyUpstream
) -> None:
    before = len(upstream.posts)
    ask(page, "tokens")
    shows(page, TOKENS[0])
    assert proxy.cut() > 0
    world.go_on()
    shows(page, "".join(TOKENS))
    is_over(page)
    expect(page.get_by_role("alert")).to_have_text("")
    assert len(upstream.posts) == before + 1


@pytest.mark.parametrize("reloaded", [False, True])
def test_stop_frees_the_upstream(page: Page, upstream: FaultyUpstream, reloaded: bool) -> None:
    ask(page, "stall")
    shows(page, TOKENS[0])
    if reloaded:
        page.reload()
        shows(page, TOKENS[0])
    asked = upstream.posts[-1]
    stop(page).click()
    is_over(page)
    eventually(lambda: asked.freed_at is not None, "the upstream's freeing")
    shows(page, TOKENS[0])


def test_what_has_not_begun_is_found_again_and_stopped(
    page: Page, upstream: FaultyUpstream
) -> None:
    before = len(upstream.posts)
    ask(page, "silent")
    # By either of which it is found again.
    page.wait_for_function("location.hash || sessionStorage['headwater:answer']?.includes('id')")
    page.reload()
    stop(page).click(timeout=BOUND_MS)
    is_over(page)
    asked = upstream.posts[-1]
    eventually(lambda: asked.freed_at is not None, "the upstream's freeing")
    assert len(upstream.posts) == before + 1


def test_an_error_inside_the_stream_is_shown(page: Page) -> None:
    ask(page, "broken")
    expect(page.get_by_role("alert")).to_contain_text("overloaded", timeout=BOUND_MS)
    shows(page, TOKENS[0])
    is_over(page)


def test_a_second_tab_shows_the_same_answer(
    page: Page, world: World, upstream: FaultyUpstream
) -> None:
    if world.name == "flask_nginx":
        pytest.skip("it remembers its answer for its own tab")
    before = len(upstream.posts)
    ask(page, "tokens")
    shows(page, TOKENS[0])
    expect(page).to_have_url(re.compile("#."))
    other = page.context.new_page()
    other.goto(page.url)
    shows(other, TOKENS[0])
    world.go_on()
    for tab in (page, other):
        shows(tab, "".join(TOKENS))
        is_over(tab)
    assert len(upstream.posts) == before + 1
