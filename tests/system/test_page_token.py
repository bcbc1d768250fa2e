"""The page of a server without keys, for a reader who is not its own user."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.page import Visit
from tests.helpers.proxies import proxy
from tests.helpers.users import as_root, open_folder
from tests.server.serving import serving

pytestmark = pytest.mark.system


@as_root
def test_the_token_in_its_address_lets_in_and_is_not_kept(browser: Browser, tmp_path: Path) -> None:
    """Behind a bare nginx of another user, as the address is printed."""
    with serving("--store", "memory://", cwd=tmp_path) as served, open_folder() as folder:
        token = served.line(r"/\?token=(\S+)")[1]
        here = f"http://127.0.0.1:{served.port}"

        def bare(listen: str) -> str:
            return f"server {{ listen {listen}; location / {{ proxy_pass {here}; }} }}"

        with proxy("nginx", folder / "nginx", bare, user="www-data") as port:
            there = f"http://127.0.0.1:{port}"
            stranger = browser.new_context().new_page()
            stranger.goto(there)
            expect(stranger.get_by_role("dialog")).to_be_visible()
            stranger.context.close()
            visit = Visit(browser, f"{there}/?token={token}#")
            assert token not in visit.page.url
            assert visit.page.evaluate("history.length") <= 2
            assert token not in str(
                visit.page.evaluate("performance.getEntries().map(e => e.name)")
            )
            [cookie] = visit.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            visit.page.reload()
            visit.run("Tell a story.", "tape/story")
            visit.wait("streamed", "done")
            visit.context.close()
