"""Inside other applications: FastAPI, Starlette and Litestar under plain uvicorn."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headwater.testing import CUT, DONE, STALL, Answer, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.helpers.arrivals import Response as Arriving
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.processes import environment, stopped_at_the_end
from tests.server.serving import Answer as Answered
from tests.server.serving import Reader, Served, anonymous, ask, data_of, frames, ids, serving
from tests.server.wires import (
    EVERY_WIRE,
    PATHS,
    WAITING,
    assert_refused,
    body_of,
    is_end,
    is_error,
    outcome,
    text_of,
)

pytestmark = pytest.mark.system

BOUND_S = 10.0
FREED_S = 2.0
ROOT = Path(__file__).parents[2]
WIRES = ["plain", "native", "openai"]
some_wires = pytest.mark.parametrize("wire", WIRES)
every_wire = pytest.mark.parametrize("wire", EVERY_WIRE)
TEXT = "Wasser 🌊\u2028"


class Host(NamedTuple):
    """An application under a server; `wrapped` has middleware in front."""

    app: str
    http: str


HOSTS = [
    Host("api", "h11"),
    Host("api", "httptools"),
    Host("bare", "h11"),
    Host("bare", "httptools"),
    Host("wrapped", "httptools"),
    Host("litestar", "httptools"),
]


class World:
    """The upstream, and the application that is asked."""

    def __init__(self, upstream: Upstream, answers: dict[str, Answer], served: Served) -> None:
        self.upstream = upstream
        self.served = served
        self.port = served.port
        self._answers = answers

    def plan(self, answer: Answer, ending: str = "") -> str:
        prompt = f"prompt-{next(_numbers)}{ending}"
        self._answers[prompt] = answer
        return prompt

    def asked(self, prompt: str) -> Request:
        def posts() -> list[Request]:
            return [p for p in self.upstream.posts if prompt_of(p) == prompt]

        self.upstream.wait(lambda: bool(posts()), BOUND_S)
        [post] = posts()
        return post

    def freed(self, prompt: str, since: float) -> float:
        post = self.asked(prompt)
        self.upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)
        assert post.hung_up_at is not None
        return post.hung_up_at - since

    def respond(self, **body: Any) -> Reader:
        return Reader(request(self.port, "/respond", body, timeout_s=BOUND_S))

    def closed(self) -> list[str]:
        notes: list[str] = ask(self.port, "/notes").json
        return notes

    def closes(self, generator: str) -> float:
        """Wait until one more of these generators was closed; how long that took."""
        began = time.monotonic()
        eventually(lambda: generator in self.closed(), f"{generator} is closed")
        return time.monotonic() - began


_numbers = itertools.count()


def prompt_of(post: Request) -> Any:
    return post.json["messages"][-1]["content"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[Upstream, dict[str, Answer]]]:
    answers: dict[str, Answer] = {}

    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return reply(200, {"data": [{"id": "test-model"}]})
        return answers[prompt_of(asked)]

    with Upstream(answer) as running:
        yield running, answers


@contextlib.contextmanager
def uvicorn(host: Host, url: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "uvicorn", f"tests.adapters.apps:{host.app}", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--http", host.http, "--log-level", "info", "--no-access-log"],
        cwd=ROOT,
        env=environment(TEST_UPSTREAM=url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        served = Served(process)
        served.port = int(served.line(r"running on http://127.0.0.1:(\d+)")[1])
        yield served
        process.terminate()
        served.wait(20)


@pytest.fixture(scope="module", params=HOSTS, ids=lambda host: f"{host.app} on {host.http}")
def w(
    request: pytest.FixtureRequest, upstream: tuple[Upstream, dict[str, Answer]]
) -> Iterator[World]:
    with uvicorn(request.param, upstream[0].url) as served:
        yield World(*upstream, served)
    # A generator's own error is logged with its trace; ours are none, and leavers are no errors.
    for broken in ("ResponseAbortedError", "Task exception was never", "Exception in ASGI"):
        assert broken not in served.output, served.output


@pytest.fixture(scope="module")
def reference(
    upstream: tuple[Upstream, dict[str, Answer]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    cwd = tmp_path_factory.mktemp("reference")
    with serving("--upstream", upstream[0].url, cwd=cwd) as served:
        yield World(*upstream, served)


ANSWERS = {
    "whole": chat(["Was", "ser"], usage={"prompt_tokens": 1, "completion_tokens": 2}),
    "error in the middle": Answer([chunk({"content": "a"})], framing="close"),
    "one read": Answer([b"".join([chunk({"content": "x"})] * 500 + [chunk({}, "stop"), DONE])]),
}


# the same bytes


@every_wire
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_same_bytes_as_headwater_serve(
    w: World, reference: World, wire: str, answer: str
) -> None:
    def told(reader: Reader) -> tuple[int, str]:
        body = reader.rest()
        if answer == "error in the middle":
            assert outcome(wire, body) == is_error(wire, "truncated")
        return reader.head.status, anonymous(body, reader.stream)

    def directly(world: World, path: str, **headers: str) -> tuple[int, str]:
        body = body_of(wire, world.plan(ANSWERS[answer]))
        for name in ("threadId", "runId"):  # said again; a route of one's own knows none
            body.pop(name, None)
        return told(Reader(request(world.port, path, body, headers, timeout_s=BOUND_S)))

    expected = directly(reference, PATHS[wire])
    assert told(w.respond(prompt=w.plan(ANSWERS[answer]), wire=wire)) == expected
    own = body_of(wire, w.plan(ANSWERS[answer]))
    for name in ("threadId", "runId"):
        own.pop(name, None)
    assert told(w.respond(body=own, wire=wire)) == expected
    headers = {"X-User": "me"}
    for mount in ("/owned", "/later-owned"):
        assert directly(w, mount + PATHS[wire], **headers) == expected


@every_wire
def test_a_route_of_ones_own_takes_a_body_in_the_shape_of_its_wire(w: World, wire: str) -> None:
    prompt = w.plan(chat(["a"]))
    body = body_of(wire, prompt, temperature=1, stream=False)
    whole = w.respond(body=body, wire=wire, model="chosen", temperature=0)
    assert whole.head.status == 200
    assert whole.head.headers["content-type"] == "application/json"
    assert b'"a"' in whole.rest()
    asked = w.asked(prompt).json
    assert (asked["model"], asked["temperature"]) == ("chosen", 0)
    wrongs: list[Any] = [{}, [], "text", body | {"messages": 5, "input": 5}, body | {"api_key": ""}]
    for wrong in wrongs:
        refused = w.respond(body=wrong, wire=wire)
        assert refused.head.status == 400
        assert_refused(wire, refused.rest(), "invalid_request")


def test_a_chat_of_ones_own_route_is_found_and_stopped_by_the_mounted_ones(w: World) -> None:
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    chat_id = f"chat-{prompt}"
    reader = w.respond(body=body_of("ui", prompt, id=chat_id), wire="ui")
    reader.until(b'"delta":"a"')
    path = f"/ai/api/chat/{chat_id}/stream"
    again = Reader(request(w.port, path, timeout_s=BOUND_S))
    assert again.stream == reader.stream
    again.until(b'"delta":"a"')
    assert ask(w.port, path, method="DELETE").status == 204
    assert again.rest() == reader.rest()
    assert ask(w.port, path).status == 204
    owned = w.respond(body=body_of("ui", prompt, id=f"{chat_id}-owned"), wire="ui", principal="me")
    owned.until(b'"delta":"a"')
    assert ask(w.port, f"/ai/api/chat/{chat_id}-owned/stream", method="DELETE").status == 404
    owned.leave()


def test_a_generator_s_answer_is_found_by_the_chat_it_is_given(w: World) -> None:
    chat_id = f"chat-{next(_numbers)}"
    reader = w.respond(generator="stalling", wire="ui", chat=chat_id)
    reader.until(b'"text-delta"')
    path = f"/ai/api/chat/{chat_id}/stream"
    again = Reader(request(w.port, path, timeout_s=BOUND_S))
    assert again.stream == reader.stream
    assert ask(w.port, path, method="DELETE").status == 204
    assert again.rest() == reader.rest()


def test_heads(w: World) -> None:
    reader = w.respond(prompt=w.plan(chat(["a"])))
    headers = reader.head.headers
    assert reader.head.status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "x-request-id" in headers
    assert "content-length" not in headers
    assert "content-encoding" not in headers
    reader.rest()


def test_tokens_come_one_by_one(w: World) -> None:
    """Whatever stands between: each is here before the next was sent."""
    gates = [threading.Event() for _ in range(5)]
    steps: list[Any] = []
    for number, gate in enumerate(gates):
        steps += [chunk({"content": f"t{number} "}), gate]
    reader = w.respond(prompt=w.plan(Answer([*steps, chunk({}, "stop"), DONE])))
    for number, gate in enumerate(gates):
        reader.until(f"t{number} ".encode())
        gate.set()
    assert outcome("plain", reader.rest()) == "done"


def test_a_stream_of_ones_own_route_is_resumed_by_the_mounted_ones(w: World) -> None:
    """Begun without a principal: whoever knows its id may read and stop it."""
    gate = threading.Event()
    steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
    reader = w.respond(prompt=w.plan(Answer(steps)), wire="native")
    reader.until(b'"a"')
    path = f"/ai/v1/streams/{reader.stream}"
    other = Reader(request(w.port, path, None, {"Last-Event-ID": "1-2"}, timeout_s=BOUND_S))
    gate.set()
    whole = reader.rest()
    assert whole.endswith(other.rest())
    assert text_of("native", other.body) == "b"
    assert ask(w.port, path).body == whole
    assert ask(w.port, f"{path}?after=1-4").status == 204
    assert ask(w.port, path, method="DELETE").status == 204
    assert ask(w.port, path, headers={"Accept": "application/json"}).json["text"] == "ab"


def test_a_repeated_post_gets_the_stream_of_the_first(w: World) -> None:
    prompt, key = w.plan(ANSWERS["whole"]), f"key-{next(_numbers)}"
    first, again, mine = (
        keyed(w, key, prompt=prompt, **more) for more in ({}, {}, {"principal": "me"})
    )
    assert first.rest() == again.rest() == mine.rest()
    assert first.stream == again.stream != mine.stream
    assert len([post for post in w.upstream.posts if prompt_of(post) == prompt]) == 2
    other = keyed(w, key, prompt="another")
    assert other.head.status == 409
    assert json.loads(other.rest())["error"]["code"] == "idempotency_conflict"


def test_a_post_with_a_position_gets_the_rest_and_begins_nothing(w: World) -> None:
    prompt = w.plan(ANSWERS["whole"])
    whole = w.respond(prompt=prompt).rest()
    for position in ids(whole):
        headers = {"Last-Event-ID": position}
        again = request(w.port, "/respond", {"prompt": prompt}, headers, timeout_s=BOUND_S)
        rest = Reader(again).rest()
        assert rest
        assert whole.endswith(rest)
    headers = {"Last-Event-ID": "1-2"}
    lost = request(w.port, "/respond", {"prompt": f"{prompt} not"}, headers, timeout_s=BOUND_S)
    assert b"ask again without it" in Reader(lost).rest()
    assert len([post for post in w.upstream.posts if prompt in prompt_of(post)]) == 1


@pytest.mark.parametrize("wire", ["plain", "ui"])
def test_half_a_character_is_replaced(w: World, wire: str, request: pytest.FixtureRequest) -> None:
    """A page that cuts text by length sends one, and a host's JSON lets it pass."""
    if "litestar" in request.node.name:
        pytest.skip("its own JSON refuses it")
    prompt, key = w.plan(chat(["a"]), "\ufffd"), f"key-{next(_numbers)}"
    half = prompt.replace("\ufffd", "\ud83d")
    chats = {"id": half} if wire == "ui" else {}
    own = keyed(w, key, body=body_of(wire, half, **chats), wire=wire)
    assert text_of(wire, own.rest()) == "a"
    assert text_of(wire, keyed(w, f"{key}-2", prompt=half, wire=wire).rest()) == "a"


def keyed(w: World, key: str, **body: Any) -> Reader:
    headers = {"Idempotency-Key": key}
    return Reader(request(w.port, "/respond", body, headers, timeout_s=BOUND_S))


@pytest.mark.parametrize("generator", ["held open", "sync held open"])
def test_what_a_repeated_post_would_have_read_is_closed(w: World, generator: str) -> None:
    """Such as an SDK's request that was made before the response was."""
    key = f"key-{next(_numbers)}"
    first, again = (keyed(w, key, generator=generator) for _ in range(2))
    assert first.rest() == again.rest()
    assert text_of("plain", first.body) == "Was"
    w.closes(generator)


@pytest.mark.parametrize("mount", ["/owned", "/later-owned"])
def test_every_endpoint_is_under_the_prefix(w: World, mount: str) -> None:
    """What a client of each wire asks besides the POST: chats, responses, streams, models."""
    me = {"X-User": "me"}

    def get(path: str, method: str = "GET", **headers: str) -> Answered:
        body = b"{}" if method == "POST" else None
        return ask(w.port, mount + path, body, {**me, **headers}, method=method)

    def begin(wire: str) -> Reader:
        path, body = (
            mount + PATHS[wire],
            body_of(wire, w.plan(Answer([chunk({"content": "a"}), STALL]))),
        )
        reader = Reader(request(w.port, path, body, me, timeout_s=BOUND_S))
        reader.until(b'"a"')
        return reader

    chat_ = begin("ui")
    again = Reader(request(w.port, f"{mount}/api/chat/chat/stream", None, me, timeout_s=BOUND_S))
    assert again.stream == chat_.stream
    assert get("/api/chat/chat/stream", "DELETE").status == 204
    assert again.rest() == chat_.rest()
    assert get("/api/chat/chat/stream").status == 204

    response = begin("responses")
    name = f"/v1/responses/resp_{response.stream}"
    assert get(name).json["status"] == "in_progress"
    assert get(f"{name}/cancel", "POST").json["incomplete_details"] == {"reason": "cancelled"}
    whole = response.rest()
    rest = get(f"{name}?stream=true&starting_after=1").body
    assert [data_of(f) for f in frames(rest)] == [data_of(f) for f in frames(whole)[2:]]

    for wire in PATHS:
        reader = begin(wire)
        path = f"/v1/streams/{reader.stream}"
        assert get(path, "DELETE").status == 204
        assert get(f"{path}?wire={wire}").body == reader.rest()
        assert get(path, Accept="application/json").json["status"] == "cancelled"
        missing = get(f"{PATHS[wire]}/nothing/there")
        assert (missing.status, missing.error["code"]) == (404, "not_found")
    assert reader.stream in {each["stream"] for each in get("/v1/streams").json["data"]}
    assert get("/v1/models").json["data"]
    assert get("/headwater.js").status == get("/").status == get("/healthz").status == 200
    wrong = get("/v1/messages")  # told in its own wire, by its path under the prefix
    assert (wrong.status, wrong.json["type"]) == (405, "error")
    assert wrong.headers["request-id"] == wrong.headers["x-request-id"]


# who leaves


@some_wires
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("route", ["own", "mounted"])
def test_a_reader_who_leaves_frees_the_upstream(
    w: World, wire: str, when: str, route: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first: list[Any] = [chunk({"content": "a"})] if when == "after" else []
    prompt = w.plan(Answer([chunk({"role": "assistant"}), *first, STALL]))
    path, headers = "/respond", {"Host": "localhost"}
    body: dict[str, Any] = {"prompt": prompt, "wire": wire, "on_disconnect": "cancel"}
    if route == "mounted":
        path = "/owned" + PATHS[wire]
        headers |= {"X-User": "me", "Headwater-On-Disconnect": "cancel"}
        body = {"messages": [{"role": "user", "content": prompt}], "stream": True}
    sock = socket.create_connection(("127.0.0.1", w.port), BOUND_S)
    data = json.dumps(body).encode()
    headers |= {"Content-Length": str(len(data)), "Content-Type": "application/json"}
    lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    sock.sendall("\r\n".join(lines).encode() + data)
    w.asked(prompt)
    if when == "after":
        Reader(Arriving(sock)).until(b'"a"')
    left_at = time.monotonic()
    sock.close()
    took = w.freed(prompt, left_at)
    assert took < FREED_S
    with capsys.disabled():
        print(f" [left {when} the first token, {wire}, {route}: free after {took * 1000:.1f} ms] ")


@pytest.mark.parametrize("generator", ["stalling", "sync stalling", "stalling at once"])
def test_a_reader_who_leaves_closes_the_generator(w: World, generator: str) -> None:
    reader = w.respond(generator=generator, on_disconnect="cancel")
    if generator != "stalling at once":
        reader.until(b'"a"')
    reader.leave()
    assert w.closes(generator.replace(" ", "_")) < FREED_S


# generators


GOOD = ["async", "sync", "list iterator", "tuple", "events", "halves"]
BAD = {
    "raising later": "internal",
    "sync raising later": "internal",
    "yields None": "internal",
    "yields a number": "internal",
    "yields bytes": "internal",
    "yields a list": "internal",
    "yields the end": "internal",
    "cancelled inside": "internal",
    "exiting": "internal",
    "async exiting": "internal",
}
BAD_AT_ONCE = ["raising at once", "sync raising at once", "broken iterable"]


@some_wires
@pytest.mark.parametrize("generator", GOOD)
def test_generators(w: World, wire: str, generator: str) -> None:
    reader = w.respond(generator=generator, wire=wire)
    body = reader.rest()
    assert reader.head.status == 200
    assert outcome(wire, body) == is_end(wire, "stop")
    assert text_of(wire, body) == TEXT
    if generator == "events" and wire == "native":
        kinds = [json.loads(data_of(frame))["type"] for frame in frames(body)]
        assert kinds == [
            "stream-start",
            "reasoning-delta",
            "text-delta",
            "text-delta",
            "tool-call-start",
            "text-delta",
            "stream-end",
        ]


@every_wire
def test_a_generator_that_yields_nothing(w: World, wire: str) -> None:
    body = w.respond(generator="empty", wire=wire).rest()
    assert outcome(wire, body) == is_end(wire, "stop")
    assert text_of(wire, body) == ""


@some_wires
@pytest.mark.parametrize("generator", BAD)
def test_a_generator_that_fails_ends_the_stream_in_error(
    w: World, wire: str, generator: str
) -> None:
    """Whatever it raises; what it said before stays; its reason is nobody's business."""
    reader = w.respond(generator=generator, wire=wire)
    body = reader.rest()
    assert reader.head.status == 200
    assert outcome(wire, body) == is_error(wire, BAD[generator])
    assert text_of(wire, body) == "Was"
    assert b"hidden" not in body


@every_wire
@pytest.mark.parametrize("generator", BAD_AT_ONCE)
def test_a_generator_that_fails_before_its_first_word(w: World, wire: str, generator: str) -> None:
    reader = w.respond(generator=generator, wire=wire)
    body = reader.rest()
    assert b"hidden" not in body
    if wire in WAITING:
        assert reader.head.status == 500, body
        assert_refused(wire, body, "internal")
    else:
        assert reader.head.status == 200
        assert outcome(wire, body) == is_error(wire, "internal")


def test_a_generator_that_never_waits_does_not_hold_up_others(w: World) -> None:
    steady = w.respond(prompt=w.plan(chat(["t"] * 20, gap_s=0.05)))
    steady.until(b'"t"')
    greedy = w.respond(generator="greedy")
    thread = threading.Thread(target=greedy.rest)
    thread.start()
    arrived = [time.monotonic()]
    for count in range(2, 21):
        steady.until(b'"t"', count)
        arrived.append(time.monotonic())
    thread.join(BOUND_S)
    assert text_of("plain", greedy.body) == "x" * 50_000
    assert max(b - a for a, b in itertools.pairwise(arrived)) < 1.0


@every_wire
def test_errors_before_the_head_are_statuses(w: World, wire: str) -> None:
    """In the wires whose head waits; in the others they are in the stream."""
    limited = reply(429, {}, [("Retry-After", "30")])  # longer than anybody waits here
    for answer, status, code in (
        (limited, 429, "rate_limited"),
        (reply(401, {}), 502, "upstream_error"),
        (Answer([CUT], framing="raw"), 502, "truncated"),
    ):
        reader = w.respond(prompt=w.plan(answer), wire=wire)
        body = reader.rest()
        if wire in WAITING:
            assert reader.head.status == status
            assert_refused(wire, body, code)
            assert reader.head.headers.get("retry-after") == ("30" if answer is limited else None)
        else:
            assert reader.head.status == 200
            assert outcome(wire, body) == is_error(wire, code)


# who may


def test_mounted_without_keys_or_owner_generating_is_refused(w: World) -> None:
    before = len(w.upstream.posts)
    for wire, path in PATHS.items():
        body = body_of(wire, "hi")
        for headers in ({}, {"Authorization": "Bearer x"}, {"X-User": "me"}):
            answer = ask(w.port, f"/ai{path}", body, headers)
            assert answer.status == 401
            assert_refused(wire, answer.body, "unauthorized")
    assert len(w.upstream.posts) == before
    assert ask(w.port, "/ai/healthz").status == 200
    assert ask(w.port, "/ai/v1/streams").json["data"] == []


@pytest.mark.parametrize("mount", ["/owned", "/later-owned"])
def test_owner(w: World, mount: str) -> None:
    me, you = {"X-User": "me"}, {"X-User": "you"}
    body = {"messages": [{"role": "user", "content": w.plan(chat(["a"]))}]}
    for path in PATHS.values():
        answer = ask(w.port, mount + path, body)
        assert answer.status == 401
    mine = ask(w.port, f"{mount}/v1/streams", body, me).headers["headwater-stream"]
    path = f"{mount}/v1/streams/{mine}"
    assert ask(w.port, path, headers=me).status == 200
    for headers in (you, {}):
        for method in ("GET", "DELETE"):
            answer = ask(w.port, path, headers=headers, method=method)
            assert (answer.status, answer.error["code"]) == (404, "not_found")
    listed = [
        entry["stream"] for entry in ask(w.port, f"{mount}/v1/streams", headers=me).json["data"]
    ]
    assert mine in listed
    for headers in (you, {}):
        data = ask(w.port, f"{mount}/v1/streams", headers=headers).json["data"]
        assert mine not in [entry["stream"] for entry in data]
    # … and a stream that belongs to somebody is not served where nobody is asked for.
    assert ask(w.port, f"/ai/v1/streams/{mine}").status == 404


def test_a_stream_begun_with_an_owner_is_not_for_those_without(w: World) -> None:
    reader = w.respond(generator="async", principal="me")
    reader.rest()
    assert ask(w.port, f"/ai/v1/streams/{reader.stream}").status == 404
    assert ask(w.port, f"/ai/v1/streams/{reader.stream}", method="DELETE").status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ai/none", 404),
        ("GET", "/ai/assets/none", 404),
        ("GET", "/ai/stream", 405),
        ("PUT", "/ai/v1/streams", 405),
    ],
)
def test_mounted_errors_have_our_shape(w: World, method: str, path: str, status: int) -> None:
    answer = ask(w.port, path, method=method)
    assert answer.status == status
    assert "/ai" not in answer.error["message"] or status == 404
    assert answer.headers["x-request-id"]
