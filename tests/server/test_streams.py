"""Streams through a real `headwater serve`: whole, resumed, stopped, left, failed, drained."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import (
    CUT,
    DONE,
    STALL,
    Answer,
    chat,
    chunk,
    event,
    reply,
)
from tests.helpers.arrivals import Response
from tests.helpers.polling import eventually
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
from tests.server.world import BOUND_S, WIRES, World, world

pytestmark = pytest.mark.system

#: How soon an upstream must be free after its reader has gone or a stop was asked.
FREED_S = 2.0
some_wires = pytest.mark.parametrize("wire", WIRES)
every_wire = pytest.mark.parametrize("wire", EVERY_WIRE)


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("streams")) as running:
        yield running


@pytest.fixture(scope="module")
def nervous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with heartbeats and deadlines that a test can wait for."""
    config = """
        [server]
        heartbeat_s = 0.2
        [timeouts]
        first_token_s = 0.7
        idle_s = 0.7
        comments_s = 1.6
        total_s = 2.6
    """
    with world(tmp_path_factory.mktemp("nervous"), config) as running:
        yield running


# whole responses

RICH = Answer(
    [
        event({"choices": [], "prompt_filter_results": []}),
        chunk({"role": "assistant", "content": ""}),
        b": keep-alive\n\n",
        chunk({"reasoning_content": "Hm\n"}),
        chunk({"content": "Was"}),
        chunk({"content": 'ser "🌊"\u2028'}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        chunk(
            {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        chunk({}, "tool_calls"),
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}),
        DONE,
    ]
)

NATIVE = """\
id: 1-1
data: {"type":"stream-start","stream":"ID","model":"test-model","created":0}

id: 1-2
data: {"type":"reasoning-delta","text":"Hm\\n"}

id: 1-3
data: {"type":"text-delta","text":"Was"}

id: 1-4
data: {"type":"text-delta","text":"ser \\"🌊\\"\u2028"}

id: 1-5
data: {"type":"tool-call-start","call":"c1","name":"f"}

id: 1-6
data: {"type":"tool-call-delta","call":"c1","arguments":"{\\"a\\":"}

id: 1-7
data: {"type":"tool-call-start","call":"c2","name":"g"}

id: 1-8
data: {"type":"tool-call-delta","call":"c2","arguments":"{}"}

id: 1-9
data: {"type":"tool-call-delta","call":"c1","arguments":" 1}"}

id: 1-10
data: {"type":"tool-call-end","call":"c1"}

id: 1-11
data: {"type":"tool-call-end","call":"c2"}

id: 1-12
data: {"type":"stream-end","reason":"tool-calls","usage":{"input_tokens":3,"output_tokens":5},"timing":T}

"""
PLAIN = """\
id: 1-3
data: {"token": "Was"}

id: 1-4
data: {"token": "ser \\"🌊\\"\u2028"}

id: 1-12
data: [DONE]

"""


def openai_frames(*, usage: bool) -> str:
    """The golden response of the OpenAI wire."""
    head = '"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"test-model"'

    def one(position: str, delta: str, finish: str = "null") -> str:
        choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}'
        return f'{position}data: {{{head},"choices":[{choice}]}}\n\n'

    def tool(members: str) -> str:
        return f'{{"tool_calls":[{{{members}}}]}}'

    counted = '{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}'
    return "".join(
        [
            one("id: 1-1\n", '{"role":"assistant","content":""}'),
            one("id: 1-2\n", '{"reasoning_content":"Hm\\n"}'),
            one("id: 1-3\n", '{"content":"Was"}'),
            one("id: 1-4\n", '{"content":"ser \\"🌊\\"\u2028"}'),
            one(
                "id: 1-5\n",
                tool(
                    '"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}'
                ),
            ),
            one("id: 1-6\n", tool('"index":0,"function":{"arguments":"{\\"a\\":"}')),
            one(
                "id: 1-7\n",
                tool(
                    '"index":1,"id":"c2","type":"function","function":{"name":"g","arguments":""}'
                ),
            ),
            one("id: 1-8\n", tool('"index":1,"function":{"arguments":"{}"}')),
            one("id: 1-9\n", tool('"index":0,"function":{"arguments":" 1}"}')),
            one("", "{}", '"tool_calls"'),
            f'data: {{{head},"choices":[],"usage":{counted}}}\n\n' if usage else "",
            "id: 1-12\ndata: [DONE]\n\n",
        ]
    )


GOLDEN = {"native": NATIVE, "plain": PLAIN, "openai": openai_frames(usage=False)}


@some_wires
def test_the_whole_response_byte_for_byte(w: World, wire: str) -> None:
    reader = w.whole(wire, RICH)
    assert anonymous(reader.body, reader.stream) == GOLDEN[wire]
    headers = reader.head.headers
    assert reader.head.status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", reader.stream)
    for absent in ("connection", "content-encoding", "content-length", "server"):
        assert absent not in headers
    assert b"\r" not in reader.body


def test_usage_is_a_chunk_of_its_own_when_it_is_asked_for(w: World) -> None:
    reader = w.whole("openai", RICH, stream_options={"include_usage": True})
    assert anonymous(reader.body, reader.stream) == openai_frames(usage=True)


def test_timing(w: World) -> None:
    body = w.whole("native", chat(["a", "b"], gap_s=0.1)).body
    timing = json.loads(data_of(frames(body)[-1]))["timing"]
    assert list(timing) == ["queue", "connect", "first_token", "total", "overhead", "attempts"]
    assert timing["attempts"] == 1
    assert 0 <= timing["queue"] <= timing["connect"] <= timing["first_token"] <= timing["total"]
    assert timing["first_token"] >= 99
    assert timing["total"] >= 199
    assert timing["overhead"] < 50


def test_every_piece_is_an_event_of_its_own(w: World) -> None:
    """Never merged, never split, however the upstream's writes come."""
    tokens = [f"{number} " for number in range(1000)]
    pieces = [chunk({"content": token}) for token in tokens]
    end = [chunk({}, "stop"), DONE]
    one_write = Answer([b"".join([*pieces, *end])])
    whole = b"".join([*pieces[:50], *end])
    bytewise = Answer([whole[at : at + 1] for at in range(len(whole))])
    for answer, expected in ((one_write, tokens), (bytewise, tokens[:50])):
        data = [json.loads(data_of(f)) for f in frames(w.whole("native", answer).body)]
        assert [d["text"] for d in data if d["type"] == "text-delta"] == expected


def test_stream_false(w: World) -> None:
    for wire in WIRES:
        reader = w.whole(wire, RICH, stream=False)
        assert reader.head.headers["content-type"] == "application/json"
        value = json.loads(reader.body)
        if wire == "openai":
            assert isinstance(value.pop("created"), int)
            function = [
                {"name": "f", "arguments": '{"a": 1}'},
                {"name": "g", "arguments": "{}"},
            ]
            assert value == {
                "id": f"chatcmpl-{reader.stream}",
                "object": "chat.completion",
                "model": "test-model",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": 'Wasser "🌊"\u2028',
                            "refusal": None,
                            "reasoning_content": "Hm\n",
                            "tool_calls": [
                                {"id": f"c{n}", "type": "function", "function": f}
                                for n, f in enumerate(function, 1)
                            ],
                        },
                        "logprobs": None,
                        "finish_reason": "tool_calls",
                    }
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
            }
        else:
            assert value["text"] == 'Wasser "🌊"\u2028'
            assert value["stream"] == reader.stream
        assert w.upstream.posts[-1].json["stream"] is True


def test_the_state_as_json(w: World) -> None:
    gate = threading.Event()
    prompt = w.plan(Answer([chunk({"content": "Was"}), gate, *RICH.steps[4:]]))
    reader = w.post("native", prompt)
    reader.until(b"Was")
    running = w.state(reader.stream)
    gate.set()
    reader.rest()
    members = [
        "stream", "status", "model", "route", "text", "reasoning", "tool_calls",
        "usage", "timing", "error", "ended_by", "repairs", "repair", "metadata", "position",
    ]  # fmt: skip
    assert list(running) == members
    assert running["status"] == "running"
    assert running["text"] == "Was"
    assert running["position"] == "1-2"
    assert running["usage"] is running["timing"] is running["error"] is None
    done = w.state(reader.stream)
    assert done["status"] == "done"
    assert done["model"] == "test-model"
    assert done["route"] == "upstream/test-model"
    assert done["text"] == 'WasWasser "🌊"\u2028'
    assert done["usage"] == {"input_tokens": 3, "output_tokens": 5}
    assert done["position"] == ids(reader.body)[-1]
    assert [call["call"] for call in done["tool_calls"]] == ["c1", "c2"]
    for accept, json_ in (
        ("application/json", True),
        ("application/json, text/plain", True),
        ("text/event-stream", False),
        ("text/event-stream, application/json", False),
        ("*/*", False),
    ):
        answer = ask(w.port, f"/v1/streams/{reader.stream}", headers={"Accept": accept})
        assert (answer.headers["content-type"] == "application/json") == json_, accept


# resume


def tail(whole: bytes, position: str) -> bytes:
    """What the uncut response has after a position."""
    known = tuple(map(int, position.split("-")))
    parts = frames(whole)
    seen = 0
    for number, frame in enumerate(parts, 1):
        if any(tuple(map(int, each.split("-"))) <= known for each in ids(frame)):
            seen = number
    return b"".join(parts[seen:])


def resume(w: World, stream: str, wire: str, positions: Sequence[str]) -> None:
    """What follows each of these positions, byte for byte."""
    whole = w.get(stream, wire)
    assert ids(whole)[-1] == ids(w.get(stream, "native"))[-1]
    for position in positions:
        assert w.get(stream, wire, position) == tail(whole, position), (wire, position)


@every_wire
def test_resume_from_every_position(w: World, wire: str) -> None:
    """Byte for byte; a position of one wire is valid in every other."""
    reader = w.whole(wire, RICH)
    positions = ids(w.get(reader.stream, "native"))
    assert positions == [f"1-{seq}" for seq in range(1, 13)]
    assert w.get(reader.stream, wire) == reader.body
    resume(w, reader.stream, wire, positions)
    chance = random.Random(wire)
    for other in EVERY_WIRE:
        resume(w, reader.stream, other, chance.sample(ids(reader.body), 2))
        position = chance.choice(positions)
        by_query = ask(w.port, f"/v1/streams/{reader.stream}?wire={other}&after={position}")
        assert by_query.body == w.get(reader.stream, other, position)


@pytest.mark.proof
@every_wire
def test_resume_from_every_position_in_every_wire(w: World, wire: str) -> None:
    stream = w.whole(wire, RICH).stream
    for other in EVERY_WIRE:
        resume(w, stream, other, ids(w.get(stream, "native")))


def test_resume_keeps_the_options_of_the_response(w: World) -> None:
    reader = w.whole("openai", RICH, stream_options={"include_usage": True})
    for position in ids(reader.body)[:-1]:
        assert w.get(reader.stream, "openai", position) == tail(reader.body, position)


@every_wire
def test_resume_of_a_failed_and_of_a_cancelled_response(w: World, wire: str) -> None:
    failed = w.whole("native", Answer([chunk({"content": "a"}), CUT]))
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    cancelled = w.post("native", prompt)
    cancelled.until(b'"a"')
    assert ask(w.port, f"/v1/streams/{cancelled.stream}", method="DELETE").status == 204
    cancelled.rest()
    for reader in (failed, cancelled):
        whole = w.get(reader.stream, wire)
        for position in ids(reader.body):
            assert w.get(reader.stream, wire, position) == tail(whole, position)


def test_last_event_id_beats_after(w: World) -> None:
    stream = w.whole("native", RICH).stream
    whole = w.get(stream, "native")
    for header, query, position in (
        ("1-9", "1-2", "1-9"),
        ("1-2", "1-9", "1-2"),
        ("1-2", "garbage", "1-2"),
        ("", "1-9", "1-9"),
    ):
        path = f"/v1/streams/{stream}?after={query}"
        answer = ask(w.port, path, headers={"Last-Event-ID": header})
        assert answer.body == tail(whole, position)
    answer = ask(w.port, f"/v1/streams/{stream}?after=1-2", headers={"Last-Event-ID": "1-12"})
    assert answer.status == 204
    assert ask(w.port, f"/v1/streams/{stream}?after=").body == whole


@every_wire
def test_readers_who_come_while_it_runs_see_the_same(w: World, wire: str) -> None:
    gates = [threading.Event() for _ in range(3)]
    steps: list[Any] = []
    for number, gate in enumerate(gates):
        steps += [chunk({"content": f"t{number}a "}), chunk({"content": f"t{number}b "}), gate]
    prompt = w.plan(Answer([*steps, chunk({}, "stop"), DONE]))
    first = w.post(wire, prompt)
    readers = [first]
    for number, gate in enumerate(gates):
        for reader in readers:
            reader.until(f"t{number}b ".encode())
        readers.append(w.follow(first.stream, wire))
        readers.append(w.follow(first.stream, wire, ids(first.body)[-1]))
        readers[-2].until(f"t{number}b ".encode())  # what was before it comes at once
        gate.set()
    whole = first.rest()
    for number, reader in enumerate(readers[1:]):
        # every other one came from the start, the others from where the first one stood
        assert reader.rest() == whole if number % 2 == 0 else whole.endswith(reader.rest())
        assert reader.rest()
    assert outcome(wire, whole) == is_end(wire, "stop")
    w.asked(prompt)  # once


def test_head_is_answered_without_a_body(w: World) -> None:
    stream = w.whole("native", RICH).stream
    answer = ask(w.port, f"/v1/streams/{stream}", method="HEAD")
    assert answer.status == 200
    assert answer.headers["headwater-stream"] == stream


# stop


@every_wire
@pytest.mark.parametrize("when", ["before", "after"])
def test_stop(w: World, wire: str, when: str, capsys: pytest.CaptureFixture[str]) -> None:
    """204, the terminal event in every wire, the upstream free, and again 204."""
    first: list[Any] = [chunk({"content": "a"})] if when == "after" else []
    prompt = w.plan(Answer([chunk({"role": "assistant"}), *first, STALL]))
    heads: list[Reader] = []
    # Some heads wait for the first token: the id is in the list.
    thread = threading.Thread(target=lambda: heads.append(w.post(wire, prompt)))
    thread.start()
    w.asked(prompt)
    stream = ask(w.port, "/v1/streams").json["data"][0]["stream"]
    watched = [each for each in EVERY_WIRE if when == "after" or each not in WAITING]
    others = [w.follow(stream, other) for other in watched]
    if when == "after":
        for other in others:
            other.until(b'"a"')
    began = time.monotonic()
    stopped = ask(w.port, f"/v1/streams/{stream}", method="DELETE")
    assert (stopped.status, stopped.body) == (204, b"")
    took = w.freed(prompt, began)
    assert took < FREED_S
    with capsys.disabled():
        print(
            f" [DELETE {when} the first token, {wire}: upstream free after {took * 1000:.1f} ms] "
        )
    thread.join(BOUND_S)
    [reader] = heads
    assert reader.stream == stream
    assert outcome(wire, reader.rest()) == is_end(wire, "cancelled")
    for name, other in zip(watched, others, strict=True):
        assert outcome(name, other.rest()) == is_end(name, "cancelled")
        assert text_of(name, other.body) == ("a" if when == "after" else "")
    for _ in range(2):
        assert ask(w.port, f"/v1/streams/{stream}", method="DELETE").status == 204
    assert w.get(stream, wire) == reader.body  # exactly one end, and it stays
    assert w.state(stream)["status"] == "cancelled"
    unknown = ask(w.port, f"/v1/streams/{'0' * 32}", method="DELETE")
    assert (unknown.status, unknown.error["code"]) == (404, "not_found")


def test_stop_of_a_response_that_is_collected(w: World) -> None:
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    answers: list[Reader] = []
    thread = threading.Thread(target=lambda: answers.append(w.post("openai", prompt, stream=False)))
    thread.start()
    w.asked(prompt)
    stream = ask(w.port, "/v1/streams").json["data"][0]["stream"]
    follower = w.follow(stream)
    follower.until(b'"a"')
    ask(w.port, f"/v1/streams/{stream}", method="DELETE")
    thread.join(BOUND_S)
    value = json.loads(answers[0].rest())
    assert value["choices"][0]["finish_reason"] == "stop"
    assert value["choices"][0]["message"]["content"] == "a"


def test_stops_racing_the_end_give_one_end(w: World) -> None:
    for _ in range(10):
        gate = threading.Event()
        prompt = w.plan(Answer([chunk({"content": "a"}), gate, chunk({}, "stop"), DONE]))
        reader = w.post("native", prompt)
        reader.until(b'"a"')
        path = f"/v1/streams/{reader.stream}"
        threads = [
            threading.Thread(target=ask, args=(w.port, path), kwargs={"method": "DELETE"})
            for _ in range(3)
        ]
        for number, thread in enumerate(threads):
            if number == 1:
                gate.set()
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
        assert outcome("native", reader.rest()) in ("stop", "cancelled")
        assert w.get(reader.stream, "native") == reader.body


# the reader leaves


@some_wires
@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "collected"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reader_who_leaves_frees_the_upstream(
    w: World, wire: str, when: str, whole: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    first: list[Any] = [chunk({"content": "a"})] if when == "after" else []
    prompt = w.plan(Answer([chunk({"role": "assistant"}), *first, STALL]))
    sock = socket.create_connection(("127.0.0.1", w.port), BOUND_S)
    body = json.dumps({"messages": [{"role": "user", "content": prompt}], "stream": not whole})
    sock.sendall(
        f"POST {PATHS[wire]} HTTP/1.1\r\nHost: localhost\r\nHeadwater-On-Disconnect: cancel\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    w.asked(prompt)
    if when == "after":
        if whole:  # nothing is sent to the reader, so another tells that the token has come
            stream = ask(w.port, "/v1/streams").json["data"][0]["stream"]
            other = w.follow(stream)
            other.until(b'"a"')
            other.leave()
        else:
            response = Reader(Response(sock))
            response.until(b'"a"')
    left_at = time.monotonic()
    sock.close()
    took = w.freed(prompt, left_at)
    assert took < FREED_S
    with capsys.disabled():
        how = "collected" if whole else "streamed"
        print(f" [left {when} the first token, {wire}, {how}: free after {took * 1000:.1f} ms] ")
    ended = w.follow(ask(w.port, "/v1/streams").json["data"][0]["stream"])
    assert outcome("native", ended.rest()) == "cancelled"


def test_the_default_of_chat_completions_and_of_what_is_collected_is_cancel(w: World) -> None:
    for wire, members in (
        ("openai", {"stream": True}),
        ("openai", {}),
        ("plain", {"stream": False}),
        ("native", {"stream": False}),
    ):
        prompt = w.plan(Answer([chunk({"role": "assistant"}), STALL]))
        body = {"messages": [{"role": "user", "content": prompt}], **members}
        with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
            data = json.dumps(body).encode()
            head = f"POST {PATHS[wire]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}"
            sock.sendall(f"{head}\r\n\r\n".encode() + data)
            w.asked(prompt)
        assert w.freed(prompt, time.monotonic()) < FREED_S


@some_wires
def test_the_last_of_several_readers_counts(w: World, wire: str) -> None:
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    reader = w.post(wire, prompt, {"Headwater-On-Disconnect": "cancel"})
    reader.until(b'"a"')
    other = w.follow(reader.stream)
    other.until(b'"a"')
    reader.leave()
    # The server has noticed the first one's leave when a request after it is answered …
    for _ in range(5):
        assert w.state(reader.stream)["status"] == "running"
    left_at = other.leave()
    assert w.freed(prompt, left_at) < FREED_S


@some_wires
@pytest.mark.parametrize("when", ["before", "after"])
def test_continue_goes_on_without_a_reader(w: World, wire: str, when: str) -> None:
    gate = threading.Event()
    first: list[Any] = [chunk({"content": "a"})] if when == "after" else []
    steps = [chunk({"role": "assistant"}), *first, gate, chunk({"content": "b"})]
    prompt = w.plan(Answer([*steps, chunk({}, "stop"), DONE]))
    body = {"messages": [{"role": "user", "content": prompt}], "stream": True}
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
        sock.sendall(
            f"POST {PATHS[wire]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
            "Headwater-On-Disconnect: continue\r\n\r\n".encode()
            + data
        )
        w.asked(prompt)
        if when == "after":
            Reader(Response(sock)).until(b'"a"')
    stream = ask(w.port, "/v1/streams").json["data"][0]["stream"]
    post = w.asked(prompt)
    gate.set()
    w.upstream.wait(lambda: post.ended_at is not None or post.hung_up_at is not None)
    assert post.hung_up_at is None
    whole = w.follow(stream, wire).rest()
    assert text_of(wire, whole) == ("ab" if when == "after" else "b")
    assert outcome(wire, whole) in ("stop", "done")


def test_seconds_are_a_grace(w: World, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    reader = w.post("native", prompt, {"Headwater-On-Disconnect": "0.4"})
    reader.until(b'"a"')
    took = w.freed(prompt, reader.leave())
    assert 0.35 < took < 0.4 + FREED_S
    with capsys.disabled():
        print(f" [grace of 400 ms: upstream free after {took * 1000:.0f} ms] ")


def test_who_comes_back_within_the_grace_keeps_it_alive(w: World) -> None:
    gate = threading.Event()
    steps = [chunk({"content": "a"}), 1.2, chunk({"content": "b"}), gate]
    prompt = w.plan(Answer([*steps, chunk({}, "stop"), DONE]))
    reader = w.post("native", prompt, {"Headwater-On-Disconnect": "0.6"})
    reader.until(b'"a"')
    reader.leave()
    again = w.follow(reader.stream, "native", "1-2")
    again.until(b'"b"')  # twice the grace later
    gate.set()
    assert outcome("native", again.rest()) == "stop"
    assert w.asked(prompt).hung_up_at is None


# the upstream fails

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
ERROR = {"error": {"message": "no", "type": "t", "param": None, "code": None}}
#: Answer, then status and code in the OpenAI wire before its head.
BEFORE: dict[str, tuple[Answer, int, str]] = {
    "429": (reply(429, ERROR), 429, "rate_limited"),
    "429, seconds": (reply(429, ERROR, [("Retry-After", "7")]), 429, "rate_limited"),
    "429, milliseconds": (reply(429, ERROR, [("retry-after-ms", "6500")]), 429, "rate_limited"),
    "429, a date gone by": (reply(429, ERROR, [("Retry-After", DATE)]), 429, "rate_limited"),
    "429, a year": (reply(429, ERROR, [("Retry-After", "31536000")]), 429, "rate_limited"),
    "429, garbage": (reply(429, ERROR, [("Retry-After", "soon")]), 429, "rate_limited"),
    "401": (reply(401, ERROR), 502, "upstream_error"),
    "403": (reply(403, ERROR), 502, "upstream_error"),
    "400": (reply(400, ERROR), 400, "invalid_request"),
    "404": (reply(404, ERROR), 404, "model_not_found"),
    "408": (reply(408, ERROR), 504, "upstream_timeout"),
    "500": (reply(500, ERROR), 502, "upstream_error"),
    "503": (reply(503, ERROR), 502, "upstream_error"),
    "504": (reply(504, ERROR), 504, "upstream_timeout"),
    "529": (reply(529, ERROR), 502, "upstream_error"),
    "302": (reply(302, {}, [("Location", "http://127.0.0.1:9/")]), 502, "upstream_error"),
    "500, HTML": (
        Answer([b"<html>no</html>"], 500, [("Content-Type", "text/html")], "length"),
        502,
        "upstream_error",
    ),
    "500, endless body": (Answer([b"a" * 65536] * 64, 500, []), 502, "upstream_error"),
    "EOF before a head": (Answer([], framing="raw"), 502, "truncated"),
    "EOF after the head": (Answer([], framing="close"), 502, "upstream_error"),
    "reset": (Answer([CUT], framing="raw"), 502, "truncated"),
    "not HTTP": (Answer([b"hello\r\n\r\n"], framing="raw"), 502, "upstream_error"),
    "empty 200": (Answer([], framing="length"), 502, "upstream_error"),
    "200 with a JSON error": (reply(200, ERROR), 502, "upstream_error"),
    "200 with other JSON": (reply(200, {"detail": "no"}), 502, "truncated"),
    "200 with HTML": (
        Answer([b"<html>captcha</html>"], 200, [("Content-Type", "text/html")]),
        502,
        "upstream_error",
    ),
    "error at once": (Answer([event(ERROR)]), 502, "upstream_error"),
    "error at once, then [DONE]": (Answer([event(ERROR), DONE]), 502, "upstream_error"),
    "EOF after the role": (
        Answer([chunk({"role": "assistant"})], framing="close"),
        502,
        "truncated",
    ),
}
every_failure = pytest.mark.parametrize("failure", BEFORE)


@every_failure
@pytest.mark.parametrize(
    ("wire", "whole"),
    [("openai", False), ("openai", True), ("responses", False), ("anthropic", True)],
)
def test_before_the_first_token_it_is_a_status(
    w: World, failure: str, wire: str, whole: bool
) -> None:
    answer, status, code = BEFORE[failure]
    reader = w.whole(wire, answer, stream=not whole)
    assert reader.head.status == status, reader.body
    assert_refused(wire, reader.body, code)
    told = json.loads(reader.body)
    request_id = told["request_id"] if wire == "anthropic" else told["error"]["request_id"]
    assert request_id == reader.head.headers["x-request-id"]
    assert reader.head.headers["content-type"] == "application/json"
    assert "headwater-stream" in reader.head.headers
    expected = {
        "429, seconds": "7",
        "429, milliseconds": "7",
        "429, a date gone by": "1",
        "429, a year": "120",
    }
    assert reader.head.headers.get("retry-after") == expected.get(failure)
    for hidden in (b"<html", b"Traceback", b"127.0.0.1:9"):
        assert hidden not in reader.body
    assert len(reader.body) < 2000


@every_failure
@pytest.mark.parametrize("wire", [wire for wire in EVERY_WIRE if wire not in WAITING])
def test_or_it_is_told_in_the_stream(w: World, wire: str, failure: str) -> None:
    answer, _, code = BEFORE[failure]
    reader = w.whole(wire, answer)
    assert reader.head.status == 200
    assert outcome(wire, reader.body) == is_error(wire, code)
    if wire == "plain":
        assert list(map(data_of, frames(reader.body)))[-1] == b"[DONE]"
    assert w.state(reader.stream)["error"]["code"] == code
    assert w.state(reader.stream)["status"] == "failed"
    assert w.get(reader.stream, wire) == reader.body


def shape(*parts: bytes, code: str = "upstream_error") -> tuple[tuple[bytes, ...], str]:
    return parts, code


#: What comes after a first token, and how it ends. wires.md, "In", and then some.
AFTER = {
    "OpenAI's error": shape(event(ERROR)),
    "an error, then [DONE]": shape(event(ERROR), DONE),
    "an error, then more text": shape(event(ERROR), chunk({"content": "later"}), DONE),
    "an error, then a finish": shape(event(ERROR), chunk({}, "stop"), DONE),
    "two errors": shape(event(ERROR), event({"error": {"message": "second"}})),
    "an error as text": shape(event({"error": "overloaded"})),
    "an error beside choices": shape(
        event(
            {
                "error": {"code": 502, "message": "x"},
                "choices": [{"delta": {}, "finish_reason": None}],
            }
        )
    ),
    "finish_reason error": shape(chunk({}, "error"), DONE),
    "Groq's event": shape(
        b'event: error\ndata: {"error": {"message": "x", "status_code": 400}}\n\n',
        code="invalid_request",
    ),
    "an error event of no shape": shape(b"event: error\ndata: {}\n\n"),
    "old vLLM's": shape(event({"object": "error", "message": "x", "code": 40303})),
    "Gemini's": shape(event({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}})),
    "Gemini's in a list": shape(event([{"error": {"code": 503, "message": "x"}}])),
    "rate limit": shape(
        event({"error": {"type": "rate_limit_exceeded", "message": "x"}}), code="rate_limited"
    ),
    "a 429 inside": shape(event({"error": {"code": 429, "message": "x"}}), code="rate_limited"),
    "a 401 inside": shape(event({"error": {"code": 401, "message": "x"}})),
    "a timeout inside": shape(
        event({"error": {"code": 504, "message": "x"}}), code="upstream_timeout"
    ),
    "not JSON": shape(b"data: {oops\n\n", DONE),
    "a list": shape(event([1, 2]), DONE),
    "a number": shape(event(5), DONE),
    "null": shape(b"data: null\n\n", DONE),
    "deep JSON": shape(b"data: " + b"[" * 100_000 + b"\n\n"),
    "EOF": shape(code="truncated"),
    "EOF inside an event": shape(b'data: {"choices": [{"delta"', code="truncated"),
    "EOF inside a character": shape(
        b'data: {"choices": [{"delta": {"content": "\xf0\x9f', code="truncated"
    ),
}


@every_wire
@pytest.mark.parametrize("failure", [*AFTER, "reset", "EOF in a chunk"])
def test_after_the_first_token_the_error_is_in_the_stream(
    w: World, wire: str, failure: str
) -> None:
    """Exactly one terminal event; what was whole before it stays."""
    first: list[Any] = [chunk({"content": "Was"}), chunk({"content": "ser"})]
    gate = threading.Event()  # a reset takes with it what the client has not read yet
    if failure == "reset":
        answer, code = Answer([*first, b'data: {"cho', gate, CUT]), "truncated"
    elif failure == "EOF in a chunk":
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in first)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer, code = Answer([head + framed + b"ff\r\ndata:"], framing="raw"), "truncated"
    else:
        parts, code = AFTER[failure]
        answer = Answer([*first, *parts])
    reader = w.post(wire, w.plan(answer))
    assert reader.head.status == 200
    reader.until(b'"ser"')
    gate.set()
    reader.rest()
    assert outcome(wire, reader.body) == is_error(wire, code)
    assert text_of(wire, reader.body) == "Wasser"
    assert w.get(reader.stream, wire) == reader.body
    assert w.state(reader.stream)["text"] == "Wasser"


@every_wire
@pytest.mark.parametrize(
    "odd",
    [
        {"choices": "x"},
        {"choices": [{"delta": "Wasser"}]},
        {"choices": [{"delta": {"content": [{"type": "text", "text": "Wasser"}]}}]},
    ],
    ids=repr,
)
def test_what_cannot_be_understood_is_never_passed_over(w: World, wire: str, odd: object) -> None:
    """Its text is there, or the response failed; a hole in a good answer is the one wrong thing."""
    reader = w.whole(wire, Answer([chunk({"content": "a"}), event(odd), chunk({}, "stop"), DONE]))
    if outcome(wire, reader.body) == is_end(wire, "stop"):
        assert text_of(wire, reader.body) == "aWasser"


#: What is no error at all.
FINE = {
    "no [DONE]": chat(["Was", "ser"], done=False),
    "data after the end": Answer([*chat(["Was", "ser"]).steps, chunk({"content": "later"}), DONE]),
    "an error after [DONE]": Answer([*chat(["Was", "ser"]).steps, event(ERROR)]),
    "no space after the colon": Answer(
        [chunk({"content": "Wasser"}).replace(b"data: ", b"data:"), chunk({}, "stop")]
    ),
    "CRLF": Answer(
        [
            part.replace(b"\n", b"\r\n")
            for part in chat(["Was", "ser"]).steps
            if isinstance(part, bytes)
        ]
    ),
    "a BOM": Answer([b"\xef\xbb\xbf", *chat(["Was", "ser"]).steps]),
    "unknown events": Answer(
        [
            b"event: surprise\nid: 7\nretry: 5\ndata: {}\n\n",
            event({"object": "future", "x": [1]}),
            *chat(["Was", "ser"]).steps,
        ]
    ),
    "[DONE] without a finish": Answer([chunk({"content": "Wasser"}), DONE]),
    "error: null": Answer(
        [event({"error": None, "choices": [{"delta": {"content": "Wasser"}}]}), chunk({}, "stop")]
    ),
    "a choice without a delta": Answer([event({"choices": [{}]}), *chat(["Was", "ser"]).steps]),
    "half characters": Answer(
        [
            b'data: {"choices":[{"delta":{"content":"Wasser"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\\ud83c"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\\udf0a"}}]}\n\n',
            chunk({}, "stop"),
        ]
    ),
    "whole JSON though a stream was asked": reply(
        200, {"choices": [{"message": {"content": "Wasser"}, "finish_reason": "stop"}]}
    ),
    "odd usage beside text": Answer(
        [
            event(
                {
                    "choices": [{"index": 0, "delta": {"content": "Wasser"}}],
                    "usage": {"prompt_tokens": None, "completion_tokens": "n/a"},
                }
            ),
            chunk({}, "stop"),
            DONE,
        ]
    ),
    "odd members beside text": Answer(
        [
            event({"choices": [{"index": "0", "delta": {"content": "Wasser", "refusal": False}}]}),
            chunk({}, "stop"),
            DONE,
        ]
    ),
    "a content filter": chat(["Was", "ser"], finish="content_filter"),
    "an unknown finish": chat(["Was", "ser"], finish="eos_token"),
}


@every_wire
@pytest.mark.parametrize("what", FINE)
def test_what_is_no_error(w: World, wire: str, what: str) -> None:
    reader = w.whole(wire, FINE[what])
    reason = "content-filter" if what == "a content filter" else "stop"
    assert outcome(wire, reader.body) == is_end(wire, reason)
    text = text_of(wire, reader.body)
    assert text == ("Wasser🌊" if what == "half characters" else "Wasser")
    assert w.get(reader.stream, wire) == reader.body


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with serving("--upstream", url, cwd=tmp_path) as served:
            body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
            answer = ask(served.port, PATHS["openai"], body)
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert "headwater-stream" in answer.headers
            for wire in ("plain", "native"):
                answer = ask(served.port, PATHS[wire], body)
                assert answer.status == 200
                assert outcome(wire, answer.body) == is_error(wire, "upstream_error")


@some_wires
def test_a_key_that_cannot_be_sent_is_told_at_once(tmp_path: Path, wire: str) -> None:
    """A secret with its line end in it must not look like a slow upstream."""
    with world(tmp_path, HEADWATER_UPSTREAM_API_KEY="sk-hidden\nx") as w:
        began = time.monotonic()
        body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
        answer = ask(w.port, PATHS[wire], body)
        assert time.monotonic() - began < 5
        assert b"sk-hidden" not in answer.body
        if wire == "openai":
            assert answer.status >= 400, answer.body
        else:
            assert outcome(wire, answer.body) != "stop"


# silence


@some_wires
@pytest.mark.parametrize("when", ["before", "after"])
def test_heartbeats_in_silence(nervous: World, wire: str, when: str) -> None:
    w = nervous
    if when == "before" and wire == "openai":
        pytest.skip("its head waits for the first event, for 15 s")
    token = chunk({"content": "a"})
    steps: list[Any] = [0.65, token] if when == "before" else [token, 0.65]
    prompt = w.plan(Answer([*steps, chunk({"content": "b"}), chunk({}, "stop"), DONE]))
    began = time.monotonic()
    reader = w.post(wire, prompt)
    assert time.monotonic() - began < 0.5  # the head comes at once
    reader.until(b": ping\n")
    assert time.monotonic() - began > 0.15
    body = reader.rest()
    # Not one event more or less, and a heartbeat is a line before an event, with no blank line.
    assert 2 <= body.count(b": ping\n") <= 4
    assert b": ping\n\n" not in body
    for frame in frames(body):
        bare = re.sub(rb"\A(?:: ping\n)+", b"", frame)
        assert bare.startswith((b"id: ", b"data: "))
        assert b": ping" not in bare
    assert body.replace(b": ping\n", b"") == w.get(reader.stream, wire)


def test_no_heartbeat_while_tokens_come(nervous: World) -> None:
    body = nervous.whole("native", chat(["x"] * 12, gap_s=0.1)).body
    assert b": ping" not in body


LATE: dict[str, tuple[list[Any], str, float]] = {
    "nothing at all": ([STALL], "sent no token", 0.7),
    "a role, then nothing": ([chunk({"role": "assistant"}), STALL], "0.7 s", 0.7),
    "a token, then nothing": ([chunk({"content": "a"}), STALL], "silent", 0.7),
    "comments for ever, no token": ([b": hm\n\n", 0.2] * 40, "comments", 1.6),
    "a token, then comments for ever": (
        [chunk({"content": "a"}), *[b": hm\n\n", 0.2] * 40],
        "comments",
        1.6,
    ),
    "comments, then nothing": ([b": hm\n\n", 0.2] * 3 + [STALL], "", 1.1),
    "tokens for ever": ([chunk({"content": "a"}), 0.2] * 40, "in all", 2.6),
}


@pytest.mark.parametrize("what", LATE)
def test_an_upstream_that_is_late(nervous: World, what: str) -> None:
    """In all wires at once: the error, on time, and the upstream free."""
    w = nervous
    steps, words, seconds = LATE[what]
    results: dict[str, tuple[Reader, float]] = {}

    def read(wire: str, prompt: str) -> None:
        began = time.monotonic()
        reader = w.post(wire, prompt)
        reader.rest()
        results[wire] = reader, time.monotonic() - began

    prompts = {wire: w.plan(Answer(steps)) for wire in EVERY_WIRE}
    threads = [threading.Thread(target=read, args=item) for item in prompts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    for wire, (reader, took) in results.items():
        assert seconds - 0.1 < took < seconds + FREED_S, (wire, took)
        tokens = steps[0] == chunk({"content": "a"})
        if wire in WAITING and not tokens:
            assert reader.head.status == 504
            assert words in json.loads(reader.body)["error"]["message"]
        else:
            assert reader.head.status == 200
            assert outcome(wire, reader.body) == is_error(wire, "upstream_timeout")
            assert words in reader.body.decode()
        assert w.freed(prompts[wire], time.monotonic()) < FREED_S
    assert len(results) == len(EVERY_WIRE)


def test_comments_keep_a_silent_upstream_alive(nervous: World) -> None:
    """Longer than the idle limit, within that of comments: reasoning models do."""
    silence: list[Any] = [b": hm\n\n", 0.3] * 4
    steps = [*silence, chunk({"content": "a"}), *silence, chunk({}, "stop"), DONE]
    body = nervous.whole("native", Answer(steps)).body.replace(b": ping\n", b"")
    assert outcome("native", body) == "stop"


# limits


def test_no_more_streams_than_max_streams(tmp_path: Path) -> None:
    with world(tmp_path, "[server]\nmax_streams = 2") as w:
        gate = threading.Event()
        slow = Answer([chunk({"content": "a"}), gate, chunk({}, "stop"), DONE])
        readers = [w.post("native", w.plan(slow)) for _ in range(2)]
        for reader in readers:
            reader.until(b'"a"')
        for wire in EVERY_WIRE:
            answer = ask(w.port, PATHS[wire], body_of(wire, "hi", model="m"))
            assert answer.status == 503
            assert_refused(wire, answer.body, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert ask(w.port, "/readyz").status == 200
        follower = w.follow(readers[0].stream)  # reading starts nothing
        gate.set()
        for reader in (*readers, follower):
            assert outcome("native", reader.rest()) == "stop"
        assert outcome("native", w.whole("native", chat(["a"])).body) == "stop"
        assert len(w.upstream.posts) == 3


@some_wires
def test_a_response_longer_than_a_stream_may_be(tmp_path: Path, wire: str) -> None:
    with world(tmp_path, "[store]\nmax_stream_bytes = 2000") as w:
        prompt = w.plan(Answer([chunk({"content": "0123456789" * 5}), 0.01] * 100 + [STALL]))
        reader = w.post(wire, prompt)
        body = reader.rest()
        assert outcome(wire, body) == is_error(wire, "too_large")
        text = text_of(wire, body)
        assert 0 < len(text) < 2000
        assert text == "0123456789" * (len(text) // 10)
        assert w.freed(prompt, time.monotonic()) < FREED_S
        assert w.get(reader.stream, wire) == body


def test_a_store_too_small_for_any_stream_asks_no_upstream(tmp_path: Path) -> None:
    with world(tmp_path, "[store]\nmax_stream_bytes = 10") as w:
        prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
        reader = w.post("native", prompt)
        assert outcome("native", reader.rest()) == "too_large"
        assert w.served.process.poll() is None
        with contextlib.suppress(AssertionError):  # either it was never asked, or it is free
            w.upstream.wait(lambda: len(w.upstream.posts) > 0, 0.5)
        if w.upstream.posts:
            assert w.freed(prompt, time.monotonic()) < FREED_S


def test_a_stream_that_was_evicted_is_410(tmp_path: Path) -> None:
    """Configuration: `max_bytes`, oldest ended first, then 410."""
    with world(tmp_path, "[store]\nmax_bytes = 40000") as w:
        streams = [w.whole("native", chat(["x" * 1000] * 3)).stream for _ in range(12)]
        answer = ask(w.port, f"/v1/streams/{streams[3]}")
        assert (answer.status, answer.error["code"]) == (410, "trimmed")


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


def test_a_reader_who_never_reads_holds_nobody_and_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 MiB to twenty readers who take nothing: memory grows by the log, not by the readers."""
    piece = "x" * 4096
    count = 3000
    with world(tmp_path) as w:
        w.whole("native", chat([piece] * 10))
        gate = threading.Event()
        steps: list[Any] = [chunk({"content": "a"}), gate, *[chunk({"content": piece})] * count]
        first = w.post("native", w.plan(Answer([*steps, chunk({}, "stop"), DONE])))
        first.until(b'"a"')
        stuck = [w.follow(first.stream, wire) for wire in (*WIRES, "native") * 5]
        for reader in stuck:
            reader.until(b'"a"')
        before = resident(w.served.process.pid)
        began = time.monotonic()
        gate.set()
        whole = first.rest()
        took = time.monotonic() - began
        grown = resident(w.served.process.pid) - before
        with capsys.disabled():
            print(f" [12 MiB past 20 stuck readers: {took:.2f} s, {grown / 2**20:.0f} MiB more] ")
        assert outcome("native", whole) == "stop"
        assert text_of("native", whole) == "a" + piece * count
        assert took < BOUND_S
        # The log is 12 MiB; twenty copies of it would be 240.
        assert grown < 100 * 2**20
        other = w.whole("native", chat(["quick"]))
        assert outcome("native", other.body) == "stop"
        assert stuck[1].rest() == whole  # native: it lost nothing by waiting
        for reader in stuck:
            reader.leave()


def test_a_burst_does_not_hold_up_other_streams(w: World) -> None:
    """Fault 25: thousands of tokens in a read of one stream, an even rhythm in another."""
    burst = b"".join([chunk({"content": "x"})] * 5000)
    steady = w.post("native", w.plan(chat(["t"] * 20, gap_s=0.05)))
    steady.until(b'"t"')
    loud = w.post("native", w.plan(Answer([burst, burst, chunk({}, "stop"), DONE])))
    arrived = [time.monotonic()]
    thread = threading.Thread(target=loud.rest)
    thread.start()
    for count in range(2, 21):
        steady.until(b'"t"', count)
        arrived.append(time.monotonic())
    thread.join(BOUND_S)
    steady.rest()
    assert text_of("native", loud.body) == "x" * 10_000
    longest = max(after - before for before, after in itertools.pairwise(arrived))
    assert longest < 0.5


# connections


def test_a_connection_is_kept_for_the_next_request(w: World) -> None:
    sock = socket.create_connection(("127.0.0.1", w.port), BOUND_S)
    bodies = []
    with sock:
        for _ in range(3):
            prompt = w.plan(chat(["a", "b"]))
            data = json.dumps({"prompt": prompt}).encode()
            head = (
                f"POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            sock.sendall(head.encode() + data)
            answer = b""
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                part = sock.recv(65536)
                assert part
                answer += part
            bodies.append(answer.count(b'"token"'))
    assert bodies == [2, 2, 2]


def test_pipelined_requests_are_answered_in_order(w: World) -> None:
    prompts = [w.plan(chat([f"n{number}"], gap_s=0.05)) for number in range(3)]
    data = [json.dumps({"prompt": prompt}).encode() for prompt in prompts]
    head = b"POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
        sock.sendall(b"".join(head % len(each) + each for each in data))
        answer = b""
        while answer.count(b"\r\n0\r\n\r\n") < 3:
            part = sock.recv(65536)
            assert part, answer
            answer += part
    assert re.findall(rb'"token": "(n\d)"', answer) == [b"n0", b"n1", b"n2"]


def test_http_1_0_has_no_chunks(w: World) -> None:
    prompt = w.plan(chat(["a"]))
    data = json.dumps({"prompt": prompt}).encode()
    head = f"POST /stream HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
        sock.sendall(head.encode() + data)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    assert outcome("plain", body) == "done"


# the server stops


def sigterm(served: Served) -> float:
    served.process.send_signal(signal.SIGTERM)
    return time.monotonic()


def refuses(port: int) -> None:
    """Wait until the port is closed."""

    def closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), BOUND_S).close()
        except OSError:
            return True
        return False

    eventually(closed, "the port is closed")


def test_sigterm_with_nothing_running(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        w.whole("native", chat(["a"]))
        idle = socket.create_connection(("127.0.0.1", w.port), BOUND_S)
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        began = sigterm(w.served)
        assert w.served.wait(BOUND_S) == 0
        assert time.monotonic() - began < 5
        idle.close()


@some_wires
def test_sigterm_lets_a_running_stream_finish(tmp_path: Path, wire: str) -> None:
    with world(tmp_path, "[server]\ndrain_s = 20") as w:
        gate = threading.Event()
        steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
        reader = w.post(wire, w.plan(Answer(steps)))
        reader.until(b'"a"')
        sigterm(w.served)
        refuses(w.port)
        assert w.served.process.poll() is None
        gate.set()
        began = time.monotonic()
        whole = reader.rest()
        assert text_of(wire, whole) == "ab"
        assert outcome(wire, whole) in ("stop", "done")
        assert w.served.wait(BOUND_S) == 0
        assert time.monotonic() - began < 5  # as soon as the last has ended


@some_wires
@pytest.mark.parametrize("when", ["before", "after"])
def test_sigterm_interrupts_at_the_deadline(
    tmp_path: Path, wire: str, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with world(tmp_path, "[server]\ndrain_s = 0.5") as w:
        first: list[Any] = [chunk({"content": "a"})] if when == "after" else []
        prompt = w.plan(Answer([chunk({"role": "assistant"}), *first, STALL]))
        readers: list[Reader] = []
        thread = threading.Thread(target=lambda: readers.append(w.post(wire, prompt)))
        thread.start()
        w.asked(prompt)
        if when == "after":
            thread.join(BOUND_S)
            readers[0].until(b'"a"')
        began = sigterm(w.served)
        thread.join(BOUND_S)
        [reader] = readers
        body = reader.rest()
        took = time.monotonic() - began
        if wire == "openai" and when == "before":
            assert reader.head.status == 502
            assert json.loads(body)["error"]["code"] == "interrupted"
        else:
            assert outcome(wire, body) == is_error(wire, "interrupted")
        assert 0.4 < took < 5
        assert w.freed(prompt, began) < 0.5 + FREED_S
        assert w.served.wait(BOUND_S) == 0
        with capsys.disabled():
            print(f" [drain of 500 ms, {wire}, {when}: ended after {took * 1000:.0f} ms] ")


def test_sigterm_with_a_reader_who_never_reads(tmp_path: Path) -> None:
    """Whoever does not take the last bytes does not keep the process."""
    with world(tmp_path, "[server]\ndrain_s = 0.5") as w:
        prompt = w.plan(Answer([*[chunk({"content": "x" * 4096})] * 1500, STALL]))
        reader = w.post("native", prompt)
        reader.until(b"xxx")
        post = w.asked(prompt)
        w.upstream.wait(lambda: len(post.sent) == 1500)
        began = sigterm(w.served)
        w.served.wait(BOUND_S)
        assert time.monotonic() - began < BOUND_S
        reader.leave()
