"""Chat, in a real browser: a conversation that outlives reloads, and that other tabs follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from headwater.testing import Answer, FaultyUpstream, Request, chat, reply
from tests.helpers.page import BOUND_S, Visit
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

LAST = "begin with the first drop."


@pytest.fixture
def visit(browser: Browser, with_model: Server) -> Iterator[Visit]:
    visit = Visit(browser, with_model.url, "chat")
    yield visit
    visit.context.close()


def test_the_embedded_model_answers_and_its_tokens_are_counted(visit: Visit) -> None:
    expect(visit.get("model")).to_have_text(re.compile(r"smollm2-135m \(default\)"))
    visit.say("Say hello in one sentence.")
    visit.wait("chat", "done", 90)
    assert visit.text("chat-text")
    expect(visit.get("usage")).to_have_text(re.compile(r"\d+ tokens in, \d+ out · first after"))
    visit.assert_clean()


def test_thoughts_are_folded_and_markdown_is_shown(visit: Visit) -> None:
    visit.say("Which river fills the pool?", "tape/reasoning?speed=max")
    visit.wait("chat", "done")
    answer = visit.get("answer")
    assert answer.locator("table td").count() >= 8
    assert answer.locator("pre code").count() == 1
    thoughts = answer.locator("[data-thoughts]")
    expect(thoughts).to_be_hidden()
    answer.get_by_text("Thinking").click()
    expect(thoughts).to_be_visible()
    expect(visit.get("usage")).to_contain_text("of them thought")
    visit.assert_clean()


def test_a_reload_in_the_middle_goes_on(visit: Visit) -> None:
    visit.say("Tell me a story.", "tape/story?speed=2")
    for length in (200, 600):
        visit.wait_for_text("chat-text", length)
        visit.page.reload()
    visit.wait("chat", "done")
    assert visit.text("chat-text").endswith(LAST)
    # What is over is shown as it was, without asking the server.
    asked = len(visit.streams)
    visit.page.reload()
    visit.wait("chat", "done")
    assert visit.text("chat-text").endswith(LAST)
    assert len(visit.streams) == asked
    visit.assert_clean()


def test_a_second_tab_follows_and_may_stop_it(visit: Visit) -> None:
    visit.say("Tell me a story.", "tape/story?speed=2")
    visit.wait_for_text("chat-text", 200)
    second = visit.another()
    second.wait_for_text("chat-text", 300)
    assert second.streams == []
    second.get("chat-stop").click()
    for tab in (visit, second):
        tab.wait("chat", "stopped")
    assert visit.text("chat-text") == second.text("chat-text") != ""
    # What is asked in one tab is then seen in the other.
    visit.say("And again.", "tape/story?speed=20")
    expect(second.get("answer")).to_have_count(2)
    second.wait("chat", "done")
    assert second.text("chat-text").endswith(LAST)
    assert visit.faults + second.faults == []


def test_it_can_be_asked_again_copied_and_left_behind(visit: Visit) -> None:
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.say("Tell me a story.", "tape/story?speed=max")
    visit.wait("chat", "done")
    before = visit.get("answer").last.element_handle()
    visit.get("answer").get_by_role("button", name="Ask again").click()
    before.wait_for_element_state("hidden")
    visit.wait("chat", "done")
    expect(visit.get("answer")).to_have_count(1)
    visit.get("answer").get_by_role("button", name="Copy").click()
    expect(visit.get("answer").get_by_role("button", name="Copied")).to_be_visible()
    assert visit.page.evaluate("navigator.clipboard.readText()").strip().endswith(LAST)
    visit.get("new-chat").click()
    expect(visit.get("answer")).to_have_count(0)
    visit.page.reload()
    expect(visit.get("talk")).to_contain_text("A conversation.")
    visit.assert_clean()


@pytest.mark.parametrize(
    ("model", "said", "code"),
    [
        ("tape/story?cut=40&speed=20", "broke off", "truncated"),
        ("tape/story?refuse", "", "upstream_error"),
        ("tape/stor", "tape/story", "model_not_found"),
    ],
)
def test_an_error_says_what_happened_and_can_be_tried_again(
    visit: Visit, model: str, said: str, code: str
) -> None:
    visit.say("Tell me a story.", model)
    visit.wait("chat", "failed")
    notice = visit.get("answer").get_by_role("alert")
    expect(notice).to_contain_text(said)
    expect(notice).to_contain_text(code)
    visit.choose("tape/story?speed=max")
    notice.get_by_role("button", name="Try again").click()
    visit.wait("chat", "done")
    assert visit.text("chat-text").endswith(LAST)
    # A refused request is in the console too: that is Chromium's own doing.
    assert [fault for fault in visit.faults if "status of 404" not in fault] == []


def test_what_was_said_goes_with_the_next_question(browser: Browser, tmp_path: Path) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        if request.method == "GET":
            return reply(200, {"object": "list", "data": [{"id": "parrot", "object": "model"}]})
        asked.append(request)
        return chat([f"Answer {len(asked)}"])

    with (
        FaultyUpstream(answer) as upstream,
        serve("--upstream", upstream.url, cwd=tmp_path) as server,
    ):
        visit = Visit(browser, server.url, "chat")
        for number in (1, 2):
            visit.say(f"Question {number}")
            expect(visit.get("answer")).to_have_count(number)
            visit.wait("chat", "done", BOUND_S)
        visit.assert_clean()
        visit.context.close()
    assert [(one["role"], one["content"]) for one in asked[-1].json["messages"]] == [
        ("user", "Question 1"),
        ("assistant", "Answer 1"),
        ("user", "Question 2"),
    ]
