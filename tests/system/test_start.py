"""docs/start.md as a newcomer follows it: either of its apps, and its page in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from headwater.testing import MODELS, FaultyUpstream, chat
from tests.docs.blocks import blocks
from tests.helpers.servers import flask_run, uvicorn

pytestmark = pytest.mark.system

WORDS = ["Light ", "is ", "scattered."]
ELEMENT = "headwater-stream"


@pytest.mark.parametrize("framework", ["Flask", "FastAPI"])
def test_the_page_shows_an_answer(browser: Browser, framework: str, tmp_path: Path) -> None:
    app, page, element = pieces(framework)
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "static").mkdir()
    index = tmp_path / "static" / "index.html"
    index.write_text(page)
    answer = chat(WORDS)
    host = flask_run if framework == "Flask" else uvicorn
    with (
        FaultyUpstream(lambda asked: MODELS if asked.method == "GET" else answer) as upstream,
        host("app:app", cwd=tmp_path, environ={"HEADWATER_SERVER__UPSTREAM": upstream.url}) as at,
    ):
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(at.url)
        tab.get_by_role("button", name="Ask").click()
        tab.get_by_text("".join(WORDS)).wait_for(timeout=30_000)
        index.write_text(element)
        tab.goto(at.url)
        tab.locator(ELEMENT).get_by_text("".join(WORDS)).wait_for(timeout=30_000)
        context.close()


def pieces(framework: str) -> tuple[str, str, str]:
    """The app and the page of Start, and the element of the guide for pages, at the same prefix."""
    apps = [b.text for b in blocks("python") if b.page == "docs/start.md"]
    (page,) = (b.text for b in blocks("html") if b.page == "docs/start.md")
    (element,) = (
        b.text for b in blocks("html") if b.page == "docs/guides/page.md" and "/ai" in b.text
    )
    (app,) = (text for text in apps if f"{framework}(" in text)
    return app, page, element
