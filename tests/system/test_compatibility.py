"""Clients times situations, each tried for real: the table of docs/compatibility.md.

`WRITE_COMPATIBILITY=1 pytest tests/system/test_compatibility.py` writes the table anew; without it
the table must be what was seen.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    FaultyProxy,
    FaultyUpstream,
    Request,
    chat,
    chunk,
    reply,
)
from headwater.testing import event as data_event
from tests.helpers.node import path_with_node
from tests.helpers.processes import environment
from tests.helpers.servers import Server, serve
from tests.system.clients import python

pytestmark = pytest.mark.system

ROOT: Final = Path(__file__).parents[2]
CLIENTS: Final = Path(__file__).parent / "clients"
DOCUMENT: Final = ROOT / "docs" / "compatibility.md"

TOKENS = ["Ray", "leigh ", "scat", "tering ", "🌊", "."]
PROMPTS = {"stream": "tokens", "error before": "limited", "error inside": "inside", "stop": "stall", "silence": "silence", "resume": "tokens", "tools": "tools"}  # fmt: skip
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=0.1),
    "stall": Answer([chunk({"content": "a"}), STALL]),
    "limited": reply(429, {"error": {"message": "slow down"}}),
    "silence": Answer([chunk({"content": "a"}), 1.0, chunk({"content": "b"}, "stop"), DONE]),
    "inside": Answer(
        [chunk({"content": "a"}), 0.1, data_event({"error": {"message": "overloaded"}}), DONE]
    ),
    "tools": Answer(
        [
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Looking. "}),
            chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Zü'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'rich"}'}}]}),
            chunk({}, "tool_calls"),
            DONE,
        ]
    ),
    "rain in Zürich": chat(["It ", "rains."]),
}  # fmt: skip

#: Clients: what they are called, the package that has the version, how they are run, their wire.
NODE: Final = {
    "openai chat": ("openai (Node), chat completions", "openai", "openai"),
    "openai responses": ("openai (Node), responses", "openai", "responses"),
    "anthropic": ("@anthropic-ai/sdk, messages", "@anthropic-ai/sdk", "anthropic"),
    "useChat": ("@ai-sdk/react, useChat's Chat", "@ai-sdk/react", "ui"),
    "ag-ui": ("@ag-ui/client, HttpAgent", "@ag-ui/client", "agui"),
    "fetch-event-source": ("fetch-event-source", "@microsoft/fetch-event-source", "plain"),
}
PYTHON: Final = {
    "openai chat": ("openai (Python), chat completions", "openai", "openai"),
    "openai responses": ("openai (Python), responses", "openai", "responses"),
    "anthropic": ("anthropic (Python), messages", "anthropic", "anthropic"),
    "curl": ("curl", "", "plain"),
}
#: How a client goes on after a cut; None where it cannot, for the reason under the table.
RESUMES: Final[dict[str, str | None]] = {
    "openai chat": None,
    "anthropic": None,
    "ag-ui": None,
    "openai responses": "`retrieve`, `starting_after`",
    "useChat": "`resumeStream`",
    "fetch-event-source": "by itself",
    "curl": "`Last-Event-ID`",
    "EventSource": "by itself",
}
HEAD: Final = """# Compatibility

Every cell was tried with the real client against `headwater serve`, by `tests/system/test_compatibility.py`,
which fails when it sees anything else. A cell holds how the client says the answer ended, or what it raises.

| column | the client |
|---|---|
| stream | gets each piece as it comes, and the end |
| error before | asks for what is refused before the head: the provider's limit, or the request |
| error inside | is told in the stream that the provider has failed |
| stop | sees the stream end that somebody has stopped; the provider is freed |
| silence | notices nothing of heartbeats |
| resume | goes on after a cut, each piece once, without a second generation |
| tools | is given a call, answers it, and is given what the model says then |

"""
NOTES: Final = """
¹ The client cannot go on: its protocol knows no way to. The stream is there: `GET
/v1/streams/{id}?wire=…` with `Last-Event-ID` has the rest, in the client's wire; `Headwater-On-Disconnect`
lets it run on meanwhile. The id is in the header `Headwater-Stream`.

² The plain wire is text; calls are in the others.
"""

SAW: dict[tuple[str, str], str] = {}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("compatibility")
    environ = {"HEADWATER_SERVER__HEARTBEAT_S": "0.2"}
    with serve("--upstream", upstream.url, cwd=folder, environ=environ) as running:
        yield running


@pytest.fixture(scope="session")
def node() -> dict[str, str]:
    """An environment with Node; the locked clients are installed when they are not."""
    path = path_with_node()
    lock, installed = CLIENTS / "package-lock.json", CLIENTS / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm = ["npm", "ci", "--loglevel=error"]
        subprocess.run(npm, cwd=CLIENTS, env={**os.environ, "PATH": path}, check=True, timeout=110)
        installed.touch()
    return environment(PATH=path)


def judged(seen: dict[str, Any], cell: str, client: str) -> str:
    """What stands in the cell; fails unless the client saw what it should have."""
    error = seen["error"]
    if cell.startswith("error"):
        assert error is not None, seen
        assert seen["text"] == ("" if cell == "error before" else "a")
        told = ("slow down", "base_url", "closed") if cell == "error before" else ("overloaded",)
        assert any(words in error["message"] for words in told), error
        return " ".join(str(each) for each in (error["name"], error["status"]) if each)
    assert error is None, error
    assert seen["end"], seen
    if cell == "stop":
        assert (seen["text"], seen["pieces"]) == ("a", 1)
        return str(seen["end"])
    if cell == "tools":
        assert seen["text"] == "Looking. It rains."
        return str(seen["end"])
    whole = ["a", "b"] if cell == "silence" else TOKENS
    assert (seen["text"], seen["pieces"]) == ("".join(whole), len(whole))
    if cell == "resume":
        return RESUMES[client] or "no¹"
    return "unnoticed" if cell == "silence" else str(seen["end"])


def tried(
    run: Callable[[], dict[str, Any]], upstream: FaultyUpstream, client: str, cell: str, row: str
) -> None:
    """Run one cell, and note what was seen."""
    if cell == "resume" and RESUMES[client] is None:
        SAW[row, cell] = "no¹"
        return
    if cell == "tools" and client in ("curl", "fetch-event-source", "EventSource"):
        SAW[row, cell] = "no²"
        return
    before = len(upstream.posts)
    seen = run()
    SAW[row, cell] = judged(seen, cell, client)
    if cell == "stop":
        asked = upstream.posts[-1]
        upstream.wait(lambda: asked.hung_up_at is not None, 5)
    if cell == "resume":
        assert len(upstream.posts) == before + 1
    if cell == "tools":
        assert len(upstream.posts) == before + 2
        sent = upstream.posts[-1].json
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
        _, said, result = sent["messages"]
        [call] = said["tool_calls"]
        assert said["content"] == "Looking. "
        assert json.loads(call["function"]["arguments"]) == {"city": "Zürich"}
        assert call["id"] == result["tool_call_id"] == "c1"
        assert sent["tools"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize("client", NODE)
@pytest.mark.parametrize("cell", PROMPTS)
def test_in_node(
    node: dict[str, str], server: Server, upstream: FaultyUpstream, client: str, cell: str
) -> None:
    def run() -> dict[str, Any]:
        command = ["node", "run.mjs", client, cell, server.url]
        done = subprocess.run(
            command, cwd=CLIENTS, env=node, capture_output=True, text=True, timeout=60
        )
        assert done.stdout, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    tried(run, upstream, client, cell, NODE[client][0])


@pytest.mark.parametrize("client", PYTHON)
@pytest.mark.parametrize("cell", PROMPTS)
def test_in_python(server: Server, upstream: FaultyUpstream, client: str, cell: str) -> None:
    def run() -> dict[str, Any]:
        return vars(python.ask(client, cell, PROMPTS[cell], server.url))

    tried(run, upstream, client, cell, PYTHON[client][0])


LISTEN: Final = """([path, stopping]) => new Promise((done) => {
  const seen = { text: "", pieces: 0, end: null, error: null };
  const source = new EventSource(path + "?wire=plain");
  const close = (change) => { source.close(); done(Object.assign(seen, change)); };
  source.onmessage = ({ data }) => {
    if (data === "[DONE]") return close({ end: data });
    const { token, error } = JSON.parse(data);
    if (error) return close({ error: { name: "an `error` message", message: error } });
    seen.text += token;
    if (++seen.pieces === 1 && stopping) fetch(path, { method: "DELETE" });
  };
  source.onerror = () => {
    if (source.readyState === 2) close({ error: { name: "`onerror`", message: "closed" } });
  };
})"""
EVENT_SOURCE: Final = "EventSource (Chromium)"


@pytest.mark.parametrize("cell", PROMPTS)
def test_in_a_browser(
    browser: Browser, server: Server, upstream: FaultyUpstream, cell: str
) -> None:
    def run() -> dict[str, Any]:
        stream = "0" * 32  # there is none
        if cell != "error before":
            asked = {"prompt": PROMPTS[cell]}
            with httpx.stream("POST", f"{server.url}/v1/streams", json=asked) as begun:
                stream = begun.headers["Headwater-Stream"]
        page = browser.new_page()
        try:
            with FaultyProxy(server.port) as proxy:
                page.goto(f"http://127.0.0.1:{proxy.port}/healthz")
                cut = threading.Timer(0.25, proxy.cut, [b"wire=plain"])
                if cell == "resume":
                    cut.start()
                seen = page.evaluate(LISTEN, [f"/v1/streams/{stream}", cell == "stop"])
                if cell == "resume":
                    cut.join()
        finally:
            page.close()
        if seen["error"]:
            seen["error"]["status"] = None
        return dict(seen)

    tried(run, upstream, "EventSource", cell, EVENT_SOURCE)


def rows() -> Iterator[tuple[str, str, str]]:
    """Name, version and wire of every client."""
    packages = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]
    for name, package, wire in NODE.values():
        yield name, packages[f"node_modules/{package}"]["version"], wire
    for name, package, wire in PYTHON.values():
        yield name, importlib.metadata.version(package) if package else "", wire
    yield EVENT_SOURCE, "", "plain"


def test_the_table_is_what_was_seen() -> None:
    cells = [(name, cell) for name, _, _ in rows() for cell in PROMPTS]
    if missing := [each for each in cells if each not in SAW]:
        pytest.skip(f"not all cells were tried, or were seen right: {missing[:3]}")
    lines = ["client", "version", "wire", *PROMPTS], ["---"] * (3 + len(PROMPTS))
    table = [
        *lines,
        *([n, v, f"`{w}`", *(SAW[n, cell] for cell in PROMPTS)] for n, v, w in rows()),
    ]
    written = HEAD + "".join(f"| {' | '.join(line)} |\n" for line in table) + NOTES
    if os.environ.get("WRITE_COMPATIBILITY"):
        DOCUMENT.write_text(written)
    assert DOCUMENT.read_text() == written
