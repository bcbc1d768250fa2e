"""An answer that breaks off goes on: the model killed, the upstream cut, the process killed.

The text begins with exactly what readers had, nothing is doubled, one seam says where, and there is
one end. It need not be the text that an unbroken answer would have had.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import CUT, STALL, Answer, FaultyUpstream, Request, chat, chunk, reply
from tests.conftest import Figures
from tests.helpers.arrivals import request
from tests.helpers.polling import eventually
from tests.helpers.redis import empty_redis
from tests.helpers.servers import Server, is_running
from tests.server.serving import Reader, Served, ask, data_of, frames, ids, serving
from tests.server.wires import outcome, text_of

pytestmark = pytest.mark.system

WIRES = ["native", "plain", "openai", "responses", "anthropic", "ui", "agui"]
LONG = "Write a long story about a river, from its spring to the sea."
LEASE_S = 1.0
BOUND_S = 60.0

TOKENS = ["Was ", "weiß ", "der ", "Fluß ", "vom ", "Meer, ", "zu ", "dem ", "er ", "🌊\n\n"] * 6
TEXT = "".join(TOKENS)


def post(port: int, body: dict[str, Any], **headers: str) -> Reader:
    return Reader(request(port, "/v1/streams", body, headers, timeout_s=BOUND_S))


def follow(port: int, stream: str, wire: str = "native", after: str | None = None) -> Reader:
    headers = {} if after is None else {"Last-Event-ID": after}
    path = f"/v1/streams/{stream}?wire={wire}"
    return Reader(request(port, path, None, headers, timeout_s=BOUND_S))


def seams(body: bytes) -> list[Any]:
    events = [json.loads(data_of(frame)) for frame in frames(body)]
    return [event for event in events if event["type"] == "stream-repair"]


def native_count(body: bytes, kind: str, until: bytes) -> int:
    """How many events of a kind came before the first of another."""
    return body[: body.index(until)].count(f'"type":"{kind}"'.encode())


def whole(body: bytes) -> bytes:
    """What had come of a response that was cut, without an event that was not all there."""
    return body.rpartition(b"\n\n")[0] + b"\n\n"


def every_position_gives_the_rest(port: int, stream: str, step: int = 1) -> None:
    native = follow(port, stream).rest()
    seam = native.index(b'"type":"stream-repair"')
    positions = ids(native)
    near = len(ids(native[:seam]))
    chosen = {*positions[::step], *positions[near - 3 : near + 3]}
    for wire in WIRES:
        body = follow(port, stream, wire).rest()
        for position in chosen:
            path = f"/v1/streams/{stream}?wire={wire}"
            rest = ask(port, path, headers={"Last-Event-ID": position})
            assert rest.status == (204 if position == positions[-1] else 200)
            assert body.endswith(rest.body)
            mark = f"id: {position}\n".encode()
            if mark in body:
                assert rest.body == body[body.index(b"\n\n", body.index(mark)) + 2 :]


# the model's process


@pytest.mark.usefixtures("embedded")
@pytest.mark.timeout(300)
def test_a_killed_model_goes_on_for_readers_in_every_wire(tmp_path: Path, figures: Figures) -> None:
    with serving(cwd=tmp_path) as served:
        server = Server(served.port, served.process)
        reader = post(served.port, {"prompt": LONG, "max_tokens": 60, "temperature": 0})
        others = {wire: follow(served.port, reader.stream, wire) for wire in WIRES}
        before = reader.until(b"text-delta", 15)
        [child] = server.children()
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
        reader.until(b"stream-repair")
        figures(
            "kill -9 of the model to the first token after", f"{time.monotonic() - killed:.2f} s"
        )
        body = reader.rest()
        assert body.startswith(before)
        [seam] = seams(body)
        assert seam["reason"] == "truncated"
        assert seam["from"] == "local/smollm2-135m"
        assert outcome("native", body) in ("stop", "length")
        text = text_of("native", body)
        assert len(text) > len(text_of("native", whole(before)))
        for wire, other in others.items():
            read = other.rest()
            assert text_of(wire, read) == text, wire
            assert read == follow(served.port, reader.stream, wire).rest()
        assert others["native"].body == body
        every_position_gives_the_rest(served.port, reader.stream, step=10)
        path = f"/v1/streams/{reader.stream}"
        state = ask(served.port, path, headers={"Accept": "application/json"}).json
        assert state["status"] == "done"
        assert state["repairs"] == [{"reason": seam["reason"], "from": seam["from"]}]
        assert state["timing"]["attempts"] >= 2
        assert [pid for pid in server.children() if is_running(pid)] != [child]


# the upstream

GoesOn = Callable[[str], Answer]


def rest_of(said: str, *, echo: bool = False, size: int = 7, gap_s: float = 0.0) -> Answer:
    """What a provider says that is given `said`: the rest of TEXT, all of it where it echoes."""
    text = TEXT if echo else TEXT[len(said) :]
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return chat(parts, gap_s=gap_s, usage={"prompt_tokens": 9, "completion_tokens": 3})


def continuing(go_on: GoesOn, begin: Answer) -> Callable[[Request], Answer]:
    def answer(asked: Request) -> Answer:
        if asked.method == "GET":
            return reply(200, {"data": [{"id": "test-model"}]})
        last = asked.json["messages"][-1]
        if last["role"] != "assistant":
            return begin
        assert TEXT.startswith(last["content"])
        return go_on(last["content"])

    return answer


ROUTE = """
[timeouts]
idle_s = {idle_s}
[store]
lease_s = {lease_s}
[server]
drain_s = 0.3
[providers.one]
base_url = "{one}"
[providers.two]
base_url = "{two}"
continues = {continues}
{more}
[models.m]
route = ["one/a", "two/b"]
"""
BODY = {"prompt": "?", "model": "m", "max_tokens": 500}


@contextlib.contextmanager
def routed(
    cwd: Path,
    one: FaultyUpstream,
    two: FaultyUpstream,
    *arguments: str,
    more: str = "",
    idle_s: float = 30,
    continues: str = "true",
) -> Iterator[Served]:
    cwd.mkdir(exist_ok=True)
    config = ROUTE.format(
        one=one.url, two=two.url, more=more, idle_s=idle_s, lease_s=LEASE_S, continues=continues
    )
    with serving(*arguments, cwd=cwd, config=config) as served:
        yield served


def begun(count: int, *ending: Any) -> Answer:
    return Answer([*(chunk({"content": token}) for token in TOKENS[:count]), *ending])


BREAKS: dict[str, tuple[Answer, str]] = {
    "fault 16, the end is missing": (Answer([*begun(3).steps]), "truncated"),
    "fault 17, a reset inside an event": (begun(7, chunk({"content": "x"})[:20], CUT), "truncated"),
    "an error inside": (begun(2, b'data: {"error": {"message": "overloaded"}}\n\n'), "upstream"),
    "fault 14, silence": (begun(4, STALL), "upstream_timeout"),
}


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("echo", [False, True], ids=["goes on", "repeats it"])
def test_the_next_of_the_route_goes_on(fault: str, echo: bool, tmp_path: Path) -> None:
    answer, reason = BREAKS[fault]
    two = continuing(lambda said: rest_of(said, echo=echo), chat(["never"]))
    more = "" if echo else "echoes = false"
    with (
        FaultyUpstream(answer) as first,
        FaultyUpstream(two) as second,
        routed(tmp_path, first, second, more=more, idle_s=0.5) as served,
    ):
        reader = post(served.port, BODY)
        body = reader.rest()
        assert text_of("native", body) == TEXT
        [seam] = seams(body)
        assert seam["reason"].startswith(reason)
        assert seam["from"] == "two/b"
        assert outcome("native", body) == "stop"
        end = json.loads(data_of(frames(body)[-1]))
        assert end["timing"]["attempts"] == 2
        assert end["timing"]["route"] == "two/b"
        assert end["usage"] == {"input_tokens": 9, "output_tokens": 3}
        [asked] = second.posts
        assert asked.json["continue_final_message"] is True
        assert asked.json["max_tokens"] == 500 - native_count(body, "text-delta", b"stream-repair")
        every_position_gives_the_rest(served.port, reader.stream, step=5)


def test_with_no_entry_that_continues_it_ends_truncated(tmp_path: Path) -> None:
    with (
        FaultyUpstream(begun(3, CUT)) as first,
        FaultyUpstream(chat(["never"])) as second,
        routed(tmp_path, first, second, continues="false") as served,
    ):
        body = post(served.port, BODY).rest()
        assert (text_of("native", body), outcome("native", body)) == (
            "".join(TOKENS[:3]),
            "truncated",
        )
        assert second.posts == []


# the process


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return empty_redis()
    return f"sqlite:///{tmp_path / 'streams.db'}"


def slowly(said: str) -> Answer:
    return rest_of(said, gap_s=0.02)


def endlessly(said: str) -> Answer:
    return Answer([chunk({"content": "and "}), STALL])


@contextlib.contextmanager
def nodes(
    store: str, cwd: Path, count: int, go_on: GoesOn = slowly
) -> Iterator[tuple[list[Served], FaultyUpstream]]:
    """Processes on one store, and who goes on there."""
    answers = continuing(go_on, chat(["never"]))
    slow = Answer([part for t in TOKENS[:30] for part in (0.05, chunk({"content": t}))] + [STALL])
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(FaultyUpstream(slow))
        two = stack.enter_context(FaultyUpstream(answers))
        served = [
            stack.enter_context(routed(cwd / f"{number}", one, two, "--store", store))
            for number in range(count)
        ]
        yield served, two


@pytest.mark.parametrize("how", ["killed", "stopped", "paused"])
def test_fault_42_another_process_goes_on(
    store: str, tmp_path: Path, how: str, figures: Figures
) -> None:
    with nodes(store, tmp_path, 3) as ((a, b, c), two):
        reader = post(a.port, BODY)
        other = follow(b.port, reader.stream)
        plain = follow(c.port, reader.stream, "plain")
        reader.until(b"text-delta", 8)
        sign = {"killed": signal.SIGKILL, "stopped": signal.SIGTERM, "paused": signal.SIGSTOP}[how]
        a.process.send_signal(sign)
        at = time.monotonic()
        other.until(b"stream-repair")
        kind = f"{store.partition(':')[0]}, {how}, lease {LEASE_S:g} s: goes on after"
        figures(kind, f"{time.monotonic() - at:.1f} s")
        if how == "paused":  # a zombie: what it brings now is refused, and its reader is cut
            a.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(ConnectionError):
            reader.rest()
        assert b"stream-e" not in reader.body
        body = other.rest()
        assert text_of("native", body) == TEXT
        [seam] = seams(body)
        assert (seam["reason"], seam["from"]) == ("interrupted", "two/b")
        assert outcome("native", body) == "stop"
        assert body.startswith(whole(reader.body))
        assert text_of("plain", plain.rest()) == TEXT
        # Whoever was cut comes back anywhere, and reads on.
        for served in (b, c):
            resumed = follow(served.port, reader.stream, after=ids(whole(reader.body))[-1])
            assert whole(reader.body) + resumed.rest() == body
        every_position_gives_the_rest(b.port, reader.stream, step=9)
        # Of the two that are left, one went on with it.
        assert len(two.posts) == 1


def test_a_stream_that_was_taken_over_is_stopped_from_anywhere(store: str, tmp_path: Path) -> None:
    with nodes(store, tmp_path, 3, endlessly) as ((a, b, c), two):
        reader = post(a.port, BODY, **{"Headwater-On-Disconnect": "continue"})
        readers = [follow(served.port, reader.stream) for served in (b, c)]
        reader.until(b"text-delta", 3)
        a.process.kill()
        for other in readers:
            other.until(b"stream-repair")
        # Whichever of them has it now, the other asks it to.
        assert ask(b.port, f"/v1/streams/{reader.stream}", method="DELETE").status == 204
        bodies = {other.rest() for other in readers}
        assert len(bodies) == 1
        assert outcome("native", bodies.pop()) == "cancelled"
        two.wait(lambda: two.posts[0].freed_at is not None, BOUND_S)


def test_nobody_reads_what_was_taken_over(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'streams.db'}"
    with nodes(store, tmp_path, 2, endlessly) as ((a, b), two):
        reader = post(a.port, BODY, **{"Headwater-On-Disconnect": "cancel"})
        reader.until(b"text-delta", 5)
        a.process.kill()
        two.wait(lambda: len(two.posts) == 1, BOUND_S)
        two.wait(lambda: two.posts[0].hung_up_at is not None, BOUND_S)
        assert outcome("native", follow(b.port, reader.stream).rest()) == "cancelled"


def test_where_nobody_can_go_on_it_ends_interrupted(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'streams.db'}"
    with nodes(store, tmp_path, 2, lambda _: reply(400, {"error": {"message": "no"}})) as (
        (a, b),
        _,
    ):
        reader = post(a.port, BODY)
        other = follow(b.port, reader.stream)
        reader.until(b"text-delta", 5)
        a.process.kill()
        body = other.rest()
        assert outcome("native", body) == "interrupted"
        assert b'"retryable":true' in frames(body)[-1]
        assert seams(body) == []


@pytest.mark.usefixtures("embedded")
@pytest.mark.timeout(300)
def test_the_embedded_model_of_another_process_goes_on(tmp_path: Path, figures: Figures) -> None:
    config = f"[store]\nurl = 'sqlite:///{tmp_path / 'streams.db'}'\nlease_s = {LEASE_S}\n"
    with contextlib.ExitStack() as stack:
        for name in "ab":
            (tmp_path / name).mkdir()
        a, b = (stack.enter_context(serving(cwd=tmp_path / n, config=config)) for n in "ab")
        reader = post(a.port, {"prompt": LONG, "max_tokens": 60, "temperature": 0})
        other = follow(b.port, reader.stream, "openai")
        reader.until(b"text-delta", 15)
        children = Server(a.port, a.process).children()
        a.process.kill()
        at = time.monotonic()
        with contextlib.suppress(ConnectionError):
            reader.rest()
        seen = whole(reader.body)
        rest = follow(b.port, reader.stream, after=ids(seen)[-1])
        rest.until(b"stream-repair")
        figures("kill -9 of the process to the first token after", f"{time.monotonic() - at:.1f} s")
        body = seen + rest.rest()
        assert body == follow(b.port, reader.stream).rest()
        assert len(seams(body)) == 1
        assert outcome("native", body) in ("stop", "length")
        assert text_of("openai", other.rest()) == text_of("native", body)
        eventually(
            lambda: not any(map(is_running, children)), "its model is gone", within_s=BOUND_S
        )
