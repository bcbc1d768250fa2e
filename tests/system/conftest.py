from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.helpers.page import Visit
from tests.helpers.servers import Server, serve

CHROMIUM = "/usr/bin/chromium"

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Not of the session: while it lives there is a running event loop in this thread, which would keep
# other modules from running theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def with_model(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as `make demo` starts it: the embedded model is its default."""
    with serve(cwd=tmp_path_factory.mktemp(embedded)) as running:
        yield running


@pytest.fixture
def demo(browser: Browser, with_model: Server) -> Iterator[Visit]:
    """The page of such a server, which has its tapes as well."""
    visit = Visit(browser, with_model.url)
    yield visit
    visit.context.close()
