"""The endpoints of Responses, Messages, useChat and AG-UI on a real `headwater serve`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    FaultyUpstream,
    Request,
    chat,
    chunk,
    reply,
)
from tests.helpers.arrivals import request
from tests.helpers.redis import empty_redis
from tests.server.serving import Reader, ask, data_of, frames, ids, serving
from tests.server.wires import PATHS, body_of

pytestmark = pytest.mark.system

TOKENS = ["Wo", "hin", " 🌊", " fließt", " er", "?"]
CONFIG = """
[auth.keys]
ann = "env:ANN"
bob = "env:BOB"
"""
KEYS = {"ANN": "key-of-ann", "BOB": "key-of-bob"}
ANN, BOB = ({"x-api-key": key} for key in KEYS.values())
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, usage={"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}),
    "slow": Answer([chunk({"content": "a"}), 0.7, chunk({"content": "b"}, "stop"), DONE]),
    "stall": Answer([chunk({"content": "a"}), STALL]),
    "limited": reply(429, {"error": {"message": "slow down"}}, [("Retry-After", "7")]),
}
NEWER = ("responses", "anthropic", "ui", "agui")
every_wire = pytest.mark.parametrize("wire", NEWER)


class World:
    def __init__(self, upstream: FaultyUpstream, port: int) -> None:
        self.upstream = upstream
        self.port = port

    def post(self, wire: str, prompt: str, who: Mapping[str, str] = ANN, **members: Any) -> Reader:
        path, body = PATHS[wire], body_of(wire, prompt, **members)
        return Reader(request(self.port, path, body, dict(who), timeout_s=20))

    def get(self, path: str, who: Mapping[str, str] = ANN) -> Reader:
        return Reader(request(self.port, path, None, dict(who), timeout_s=20))


@pytest.fixture(params=["memory", "sqlite", "redis"], scope="module")
def w(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("wires")
    store = {"memory": "memory://", "sqlite": f"sqlite:///{folder / 's.db'}"}.get(request.param)
    store = store or empty_redis()

    def answer(asked: Request) -> Answer:
        return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]

    environ = {**KEYS, "HEADWATER_SERVER__HEARTBEAT_S": "0.2"}
    with (
        FaultyUpstream(answer) as upstream,
        serving("--upstream", upstream.url, "--store", store, cwd=folder, config=CONFIG, environ=environ) as served,
    ):  # fmt: skip
        yield World(upstream, served.port)


@every_wire
def test_a_repeated_post_goes_on(w: World, wire: str) -> None:
    """What fetch-event-source does; another request of the same chat is not taken for it."""
    member = {"metadata": {"once": wire}}
    first = w.post(wire, "tokens", **member)
    uncut = first.rest()
    known = ids(uncut)[2]
    again = w.post(wire, "tokens", {**ANN, "Last-Event-ID": known}, **member)
    assert again.stream == first.stream
    assert uncut.endswith(again.rest())
    other = w.post(wire, "tokens", {**ANN, "Last-Event-ID": known}, metadata={"other": "1"})
    assert b"Last-Event-ID" in other.rest()
    assert "headwater-stream" not in other.head.headers


@every_wire
def test_whole(w: World, wire: str) -> None:
    answer = ask(w.port, PATHS[wire], body_of(wire, "tokens", stream=False), ANN)
    assert answer.status == 200
    assert "".join(TOKENS) in answer.body.decode()
    assert isinstance(answer.json, dict)


# errors before the head


@every_wire
def test_errors_have_the_wire_s_shape(w: World, wire: str) -> None:
    for body, who, status, kind in [
        ({}, ANN, 400, "invalid_request_error"),
        (b"{", ANN, 400, "invalid_request_error"),
        (body_of(wire, "tokens"), {}, 401, "authentication_error"),
    ]:
        answer = ask(w.port, PATHS[wire], body or b"{}", who)
        assert answer.status == status
        error = answer.json["error"]
        assert error["message"]
        if wire == "anthropic":
            assert answer.json["type"] == "error"
            assert set(error) == {"type", "message"}
            assert error["type"] == kind
            assert answer.json["request_id"] == answer.headers["x-request-id"]
            assert answer.headers["request-id"] == answer.headers["x-request-id"]
        else:
            assert set(error) == {"code", "message", "type", "param", "request_id"}


@pytest.mark.parametrize("wire", ["responses", "anthropic"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_s_refusal_is_a_status(w: World, wire: str, stream: bool) -> None:
    answer = ask(w.port, PATHS[wire], body_of(wire, "limited", stream=stream), ANN)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("wire", ["ui", "agui"])
def test_an_upstream_s_refusal_is_in_the_stream(w: World, wire: str) -> None:
    reader = w.post(wire, "limited")
    assert reader.head.status == 200
    assert b"slow down" in reader.rest()


# silence, and readers who leave


@every_wire
def test_heartbeats(w: World, wire: str) -> None:
    body = w.post(wire, "slow").rest()
    beat = b"event: ping\ndata: {" if wire == "anthropic" else b": ping\n"
    assert body.count(beat) >= 2
    assert b"\n\n: ping\n\n" not in body


@pytest.mark.parametrize(("wire", "stops"), [("anthropic", True), ("agui", True), ("ui", False), ("responses", False)])  # fmt: skip
def test_who_leaves(w: World, wire: str, stops: bool) -> None:
    reader = w.post(wire, "stall", metadata={"leaves": wire})
    reader.until(b"a")
    asked = w.upstream.posts[-1]
    reader.leave()
    if stops:
        w.upstream.wait(lambda: asked.hung_up_at is not None, 5)
        return
    state = ask(
        w.port, f"/v1/streams/{reader.stream}", headers={**ANN, "Accept": "application/json"}
    )
    assert state.json["status"] == "running"  # fmt: skip
    assert ask(w.port, f"/v1/streams/{reader.stream}", headers=ANN, method="DELETE").status == 204


def test_headers_of_the_ui(w: World) -> None:
    reader = w.post("ui", "tokens")
    assert reader.rest()
    assert reader.head.headers["x-vercel-ai-ui-message-stream"] == "v1"


# responses


def test_a_response_is_read_after_every_number(w: World) -> None:
    reader = w.post("responses", "tokens", metadata={"a": "b"})
    whole = frames(reader.rest())
    name = json.loads(data_of(whole[0]))["response"]["id"]
    assert name == f"resp_{reader.stream}"
    assert ask(w.port, f"/v1/responses/{name}?stream=true", headers=ANN).body == b"".join(whole)
    for number in range(len(whole)):
        path = f"/v1/responses/{name}?stream=true&starting_after={number}"
        answer = ask(w.port, path, headers=ANN)
        # An id stands at the last frame of its event that is said.
        assert [data_of(f) for f in frames(answer.body)] == [
            data_of(f) for f in whole[number + 1 :]
        ]
        assert answer.status == (204 if number == len(whole) - 1 else 200)
    for wrong, status in [(len(whole), 409), ("x", 400), (-1, 400)]:
        path = f"/v1/responses/{name}?stream=true&starting_after={wrong}"
        assert ask(w.port, path, headers=ANN).status == status
    response = ask(w.port, f"/v1/responses/{name}", headers=ANN).json
    assert (response["status"], response["metadata"]) == ("completed", {"a": "b"})
    assert response["output"][0]["content"][0]["text"] == "".join(TOKENS)


def test_a_response_is_followed_while_it_runs_and_cancelled(w: World) -> None:
    reader = w.post("responses", "stall")
    seen = frames(reader.until(b'"a"').partition(b": ping")[0].rpartition(b"\n\n")[0] + b"\n\n")
    name = json.loads(data_of(seen[0]))["response"]["id"]
    later = w.get(f"/v1/responses/{name}?stream=true&starting_after={len(seen) - 1}")
    assert ask(w.port, f"/v1/responses/{name}", headers=ANN).json["status"] == "in_progress"
    cancelled = ask(w.port, f"/v1/responses/{name}/cancel", b"{}", ANN, method="POST")
    assert cancelled.json["status"] == "incomplete"
    assert cancelled.json["incomplete_details"] == {"reason": "cancelled"}
    rest = later.rest()
    assert json.loads(data_of(frames(rest)[-1]))["type"] == "response.incomplete"
    assert reader.rest().endswith(rest[rest.index(b"event") :].replace(b": ping\n", b"")[-200:])
    again = ask(w.port, f"/v1/responses/{name}/cancel", b"{}", ANN, method="POST")
    assert again.json == cancelled.json


def test_a_response_of_another_is_not_there(w: World) -> None:
    reader = w.post("responses", "tokens")
    reader.rest()
    for name, who in [(f"resp_{reader.stream}", BOB), ("resp_none", ANN), (reader.stream, ANN)]:
        assert ask(w.port, f"/v1/responses/{name}", headers=who).status == 404
        assert ask(w.port, f"/v1/responses/{name}/cancel", b"{}", who, method="POST").status == 404


# chats


def test_a_chat_is_found_while_it_runs(w: World) -> None:
    assert ask(w.port, "/api/chat/new/stream", headers=ANN).status == 204
    w.post("ui", "tokens", id="a chat/\nü").rest()
    path = "/api/chat/a%20chat%2F%0A%C3%BC/stream"
    assert ask(w.port, path, headers=ANN).status == 204, "nothing is active"
    assert ask(w.port, path, headers={**ANN, "Last-Event-ID": ""}).status == 204
    whole = ask(w.port, path, headers={**ANN, "Last-Event-ID": "0-0"}).body
    assert whole.startswith(b'id: 1-1\ndata: {"type":"start"')
    for position in ids(whole):
        rest = ask(w.port, path, headers={**ANN, "Last-Event-ID": position})
        assert whole.endswith(rest.body)
        assert position not in ids(rest.body)
    assert rest.status == 204, "there is no more"
    assert ask(w.port, path, headers={**ANN, "Last-Event-ID": "1-999"}).status == 409
    reader = w.post("ui", "stall", id="a chat/\nü")
    again = w.get(path)
    assert again.head.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert again.stream == reader.stream
    assert again.until(b'"a"').startswith(b"id: 1-1\n")
    assert ask(w.port, path, headers=BOB).status == 204
    assert ask(w.port, path, headers=BOB, method="DELETE").status == 404
    assert ask(w.port, path, headers=ANN, method="DELETE").status == 204
    for each in (reader, again):
        assert b'data: {"type":"abort"' in each.rest()
    assert ask(w.port, path, headers=ANN).status == 204
    assert ask(w.port, path, headers=ANN, method="DELETE").status == 204
    assert ask(w.port, "/api/chat/never/stream", headers=ANN, method="DELETE").status == 404


def test_a_stream_begun_elsewhere_is_read_in_the_ui_s_wire(w: World) -> None:
    reader = w.post("agui", "tokens")
    reader.rest()
    body = ask(w.port, f"/v1/streams/{reader.stream}?wire=ui", headers=ANN).body
    assert body.endswith(b"data: [DONE]\n\n")
    named = ask(w.port, f"/v1/streams/{reader.stream}?wire=agui", headers=ANN).body
    assert b'"threadId":"t","runId":"r"' in named, "the request's own names"


# other processes


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_another_process_resumes_and_stops(store: str, tmp_path: Path) -> None:
    url = empty_redis() if store == "redis" else f"sqlite:///{tmp_path / 's.db'}"
    with (
        FaultyUpstream(ANSWERS["stall"]) as upstream,
        serving("--upstream", upstream.url, "--store", url, cwd=tmp_path) as one,
        serving("--upstream", upstream.url, "--store", url, cwd=tmp_path) as two,
    ):
        here, there = World(upstream, one.port), World(upstream, two.port)
        chat_ = here.post("ui", "stall", {})
        again = there.get("/api/chat/chat/stream", {})
        assert b'"a"' in again.until(b'"a"')
        assert ask(two.port, "/api/chat/chat/stream", method="DELETE").status == 204
        assert b'{"type":"abort"' in again.rest()
        assert b'{"type":"abort"' in chat_.rest()

        reader = here.post("responses", "stall", {})
        reader.until(b'"a"')
        name = f"resp_{reader.stream}"
        rest = there.get(f"/v1/responses/{name}?stream=true&starting_after=4", {})
        answer = ask(two.port, f"/v1/responses/{name}/cancel", b"{}", method="POST")
        assert answer.json["incomplete_details"] == {"reason": "cancelled"}
        assert b"event: response.incomplete" in rest.rest()
        assert b"event: response.incomplete" in reader.rest()
        for asked in upstream.posts:
            upstream.wait(lambda asked=asked: asked.hung_up_at is not None, 5)  # type: ignore[misc]
