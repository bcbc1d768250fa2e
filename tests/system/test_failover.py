"""Routes of several providers, as a server's caller meets them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import (
    CUT,
    STALL,
    Answer,
    FaultyUpstream,
    chat,
    chunk,
    event,
    limited,
    reply,
)
from tests.helpers.arrivals import request
from tests.server.serving import Reader, Served, ask, frames, serving
from tests.server.wires import EVERY_WIRE, PATHS, body_of, is_end, outcome, text_of
from tests.server.world import WIRES

pytestmark = pytest.mark.system

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TOKENS = ["It ", "is ", "light", "."]
SECOND = chat(TOKENS, usage=USAGE)
TEXT = "".join(TOKENS)

CONFIG = """
[timeouts]
connect_s = 0.5
first_token_s = {first_token_s}
[providers.one]
base_url = "{one}"
[providers.two]
base_url = "{two}"
[models.m]
route = [{route}]
{hedge}
"""


class Routed:
    """A server whose model `m` is served by `one`, then by `two`."""

    def __init__(self, served: Served, one: FaultyUpstream, two: FaultyUpstream) -> None:
        self.served, self.one, self.two = served, one, two

    def post(self, wire: str = "native") -> Reader:
        body = {"messages": [{"role": "user", "content": "Why?"}], "model": "m", "stream": True}
        return Reader(request(self.served.port, PATHS[wire], body, timeout_s=10))

    def state(self, stream: str) -> Any:
        headers = {"Accept": "application/json"}
        return ask(self.served.port, f"/v1/streams/{stream}", headers=headers).json

    @property
    def asked(self) -> tuple[int, int]:
        return len(self.one.posts), len(self.two.posts)


@contextlib.contextmanager
def routed(
    cwd: Path,
    one: FaultyUpstream,
    two: FaultyUpstream,
    *,
    route: str = '"one/a", "two/b"',
    hedge: str = "",
    first_token_s: float = 0.7,
) -> Iterator[Routed]:
    with one, two:
        config = CONFIG.format(
            one=one.url, two=two.url, route=route, hedge=hedge, first_token_s=first_token_s
        )
        with serving(cwd=cwd, config=config) as served:
            yield Routed(served, one, two)


def terminal(body: bytes) -> Any:
    line = next(line for line in frames(body)[-1].split(b"\n") if line.startswith(b"data: "))
    return json.loads(line[6:])


ERROR = {"error": {"message": "The server had an error.", "type": "server_error"}}
#: What the first provider does, and how often it is asked for one request.
BEFORE: dict[str, tuple[Answer | None, tuple[int, int]]] = {
    "fault 1, refused": (None, (0, 0)),
    "fault 3, a key that is refused": (reply(401, ERROR), (1, 1)),
    "fault 3, a model that is not there": (reply(404, ERROR), (1, 1)),
    "fault 4, a limit for a while": (limited(30), (1, 1)),
    "fault 4, a limit for a moment": (limited(0.05, "milliseconds"), (3, 3)),
    "fault 5, 500": (reply(500, ERROR), (3, 3)),
    "fault 5, 529": (reply(529, ERROR), (3, 3)),
    "200 with an error": (Answer([event(ERROR)]), (3, 3)),
    "empty 200": (Answer([], framing="length"), (3, 3)),
    "not JSON": (Answer([b"data: {oh\n\n"]), (3, 3)),
    "fault 12, silence": (Answer([STALL]), (1, 1)),
    "fault 12, a role, then silence": (Answer([chunk({"role": "assistant"}), STALL]), (1, 1)),
    "reset": (Answer([CUT], framing="raw"), (3, 3)),
    "reset after the role": (Answer([chunk({"role": "assistant"}), CUT]), (3, 3)),
}


@pytest.mark.parametrize("fault", BEFORE)
def test_the_second_answers(fault: str, tmp_path: Path) -> None:
    answer, (least, most) = BEFORE[fault]
    one = FaultyUpstream(answer, reach="listen" if answer else "refuse")
    with routed(tmp_path, one, FaultyUpstream(SECOND)) as r:
        reader = r.post()
        body = reader.rest()
        assert (text_of("native", body), outcome("native", body)) == (TEXT, "stop")
        assert b"stream-repair" not in body
        end = terminal(body)
        assert end["usage"] == {"input_tokens": 3, "output_tokens": 2}
        assert end["timing"]["route"] == "two/b"
        assert least <= len(one.posts) <= most
        assert end["timing"]["attempts"] == (4 if answer is None else 1 + len(one.posts))
        assert [post.json["model"] for post in r.two.posts] == ["b"]
        # One log, whoever reads it, and it says who wrote it.
        for wire in WIRES:
            again = ask(r.served.port, f"/v1/streams/{reader.stream}?wire={wire}").body
            assert text_of(wire, again) == TEXT
        state = r.state(reader.stream)
        assert (state["status"], state["route"], state["text"]) == ("done", "two/b", TEXT)


THREE = """
[timeouts]
first_token_s = 0.7
[providers.one]
base_url = "{}"
[providers.two]
base_url = "{}"
[providers.three]
base_url = "{}"
api_key_env = "THREE"
[models.m]
route = ["one/a", "two/b", "three/c"]
"""


def told(tried: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(each["route"], each["code"]) for each in tried]


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_the_first_refuses_the_second_stalls_the_third_answers(wire: str, tmp_path: Path) -> None:
    """The reader sees the third's tokens alone, and the state tells the story, without secrets."""
    one = FaultyUpstream(reply(401, {"error": {"message": "bad key sk-hidden-123456"}}))
    two = FaultyUpstream(Answer([chunk({"role": "assistant"}), STALL]))
    with one, two, FaultyUpstream(SECOND) as three:
        config = THREE.format(one.url, two.url, three.url)
        with serving(cwd=tmp_path, config=config, environ={"THREE": "sk-three-hidden"}) as served:
            body = body_of(wire, "Why?")
            props = {"forwardedProps": {"model": "m"}} if wire == "agui" else {"model": "m"}
            reader = Reader(request(served.port, PATHS[wire], body | props, timeout_s=10))
            whole = reader.rest()
            assert (text_of(wire, whole), outcome(wire, whole)) == (TEXT, is_end(wire, "stop"))
            headers = {"Accept": "application/json"}
            state = ask(served.port, f"/v1/streams/{reader.stream}", headers=headers)
        two.wait(lambda: two.posts[0].hung_up_at is not None)
        assert [len(each.posts) for each in (one, two, three)] == [1, 1, 1]
    value = state.json
    assert (value["status"], value["route"], value["text"]) == ("done", "three/c", TEXT)
    assert value["timing"]["attempts"] == 3
    assert told(value["timing"]["tried"]) == [
        ("one/a", "upstream_error"),
        ("two/b", "upstream_timeout"),
    ]
    for answer in (whole, state.body):
        assert b"hidden" not in answer


def test_when_all_fail_the_state_says_why_each_did(tmp_path: Path) -> None:
    with routed(tmp_path, FaultyUpstream(reply(500, ERROR)), FaultyUpstream(limited(42))) as r:
        reader = r.post()
        assert outcome("native", reader.rest()) == "rate_limited"
        state = r.state(reader.stream)
        assert state["status"] == "failed"
        tried = [("one/a", "upstream_error"), ("two/b", "rate_limited")]
        assert told(state["timing"]["tried"]) == tried


def test_who_cannot_do_the_request_is_told_as_such(tmp_path: Path) -> None:
    """The first choice lacks a feature: it is not asked, and the state says so."""
    one, two = FaultyUpstream(), FaultyUpstream(SECOND)
    with one, two:
        config = CONFIG.format(
            one=one.url, two=two.url, route='"one/a", "two/b"', hedge="", first_token_s=1
        )
        config = config.replace("[providers.two]", 'dialect = "anthropic"\n[providers.two]')
        with serving(cwd=tmp_path, config=config) as served:
            body = {"messages": [{"role": "user", "content": "Why?"}], "model": "m", "seed": 3}
            reader = Reader(request(served.port, "/v1/streams", body, timeout_s=10))
            end = terminal(reader.rest())
        assert (len(one.posts), len(two.posts)) == (0, 1)
        assert (end["timing"]["route"], told(end["timing"]["tried"])) == (
            "two/b",
            [("one/a", "invalid_request")],
        )


def test_a_connection_that_hangs_is_given_up(tmp_path: Path) -> None:
    with routed(tmp_path, FaultyUpstream(reach="hang"), FaultyUpstream(SECOND)) as r:
        began = time.monotonic()
        assert text_of("openai", r.post("openai").rest()) == TEXT
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("wire", WIRES)
def test_what_is_wrong_with_the_request_is_told_at_once(wire: str, tmp_path: Path) -> None:
    said = {"error": {"message": "maximum context length is 8192 tokens"}}
    with routed(tmp_path, FaultyUpstream(reply(400, said)), FaultyUpstream(SECOND)) as r:
        assert b"8192 tokens" in r.post(wire).rest()
        assert r.asked == (1, 0)


def test_when_all_fail_the_last_one_s_error_is_told(tmp_path: Path) -> None:
    with routed(tmp_path, FaultyUpstream(reply(500, ERROR)), FaultyUpstream(limited(42))) as r:
        reader = r.post("openai")
        assert reader.head.status == 429
        assert reader.head.headers["retry-after"] == "42"
        reader.rest()
        assert r.asked == (3, 1)


AFTER: dict[str, list[Any]] = {
    "cut": [chunk({"content": "It "}), 0.1, CUT],
    "error": [chunk({"content": "It "}), event(ERROR)],
    "error in the same write": [chunk({"content": "It "}) + event(ERROR)],
}


@pytest.mark.parametrize("fault", AFTER)
def test_after_the_first_token_there_is_one_error_and_no_second_generation(
    fault: str, tmp_path: Path
) -> None:
    first = FaultyUpstream(Answer(AFTER[fault]))
    with routed(tmp_path, first, FaultyUpstream(SECOND)) as r:
        body = r.post().rest()
        assert text_of("native", body) == "It "
        assert body.count(b"stream-error") == 1
        assert outcome("native", body) in ("truncated", "upstream_error")
        assert not {"route", "tried"} & set(terminal(body)["timing"])
        assert r.asked == (1, 0)


def test_a_reader_who_leaves_during_an_attempt_frees_it(tmp_path: Path) -> None:
    one, two = FaultyUpstream(reply(401, ERROR)), FaultyUpstream(Answer([STALL]))
    with routed(tmp_path, one, two, first_token_s=30) as r:
        body = {"prompt": "Why?", "model": "m", "stream": True}
        headers = {"Headwater-On-Disconnect": "cancel"}
        reader = Reader(request(r.served.port, "/v1/streams", body, headers, timeout_s=10))
        two.wait(lambda: len(two.posts) == 1)
        left_at = reader.leave()
        two.wait(lambda: two.posts[0].hung_up_at is not None)
        assert two.posts[0].hung_up_at is not None
        assert two.posts[0].hung_up_at - left_at < 1
        assert r.asked == (1, 1)


HEDGE = "hedge = {{ after = {after}, max_extra = 1 }}".format


def test_a_slow_first_token_is_raced(tmp_path: Path) -> None:
    one, two = FaultyUpstream(Answer([STALL])), FaultyUpstream(SECOND)
    with routed(tmp_path, one, two, hedge=HEDGE(after=0.2), first_token_s=30) as r:
        began = time.monotonic()
        body = r.post().rest()
        assert 0.2 <= time.monotonic() - began < 2
        assert (text_of("native", body), outcome("native", body)) == (TEXT, "stop")
        one.wait(lambda: one.posts[0].hung_up_at is not None)
        won_at = two.posts[0].sent[0][0]
        assert one.posts[0].hung_up_at is not None
        assert one.posts[0].hung_up_at - won_at < 1
        assert terminal(body)["timing"]["attempts"] == 2


def test_a_model_s_only_provider_is_raced_by_itself(tmp_path: Path) -> None:
    slow = [Answer([STALL]), SECOND]
    one = FaultyUpstream(lambda _: slow.pop(0))
    hedge = HEDGE(after='"0.2s"')
    with routed(tmp_path, one, FaultyUpstream(), route='"one/a"', hedge=hedge) as r:
        assert text_of("native", r.post().rest()) == TEXT
        one.wait(lambda: one.posts[0].hung_up_at is not None)
        assert r.asked == (2, 0)


def test_who_is_in_time_is_not_raced(tmp_path: Path) -> None:
    with routed(tmp_path, FaultyUpstream(), FaultyUpstream(), hedge=HEDGE(after=5)) as r:
        assert text_of("native", r.post().rest()) == "Hello world"
        assert r.asked == (1, 0)


def test_a_provider_that_is_down_is_asked_last(tmp_path: Path) -> None:
    with routed(tmp_path, FaultyUpstream(reply(401, ERROR)), FaultyUpstream(SECOND)) as r:
        for _ in range(9):
            assert text_of("native", r.post().rest()) == TEXT
        assert r.asked == (5, 9)
