"""The fetch loop that everyone copies, with its faults: nothing is kept between two reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from headwater.testing import MODELS, Answer, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.conftest import Figures
from tests.helpers.arrivals import assert_one_by_one, token_times
from tests.helpers.servers import Server, gunicorn, serve

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples" / "flask_plain"

LOOP = """
async (prompt) => {
  const shown = [];
  const res = await fetch("/stream", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt }),
  });
  const reader = res.body.getReader();
  const decoder = new TextDecoder();
  while (true) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = decoder.decode(value).split('\\n');
    for (const line of lines) {
      if (line.startsWith('data: ')) {
        const d = line.slice(6);
        if (d === '[DONE]') return { shown, done: true };
        shown.push([performance.now(), JSON.parse(d).token]);
      }
    }
  }
  return { shown, done: false };
}
"""

TOKENS = [
    *(f"token-{number} " for number in range(6)),
    "naïve ",
    "天空は",
    "青い ",
    "🌊",
    "👩‍👩‍👧 ",
    "«Ω»\n",
    "line\u2028line\u0085line ",
    'data: {"token": "x"}\n\n',
    "end.",
]
GAP_S = 0.05

ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=GAP_S),
    # What fits into one packet. A browser may cut more than that inside an event, and this loop
    # cannot join what was cut, whoever sends it; `headwater.js` can.
    "lump": chat(TOKENS * 2),
    "silence": Answer(
        [chunk({"content": "a"}), 1.0, chunk({"content": "🌊"}), 1.0, chunk({}, "stop")]
    ),
    "broken": reply(500, {"error": {"message": "out of memory"}}),
}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as running:
        yield running


@pytest.fixture(scope="module", params=["serve", "flask"])
def server(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    environ = {"HEADWATER_SERVER__HEARTBEAT_S": "0.2", "HEADWATER_SERVER__UPSTREAM": upstream.url}
    if request.param == "serve":
        with serve(cwd=tmp_path_factory.mktemp("serve"), environ=environ) as running:
            yield running
    else:
        with gunicorn("app:app", "--threads", "8", cwd=EXAMPLE, environ=environ) as running:
            yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    # The server's own page, whose policy of contents holds for what runs here too.
    page = browser.new_page()
    page.goto(server.url)
    yield page
    page.close()


def run(page: Page, prompt: str) -> Any:
    return page.evaluate(LOOP, prompt)


def test_every_token_is_shown_as_it_comes(page: Page, upstream: Upstream) -> None:
    result = run(page, "tokens")
    assert result["done"]
    assert [token for _, token in result["shown"]] == TOKENS
    sent = token_times(upstream)
    # The page's clock is another: the rhythm is compared, from the first token on.
    first = result["shown"][0][0]
    assert_one_by_one([sent[0] + (at - first) / 1000 for at, _ in result["shown"]], sent)


def test_the_first_token_is_early(page: Page, server: Server, figures: Figures) -> None:
    timed = f"""async (prompt) => {{
      const began = performance.now();
      return (await ({LOOP})(prompt)).shown[0][0] - began;
    }}"""
    taken = sorted(page.evaluate(timed, "lump") for _ in range(9))
    kind = "Flask" if "gunicorn" in str(server.process.args) else "headwater serve"
    figures(
        f"{kind}: first token in a Chromium page, 9 times",
        f"median {taken[4]:.1f} ms, {taken[0]:.1f} to {taken[-1]:.1f} ms",
    )


def test_many_tokens_at_once(page: Page) -> None:
    result = run(page, "lump")
    assert [token for _, token in result["shown"]] == TOKENS * 2


def test_heartbeats_are_no_tokens(page: Page) -> None:
    result = run(page, "silence")
    assert [token for _, token in result["shown"]] == ["a", "🌊"]


def test_a_failure_ends_the_loop(page: Page) -> None:
    began = time.monotonic()
    result = run(page, "broken")
    assert result["done"]
    assert time.monotonic() - began < 10


def test_the_example_s_own_page(browser: Browser, upstream: Upstream) -> None:
    environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
    with gunicorn("app:app", "--threads", "8", cwd=EXAMPLE, environ=environ) as server:
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(server.url)
        page.fill("#prompt", "tokens")
        page.click("button")
        partly = json.dumps("".join(TOKENS[:2]))
        page.wait_for_function(f"answer.textContent.startsWith({partly})")
        assert page.text_content("#answer") != "".join(TOKENS)
        whole = json.dumps("".join(TOKENS))
        page.wait_for_function(f"answer.textContent === {whole}", timeout=20_000)
        assert faults == []
        page.close()
