"""Break it and Waterfall, in a real browser: each lever, and what it leaves behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.page import BOUND_S, Visit
from tests.helpers.servers import Server

pytestmark = pytest.mark.system

#: Events of the tape: a start, 322 pieces, an end.
STORY = 324
AFTER = 40
WHOLE = re.compile(r"Each of the \d+ events of the log arrived once, in order\.")


@pytest.fixture
def visit(browser: Browser, with_model: Server) -> Iterator[Visit]:
    visit = Visit(browser, with_model.url, "break")
    yield visit
    visit.context.close()


def assert_whole(visit: Visit, events: int | None = None) -> None:
    """What the page counted is what the log holds."""
    expect(visit.get("audit")).to_have_text(WHOLE, timeout=BOUND_S * 1000)
    figures = {
        name: visit.text(name)
        for name in ("received", "logged", "duplicates", "gaps", "disorder", "differing")
    }
    assert figures["received"] == figures["logged"]
    assert events is None or figures["received"] == str(events)
    assert {figures[name] for name in ("duplicates", "gaps", "disorder", "differing")} == {"0"}


def test_cuts_are_survived(visit: Visit) -> None:
    visit.choose("tape/story?speed=2")
    visit.get("break-run").click()
    frames = visit.get("frames")
    for connection, length in enumerate((100, 400, 700), 2):
        visit.wait_for_text("break-text", length)
        visit.get("cut").click()
        # Now, since the list keeps the newest lines, and the story has more of them.
        expect(frames.get_by_text("you cut the connection")).to_have_count(connection - 1)
        resumed = re.compile(rf"connection {connection}: GET, Last-Event-ID 1-\d+")
        expect(frames.get_by_text(resumed)).to_have_count(1)
    visit.wait("break", "done")
    assert_whole(visit, STORY)
    visit.assert_clean()


def test_five_seconds_offline_are_survived(visit: Visit) -> None:
    visit.choose("tape/story")
    visit.get("break-run").click()
    visit.wait_for_text("break-text", 100)
    visit.get("offline").click()
    visit.wait("break", "reconnecting")
    # Now, since the list keeps the newest lines, and the story has more of them.
    expect(visit.get("frames")).to_contain_text("refused, the page is offline")
    visit.wait("break", "done", 4 * BOUND_S)
    assert_whole(visit, STORY)
    visit.assert_clean()


def test_behind_a_buffering_proxy_nothing_comes_until_the_end(visit: Visit) -> None:
    visit.choose("tape/story?speed=2")
    visit.get("break-run").click()
    visit.wait_for_text("break-text", 100)
    visit.get("buffer").click()
    expect(visit.get("frames")).to_contain_text("held back until its end")
    held = visit.text("received")
    visit.page.wait_for_timeout(500)
    assert visit.text("received") == held != str(STORY)
    visit.wait("break", "done")
    assert_whole(visit, STORY)
    visit.assert_clean()


@pytest.mark.parametrize(
    ("lever", "said", "events"),
    [
        ("kill", "truncated", AFTER + 2),
        ("error", "upstream_error", AFTER + 2),
        ("refuse", "upstream_error", 2),
    ],
)
def test_an_upstream_that_fails_is_told(visit: Visit, lever: str, said: str, events: int) -> None:
    visit.get(lever).click()
    visit.wait("break", "failed")
    expect(visit.panel.get_by_role("alert")).to_contain_text(said)
    assert_whole(visit, events)
    visit.assert_clean()


def test_an_upstream_that_stalls_can_be_stopped(visit: Visit) -> None:
    visit.get("stall").click()
    expect(visit.get("received")).to_have_text(str(AFTER + 1), timeout=BOUND_S * 1000)
    visit.wait("break", "streaming")
    visit.get("break-stop").click()
    visit.wait("break", "stopped")
    assert_whole(visit, AFTER + 2)
    visit.assert_clean()


def test_a_fault_of_the_server_would_be_seen(visit: Visit) -> None:
    """The counters are no picture: a log that holds another event is told."""

    def tamper(route: object) -> None:
        response = route.fetch()  # type: ignore[attr-defined]
        body = response.text().replace('"text":"High"', '"text":"Low"')
        route.fulfill(response=response, body=body)  # type: ignore[attr-defined]

    visit.page.route(re.compile(r"/v1/streams/\w+\?wire=native"), tamper)
    visit.choose("tape/story?speed=max")
    visit.get("break-run").click()
    expect(visit.get("differing")).to_have_text("1", timeout=BOUND_S * 1000)
    expect(visit.get("audit")).to_contain_text("not what the log holds")


def test_the_waterfall_accounts_for_the_first_token(visit: Visit) -> None:
    visit.show("Waterfall")
    expect(visit.panel).to_contain_text("Run something in another tab")
    visit.show("Break it")
    visit.choose("tape/story?speed=4")
    visit.get("break-run").click()
    visit.wait("break", "done")
    visit.show("Chat")
    visit.say("Say hello in one sentence.", "smollm2-135m")
    visit.wait("chat", "done", 90)
    visit.show("Waterfall")
    expect(visit.get("traces").get_by_role("button")).to_have_count(2)
    for name in ("Chat, ", "Break it, stop"):
        visit.get("traces").get_by_role("button", name=name).click()
        rows = visit.get("trace").locator("tbody tr")
        expect(rows).to_have_count(7)
        shares = [milliseconds(cell or "") for cell in rows.locator(".figure").all_text_contents()]
        told = visit.get("trace").locator("[data-summary]").text_content() or ""
        total = re.match(r"On the screen after ([\d.]+) s", told)
        assert total is not None, told
        # Each figure is rounded, above a second to ten milliseconds.
        assert sum(shares) == pytest.approx(float(total[1]) * 1000, abs=15)
        assert shares[2] + shares[3] > sum(shares) / 2, "the provider takes longest"
    # 321 gaps between 322 pieces, and each is counted.
    counts = visit.get("trace").locator(".histogram .count").all_text_contents()
    assert sum(map(int, counts)) == STORY - 3
    visit.assert_clean()


def milliseconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * (1000 if unit == "s" else 1)
