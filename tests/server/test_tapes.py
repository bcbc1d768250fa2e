"""Tapes through a real server: a model like any other, with faults put in by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import events as ev
from headwater.providers.tape import read
from headwater.providers.tape.shipped import FOLDER
from tests.server.serving import Reader, Served, ask, serving
from tests.server.wires import PATHS, is_error, outcome, text_of
from tests.server.world import BOUND_S, WIRES

CONFIG = """
    [timeouts]
    first_token_s = 2
    idle_s = 0.5
    [providers.mine]
    base_url = "tapes"
    dialect = "tape"
    [models.safe]
    route = ["tape/story?refuse", "mine/slow"]
"""
SLOW = [
    (100.0, ev.ReasoningDelta("Hm.")),
    (200.0, ev.TextDelta("slow")),
    (200.0, ev.StreamEnd("length", ev.Usage(1, 2, 1), ev.Timing(0, None, 100, 200, 0, 1))),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("tapes")
    (cwd / "tapes").mkdir()
    lines = b"".join(b"[%g,%b]\n" % (at, ev.encode(event)) for at, event in SLOW)
    (cwd / "tapes" / "slow.tape").write_bytes(lines)
    (cwd / "tapes" / "broken.jsonl").write_bytes(lines[:-20])
    (cwd / "secret.tape").write_bytes(lines)
    with serving(cwd=cwd, config=CONFIG, environ={"HEADWATER_CACHE": str(cwd)}) as served:
        yield served
    assert "Traceback" not in served.output, served.output


def played(port: int, wire: str, model: str, **members: Any) -> bytes:
    body = {"messages": [{"role": "user", "content": "?"}], "model": model, "stream": True}
    answer = ask(port, PATHS[wire], {**body, **members})
    assert answer.status == 200, answer.body
    return answer.body


def text_on(name: str, count: int | None = None) -> str:
    """What the first `count` events of a shipped tape, or all, have for text."""
    events = [event for _, event in read(FOLDER / f"{name}.tape")][:count]
    return "".join(event.text for event in events if isinstance(event, ev.TextDelta))


@pytest.mark.system
@pytest.mark.parametrize("wire", ["plain", "native"])
@pytest.mark.parametrize(
    ("options", "code", "count"),
    [
        ("cut=30", "truncated", 30),
        ("error=7", "upstream_error", 7),
        ("malformed=1", "upstream_error", 1),
        ("stall=12", "upstream_timeout", 12),
        ("cut=0", "truncated", 0),
        ("refuse", "upstream_error", 0),
        ("cut=100000", "truncated", None),
    ],
)
def test_a_fault_is_put_in(
    server: Served, wire: str, options: str, code: str, count: int | None
) -> None:
    body = played(server.port, wire, f"tape/story?speed=max&{options}")
    assert text_of(wire, body) == text_on("story", count)
    assert outcome(wire, body) == is_error(wire, code)
    if options == "refuse" and wire == "native":
        assert b'"attempts":3' in body  # tried again, as a provider with HTTP 503 would be


@pytest.mark.system
@pytest.mark.parametrize("wire", WIRES)
def test_streamed_and_whole_are_the_same(server: Served, wire: str) -> None:
    streamed = text_of(wire, played(server.port, wire, "tape/reasoning?speed=max"))
    body = {"messages": [{"role": "user", "content": "?"}], "model": "tape/reasoning?speed=max"}
    whole = ask(server.port, PATHS[wire], {**body, "stream": False}).json
    text = whole["choices"][0]["message"]["content"] if wire == "openai" else whole["text"]
    assert streamed == text == text_on("reasoning")
    if wire == "native":
        assert whole["reasoning"].startswith("They want to know")
        assert whole["usage"]["reasoning_tokens"] > 100


@pytest.mark.system
def test_a_tape_s_own_timings_are_played(server: Served) -> None:
    state = ask(server.port, "/v1/streams", {"prompt": "?", "model": "mine/slow", "stream": False})
    assert (state.json["text"], state.json["reasoning"]) == ("slow", "Hm.")
    assert state.json["usage"] == {"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 1}
    # Not sooner than it was recorded: the clock of a timer may round to a millisecond.
    assert state.json["timing"]["first_token"] >= 99
    assert state.json["timing"]["total"] >= 199


@pytest.mark.system
def test_calls_are_those_of_the_tape(server: Served) -> None:
    tools = [{"type": "function", "function": {"name": "river_gauge", "parameters": {}}}]
    body = {"prompt": "?", "model": "tape/tools?speed=max", "stream": False, "tools": tools}
    state = ask(server.port, "/v1/streams", body).json
    calls = [(call["name"], json.loads(call["arguments"])) for call in state["tool_calls"]]
    assert [(name, gauge["station"]) for name, gauge in calls] == [
        ("river_gauge", "Kingston"), ("river_gauge", "Lobith"),
    ]  # fmt: skip


@pytest.mark.system
def test_tapes_are_in_the_catalogue_and_never_the_default(server: Served) -> None:
    listed = ask(server.port, "/v1/models").json
    shown = {m["id"]: m["available"] for m in listed["data"] if m["provider"] in ("tape", "mine")}
    expected = ["bursty", "reasoning", "slow-start", "story", "tools"]
    tapes = [f"tape/{name}" for name in expected] + ["mine/broken", "mine/slow"]
    assert list(shown) == ["safe", *tapes]
    assert all(shown.values())
    assert [m["provider"] for m in listed["data"] if m["id"] == "tape/story"] == ["tape"]
    assert listed["default"] == "safe"


@pytest.mark.system
def test_a_tape_may_be_part_of_a_route(server: Served) -> None:
    body = played(server.port, "native", "safe")
    assert text_of("native", body) == "slow"
    assert b'"route":"mine/slow"' in body


@pytest.mark.system
@pytest.mark.parametrize("path", [PATHS[wire] for wire in WIRES])
@pytest.mark.parametrize(
    ("model", "status", "code", "says"),
    [
        ("tape/sotry", 404, "model_not_found", "no tape 'tape/sotry'; the nearest are tape/story"),
        ("mine/../secret", 404, "model_not_found", "the nearest are mine/"),
        ("mine/secret\0", 404, "model_not_found", "the nearest are mine/"),
        ("mine//etc/passwd", 404, "model_not_found", "the nearest are mine/"),
        ("mine/slow.tape", 404, "model_not_found", "the nearest are mine/slow"),
        ("stoory", 404, "model_not_found", "There is no model 'stoory'"),
        ("tape/story?speed=0", 400, "invalid_request", "a number from 0.01 to 1000, or max"),
        ("tape/story?cut=1&stall=2", 400, "invalid_request", "one fault, not cut and stall"),
        ("tape/story?volume=11", 400, "invalid_request", "'volume' is no option of a tape"),
        ("mine/broken", 503, "provider_not_configured", "mine/broken is not a tape: line 3: "),
    ],
)  # fmt: skip
def test_a_wrong_name_says_what_would_be_right(
    server: Served, path: str, model: str, status: int, code: str, says: str
) -> None:
    messages = [{"role": "user", "content": "?"}]
    answer = ask(server.port, path, {"messages": messages, "model": model, "stream": True})
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["param"] == "model"
    assert says in answer.error["message"]


@pytest.mark.system
def test_a_playing_is_stopped(server: Served) -> None:
    from tests.helpers.arrivals import request

    asked = {"prompt": "?", "model": "tape/story?speed=0.05"}
    reader = Reader(request(server.port, "/v1/streams", asked, timeout_s=BOUND_S))
    stop = ask(server.port, f"/v1/streams/{reader.stream}", method="DELETE")
    assert stop.status == 204
    assert outcome("native", reader.rest()) == "cancelled"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('base_url = "none"\ndialect = "tape"', '"base_url" in [providers.x] must be a folder that is'),
        ('base_url = "http://h/v1"\ndialect = "tape"', "must be a folder that is there"),
        ('dialect = "tape"', '"dialect" in [providers.x] wants a base_url beside "tape"'),
        ('base_url = "tapes"', '"base_url" in [providers.x] must be an http:// or https:// URL'),
        ('base_url = ""\ndialect = "tape"', "must be a folder that is there"),
        ('base_url = "~nobody-there/x"\ndialect = "tape"', "must be a folder that is there"),
    ],
)  # fmt: skip
def test_a_folder_that_is_none_is_a_wrong_setting(table: str, says: str, tmp_path: Path) -> None:
    from headwater.errors import ConfigurationError
    from headwater.settings import load

    (tmp_path / "headwater.toml").write_text(f"[providers.x]\n{table}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(environ={}, cwd=tmp_path)
    assert says in caught.value.message
    assert caught.value.message.startswith("headwater.toml:2: ")


def test_a_folder_is_a_path_or_a_file_url(tmp_path: Path) -> None:
    from headwater.settings import folder_of, load

    folder = tmp_path / "a b"
    folder.mkdir()
    for spelt in (str(folder), folder.as_uri(), f"file://localhost{folder.as_uri()[7:]}"):
        environ = {
            "HEADWATER_PROVIDERS__X__DIALECT": "tape",
            "HEADWATER_PROVIDERS__X__BASE_URL": spelt,
        }
        settings = load(environ=environ, cwd=tmp_path)
        assert folder_of(settings.providers["x"].base_url or "") == folder
