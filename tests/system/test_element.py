"""`<headwater-stream>` in pages that are plain HTML, with what the server itself serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    FaultyUpstream,
    Gate,
    Request,
    chat,
    chunk,
    reply,
)
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

TOKENS = ["<b>Ray</b>", "leigh ", "天空", "🌊\n\n", "<img src=x onerror=alert(1)>", "end."]
TEXT = "".join(TOKENS)
BOUND_MS = 20_000

#: A page whose author forbids all that the element could do without.
POLICY = "default-src 'none'; script-src 'self' 'nonce-n'; connect-src 'self'; style-src 'self'"
CLIENT = '<script type="module" src="/headwater.js"></script>'
WATCH = """<script nonce="n">
window.seen = []; window.forbidden = [];
for (const type of ["start", "end", "error"])
  addEventListener(type, ({ target, detail }) => {
    if (target.localName === "headwater-stream") seen.push([type, detail]);
  }, { capture: true });
addEventListener("securitypolicyviolation", ({ blockedURI }) => forbidden.push(blockedURI));
</script>"""


class World:
    """What the upstream answers, and when."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.gate = Gate()
        self.asked: list[str] = []

    def answer(self, asked: Request) -> Answer:
        if asked.method == "GET":
            return MODELS
        prompt = asked.json["messages"][-1]["content"]
        self.asked.append(prompt)
        first = chunk({"content": TOKENS[0]})
        rest = [chunk({"content": token}) for token in TOKENS[1:]]
        return {
            "tokens": chat(TOKENS),
            "half": Answer([first, self.gate, *rest, chunk({}, "stop"), DONE]),
            "stall": Answer([first, STALL]),
            "broken": reply(400, {"error": {"message": "no such thing"}}),
        }[prompt]


@pytest.fixture(scope="module")
def one_world() -> World:
    return World()


@pytest.fixture
def world(one_world: World) -> World:
    one_world.renew()
    return one_world


@pytest.fixture(scope="module")
def server(one_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        FaultyUpstream(one_world.answer) as upstream,
        serve("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("element")) as running,
    ):
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def show(page: Page, server: Server, body: str, *, script: str = CLIENT) -> list[str]:
    """Open a page with this body at the server's address; gives the paths it asks for."""
    html = f"<!doctype html><meta charset=utf-8><title>A page</title>{WATCH}{script}{body}"
    headers = {"Content-Security-Policy": POLICY, "Content-Type": "text/html"}
    page.route("**/page.html", lambda route: route.fulfill(body=html, headers=headers))
    paths: list[str] = []
    page.on("request", lambda asked: paths.append(asked.url.removeprefix(server.url)))
    page.goto(f"{server.url}/page.html")
    return paths


def element(prompt: str, attributes: str = "", content: str = "") -> str:
    return f'<headwater-stream prompt="{prompt}" {attributes}>{content}</headwater-stream>'


def wait(page: Page, status: str, text: str = TEXT) -> None:
    found = page.locator("headwater-stream")
    expect(found).to_have_attribute("data-status", status, timeout=BOUND_MS)
    assert found.evaluate("element => element.textContent") == text


def events(page: Page) -> list[tuple[str, Any]]:
    assert page.evaluate("forbidden") == []
    return [(kind, detail) for kind, detail in page.evaluate("seen")]


def test_an_answer_in_a_page_without_a_script_of_its_own(
    page: Page, server: Server, world: World
) -> None:
    paths = show(page, server, element("half", 'src="/v1/streams"', "One moment …"))
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    assert page.get_attribute("headwater-stream", "aria-busy") == "true"
    assert page.evaluate("document.querySelector('headwater-stream').shadowRoot.textContent") == ""
    world.gate.set()
    wait(page, "done")
    assert page.get_attribute("headwater-stream", "aria-busy") == "false"
    assert page.locator("headwater-stream :is(b, img)").count() == 0
    (started, start), (ended, end) = events(page)
    assert (started, ended) == ("start", "end")
    assert (end["text"], end["reason"], end["id"]) == (TEXT, "stop", start["id"])
    assert "/headwater-element.js" in paths


def test_a_screen_reader_is_told_once(page: Page, server: Server, world: World) -> None:
    show(page, server, element("half"))
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    page.evaluate(
        """() => {
          const { shadowRoot } = document.querySelector("headwater-stream");
          window.said = new Promise((resolve) => {
            const said = [];
            new MutationObserver(([{ target }]) => {
              if (said.push(target.textContent) === 2) resolve(said);
            }).observe(shadowRoot.querySelector("[role=status]"), { childList: true });
          });
        }"""
    )
    world.gate.set()
    assert page.evaluate("said") == [TEXT, ""]


def test_what_is_shown_before_there_is_text(page: Page, server: Server) -> None:
    show(page, server, element("broken", "", "One moment …"))
    wait(page, "failed", "One moment …")
    ((kind, detail),) = [seen for seen in events(page) if seen[0] != "start"]
    assert (kind, detail["code"]) == ("error", "invalid_request")
    # A page without a script tells it too.
    expect(page.get_by_role("alert")).to_have_text(detail["message"])


def test_a_reload_and_a_move_ask_no_second_time(page: Page, server: Server, world: World) -> None:
    show(page, server, element("half", 'remember="answer"') + "<main></main>")
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    page.reload()
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    # Moved at once; and taken out for a while.
    page.evaluate("document.querySelector('main').append(document.querySelector('[prompt]'))")
    page.evaluate(
        """async () => {
          const element = document.querySelector("headwater-stream");
          element.remove();
          await new Promise((resolve) => setTimeout(resolve, 50));
          document.body.append(element);
        }"""
    )
    world.gate.set()
    wait(page, "done")
    assert world.asked == ["half"]


def test_stop_ends_the_generation(page: Page, server: Server) -> None:
    show(page, server, element("stall"))
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    page.evaluate("document.querySelector('headwater-stream').stop()")
    wait(page, "done", TOKENS[0])
    assert events(page)[-1][1]["reason"] == "cancelled"


def test_attributes_are_followed(page: Page, server: Server, world: World) -> None:
    show(page, server, "<headwater-stream></headwater-stream>")
    page.evaluate("customElements.whenDefined('headwater-stream').then(() => {})")
    assert (world.asked, events(page)) == ([], [])
    change = """(all) => {
      for (const [name, value] of all)
        document.querySelector("headwater-stream").setAttribute(name, value);
    }"""
    page.evaluate(change, [["src", "/nowhere"], ["prompt", "stall"], ["src", "/v1/streams"]])
    expect(page.locator("headwater-stream")).to_have_text(TOKENS[0], timeout=BOUND_MS)
    page.evaluate(change, [["prompt", "tokens"]])
    wait(page, "done")
    # The same stream once more, by its id, in another element.
    stream = events(page)[-1][1]["id"]
    page.evaluate(
        "(id) => document.querySelector('headwater-stream').outerHTML = "
        "`<headwater-stream stream=${id}></headwater-stream>`",
        stream,
    )
    wait(page, "done")
    assert world.asked == ["stall", "tokens"]


def test_a_page_without_the_element_does_not_load_it(page: Page, server: Server) -> None:
    paths = show(page, server, "<p>Nothing here.</p>")
    page.wait_for_load_state("networkidle")
    assert [path for path in paths if path.endswith(".js")] == ["/headwater.js"]
    # One that adds it later loads it itself.
    page.add_script_tag(type="module", url="/headwater-element.js")
    page.evaluate("document.body.innerHTML = '<headwater-stream prompt=tokens></headwater-stream>'")
    wait(page, "done")
    assert paths.count("/headwater.js") == 1
