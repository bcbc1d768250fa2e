"""Doctor, in a real browser: the server itself, and behind a real nginx that spoils streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.helpers.nginx import nginx
from tests.helpers.page import BOUND_S, Visit
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

#: A rhythm of 2 s is asked for up to four times.
_EXAMINED_S = 4 * BOUND_S

# nginx asks in HTTP/1.0 where it is not told otherwise; in 1.1 it would pass each chunk on.
_BUFFERS = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
_CACHES = "proxy_cache one; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control X-Accel-Buffering;"  # fmt: skip
_SPOILS = f"""{_CACHES} gzip on; gzip_types text/event-stream; gzip_proxied any;
    proxy_hide_header Headwater-Stream; proxy_set_header Last-Event-ID "";"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tmp_path.chmod(0o755)
    with serve(cwd=tmp_path, environ={"HEADWATER_AUTH__ANONYMOUS": "true"}) as running:
        yield running


def behind(server: Server, directives: str) -> Callable[[str], str]:
    """A site that passes `/ai/` on, with `directives`."""
    return lambda listen: (
        f"""server {{ listen {listen}; location /ai/ {{
        proxy_pass {server.url}/; proxy_set_header Host $http_host; {directives} }} }}"""
    )


def examine(visit: Visit, button: str = "run") -> dict[str, str]:
    """The status of each check, by its name."""
    visit.get(f"doctor-{button}").click()
    visit.wait("doctor", "done", _EXAMINED_S)
    return {
        item.locator(".name").inner_text(): item.locator("b").inner_text()
        for item in visit.get("findings").get_by_role("listitem").all()
    }


def flaws(found: dict[str, str]) -> dict[str, str]:
    return {name: status for name, status in found.items() if status != "ok"}


def test_the_server_itself_is_healthy(browser: Browser, server: Server) -> None:
    visit = Visit(browser, server.url, "doctor")
    assert flaws(examine(visit)) == {"silence": "not told"}
    expect(visit.get("doctor-verdict")).to_have_text("A stream reaches this browser as a stream.")
    expect(visit.get("change")).to_be_hidden()
    visit.assert_clean()
    visit.context.close()


@pytest.mark.proof
def test_twenty_seconds_of_silence_pass(browser: Browser, server: Server) -> None:
    visit = Visit(browser, server.url, "doctor")
    assert flaws(examine(visit, "silence")) == {}
    visit.assert_clean()
    visit.context.close()


def test_an_nginx_that_buffers_is_found(browser: Browser, server: Server, tmp_path: Path) -> None:
    config = behind(server, _BUFFERS)
    with nginx(tmp_path, config) as port:
        base = f"http://127.0.0.1:{port}/ai"
        visit = Visit(browser, f"{base}/#doctor")
        assert flaws(examine(visit)) == {
            "buffering": "fault",
            "http-version": "advice",
            "silence": "not told",
        }
        expect(visit.get("finding-buffering")).to_contain_text("came together, at the end")
        expect(visit.get("doctor-verdict")).to_have_text("1 fault between the server and here.")
        expect(visit.get("change")).to_contain_text(f"headwater doctor {base}")
        assert visit.faults == []
        visit.context.close()


def test_what_else_an_nginx_spoils_is_found(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    config = behind(server, _SPOILS)
    with nginx(tmp_path, config, "proxy_cache_path cache keys_zone=one:1m;") as port:
        visit = Visit(browser, f"http://127.0.0.1:{port}/ai/#doctor")
        found = examine(visit)
        assert flaws(found) == {
            "buffering": "fault",
            "compression": "fault",
            "caching": "fault",
            "headers-in": "fault",
            "headers-out": "fault",
            "http-version": "advice",
            "silence": "not told",
        }
        expect(visit.get("finding-headers-in")).to_contain_text("server: Last-Event-ID")
        expect(visit.get("finding-headers-out")).to_contain_text("here: headwater-stream")
        visit.context.close()


def test_it_is_stopped_and_asked_again(browser: Browser, server: Server) -> None:
    visit = Visit(browser, server.url, "doctor")
    visit.get("doctor-silence").click()
    visit.page.keyboard.press("Escape")
    visit.wait("doctor", "stopped")
    expect(visit.get("doctor-verdict")).to_have_text(re.compile("Stopped"))
    assert flaws(examine(visit)) == {"silence": "not told"}
    visit.assert_clean()
    visit.context.close()
