"""The Python in the documentation: type-checked as one project, and run."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from headwater import Headwater
from headwater.adapters.response import StreamResponse
from headwater.sse import Decoder
from headwater.testing import MODELS, FaultyUpstream, chat
from tests.docs.blocks import ROOT, Block
from tests.docs.modules import bound, modules
from tests.helpers.servers import Server, flask_run, serve, uvicorn
from tests.server.serving import ask

# Whole servers, and mypy: what they take is not for a check of under a minute.
pytestmark = pytest.mark.system

#: Packages that the documentation uses and the tests do not install, as far as it uses them.
STUBS = Path(__file__).with_name("stubs")
JSON = {"Content-Type": "application/json"}
PROMPT = "Why is the sky blue?"
WORDS = ["Light ", "is ", "scattered."]

# The rest of a project whose `urls.py` a block is.
DJANGO = """
from django.conf import settings
from django.core.asgi import get_asgi_application

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
app = get_asgi_application()
"""

# A block leaves out what a reader does not need: annotations of routes, a function around `await`.
HEADER = """\
# mypy: allow-untyped-defs, allow-untyped-decorators, allow-incomplete-defs, allow-untyped-calls
# mypy: disable-error-code="top-level-await"
"""


def apps() -> list[Block]:
    """Blocks that are a whole app."""
    return [b for b in modules() if bound(ast.parse(b.text).body) & {"app", "urlpatterns"}]


def once(those: list[Block]) -> list[Block]:
    """Without those that say the very same as another: pages begin with the same few lines."""
    return list({block.text: block for block in those}.values())


def test_the_types_are_right(tmp_path: Path) -> None:
    for block, source in modules().items():
        (tmp_path / f"{block.name}.py").write_text(HEADER + source)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(STUBS)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    answer = chat(WORDS)
    with FaultyUpstream(lambda asked: MODELS if asked.method == "GET" else answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.mark.parametrize("block", once(apps()), ids=repr)
def test_an_app_streams(block: Block, upstream: FaultyUpstream, tmp_path: Path) -> None:
    source = modules()[block] + (DJANGO if "urlpatterns" in block.text else "")
    (tmp_path / "served.py").write_text(source)
    environ = {
        "HEADWATER_SERVER__UPSTREAM": upstream.url,
        "OPENAI_BASE_URL": upstream.url,  # of a relay that is shown as it was before
        "OPENAI_API_KEY": "-",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(STUBS)]),
    }
    host = flask_run if "Flask(" in source else uvicorn
    with host("served:app", cwd=tmp_path, environ=environ) as running:
        path = route(source)
        answer = ask(running.port, path, body(path), headers=JSON)
        assert answer.status == 200, answer.body
        assert text_of(answer.body) in ("".join(WORDS), f"{PROMPT} ")  # a model's, or my_agent's
        if mounted := re.search(r"mount\([^)]*['\"](/\w+)['\"]", source):
            stream = answer.headers["headwater-stream"]
            read = ask(running.port, f"{mounted[1]}/v1/streams/{stream}?wire=plain")
            assert read.status == 200


def test_two_routes_of_ones_own_resume_and_stop(upstream: FaultyUpstream, tmp_path: Path) -> None:
    """The first two blocks of the guide, as one app."""
    page = [block for block in modules() if block.page == "docs/guides/fastapi.md"]
    (tmp_path / "served.py").write_text(page[0].text + page[1].text)
    environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
    with uvicorn("served:app", cwd=tmp_path, environ=environ) as running:
        begun = ask(running.port, "/stream", {"prompt": PROMPT}, headers=JSON)
        path = f"/ai/v1/streams/{begun.headers['headwater-stream']}"
        rest = ask(running.port, f"{path}?wire=plain", headers={"Last-Event-ID": "1-2"})
        assert rest.body == begun.body[begun.body.index(b"id: 1-3") :]
        assert ask(running.port, path, method="DELETE").status == 204
        assert ask(running.port, "/ai/v1/streams/unknown", method="DELETE").status == 404


def route(source: str) -> str:
    """Where the app takes a prompt."""
    if posted := re.search(r"(?:post|Route|\bpath)\(['\"]/?([^'\"]+)['\"]", source):
        return f"/{posted[1]}"
    mounted = re.search(r"(?:[Mm]ount|asgi)\(['\"]([^'\"]+)['\"]", source)
    assert mounted, "the app has no route for a prompt"
    return f"{mounted[1]}/stream"


def body(path: str) -> dict[str, Any]:
    """A prompt, as a page or as `useChat` sends it."""
    said = {"role": "user", "parts": [{"type": "text", "text": PROMPT}]}
    return {"messages": [said]} if path.endswith("/api/chat") else {"prompt": PROMPT}


def text_of(body: bytes) -> str:
    """The text of an answer in the plain or the UI wire."""
    said = [json.loads(m.data) for m in Decoder().feed(body) if m.data != b"[DONE]"]
    assert not [part for part in said if "error" in part]
    return "".join(
        part.get("token") or part.get("delta") or part.get("text") or "" for part in said
    )


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[StreamResponse]:
    """The responses that a block makes, from now on."""
    make = Headwater.response
    made: list[StreamResponse] = []

    def response(*given: Any, **named: Any) -> StreamResponse:
        made.append(make(*given, **named))
        return made[-1]

    monkeypatch.setattr(Headwater, "response", response)
    return made


async def sent(response: StreamResponse) -> None:
    """Send it to a reader who stays: it has text, and is no error."""
    body, left = bytearray(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        body.extend(message.get("body", b""))

    await response({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    assert text_of(bytes(body))


@pytest.mark.parametrize("block", [b for b in modules() if b not in apps()], ids=repr)
def test_it_runs(
    block: Block,
    server: Server,
    upstream: FaultyUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this process: `await` stands where a coroutine would have it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCS_UPSTREAM", upstream.url)
    monkeypatch.setenv("HEADWATER_SERVER__UPSTREAM", upstream.url)
    monkeypatch.setenv("OPENAI_API_KEY", "-")
    monkeypatch.syspath_prepend(STUBS)
    made = recorded(monkeypatch)
    source = modules()[block].replace("http://127.0.0.1:8000", server.url)
    code = compile(source, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def run() -> None:
        names: dict[str, Any] = {"__name__": block.name}
        running = eval(code, names)
        if running is not None:
            await running
        for response in made:
            await sent(response)
        for value in names.values():
            if isinstance(value, Headwater):
                await value.aclose()
            elif isinstance(value, AsyncOpenAI):
                await value.close()

    asyncio.run(run())
