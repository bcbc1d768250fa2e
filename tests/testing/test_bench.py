"""The bench does what it says, or no test that stands on it proves anything."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
import zlib
from pathlib import Path

import pytest

import headwater.testing
from headwater import Headwater
from headwater.events import StreamEnd, TextDelta
from headwater.providers.failures import retry_after
from headwater.testing import (
    CUT,
    DONE,
    EOF,
    STALL,
    Answer,
    Fault,
    FaultyProxy,
    FaultyUpstream,
    Gate,
    chat,
    chunk,
    coalesced,
    cut_after,
    endless_comments,
    gzipped,
    limited,
    size_of,
    split,
    with_line_ends,
)
from headwater.testing.answers import Act
from headwater.testing.proxy import How

ANSWER = chat(["Hel", "lo"])
ASK = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
ENDS = {EOF: "end", CUT: "reset", STALL: "silence"}


def ask(port: int, asked: bytes = ASK) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(asked)
    return sock


def heard(sock: socket.socket, silence_s: float = 0.3) -> tuple[bytes, str]:
    """What came, and how that ended."""
    data = b""
    sock.settimeout(silence_s)
    with sock:
        while True:
            try:
                part = sock.recv(65536)
            except TimeoutError:
                return data, "silence"
            except ConnectionError:
                return data, "reset"
            if not part:
                return data, "end"
            data += part


def body_of(answer: Answer) -> bytes:
    return b"".join(step for step in answer.steps if isinstance(step, bytes))


def test_the_names_are_sorted_and_there() -> None:
    names = headwater.testing.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(headwater.testing, name) for name in names)


def test_as_its_documentation_says(tmp_path: Path) -> None:
    async def main() -> None:
        async with FaultyUpstream(chat(["Hel", "lo"], gap_s=0.05)) as up:
            hw = Headwater(upstream=up.url)
            events = [event async for event in hw.stream("hi")]
            await up.until(lambda: up.posts[0].freed_at is not None)
            await hw.aclose()
        assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo"]
        assert isinstance(events[-1], StreamEnd)
        [post] = up.posts
        assert post.json["stream"] is True
        assert post.ended_at is not None
        assert post.hung_up_at is None

    asyncio.run(main())


@pytest.mark.parametrize("how", ENDS)
def test_an_answer_is_cut_at_the_very_byte(how: Act) -> None:
    whole = b""
    for size in (*range(0, size_of(ANSWER), 61), size_of(ANSWER)):
        with FaultyUpstream(cut_after(ANSWER, size, how)) as up:
            data, end = heard(ask(up.port), 0.1)
        assert (len(data), end) == (size, ENDS[how])
        assert data.startswith(whole)
        whole = data
    assert whole.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("how", ["close", "reset", "stall"])
def test_a_connection_is_cut_at_the_very_byte(how: How) -> None:
    ended = {"close": "end", "reset": "reset", "stall": "silence"}[how]
    with FaultyUpstream(ANSWER) as up:
        for size in (1, 2, 100, size_of(ANSWER) - 1):
            with FaultyProxy(up.port, Fault(after=size, how=how)) as proxy:
                data, end = heard(ask(proxy.port))
                assert (len(data), end) == (size, ended)
                assert proxy.links[0].answered == size


def test_shapes_change_nothing_but_the_shape() -> None:
    body = body_of(ANSWER)
    bytewise = split(ANSWER, 1)
    assert body_of(bytewise) == body
    assert {len(step) for step in bytewise.steps if isinstance(step, bytes)} == {1}
    assert coalesced(ANSWER).steps == [body]
    assert coalesced(bytewise).steps == [body]
    assert zlib.decompress(body_of(gzipped(ANSWER)), zlib.MAX_WBITS | 16) == body
    assert body_of(with_line_ends(ANSWER, b"\r\n", bom=True))[3:].replace(b"\r", b"") == body
    assert body_of(endless_comments(0.1, 3)).count(b"\n\n") == 3


def test_what_is_sent_is_written_as_it_was_split() -> None:
    with FaultyUpstream(split(ANSWER, 7)) as up:
        heard(ask(up.port))
        sent = [data for _, data in up.posts[0].sent]
    assert b"".join(sent) == body_of(ANSWER)
    assert max(map(len, sent)) == 7


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_retry_after_is_read_as_it_was_meant(form: str) -> None:
    answer = limited(7, form)  # type: ignore[arg-type]
    headers = {name.lower(): value for name, value in answer.headers}
    seconds = retry_after(headers)
    assert seconds is not None
    assert 5.9 <= seconds <= 7
    assert answer.status == 429


def test_an_upstream_that_is_not_reached() -> None:
    with FaultyUpstream(reach="refuse") as up, socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", up.port)) != 0
    with FaultyUpstream(reach="hang") as up, socket.socket() as sock:
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.connect(("127.0.0.1", up.port))
    with FaultyUpstream(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as up:
        assert up.url.startswith("https://")
        context = ssl._create_unverified_context()
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", up.port)))
        assert up.requests == []


def test_it_tells_who_hung_up_and_when() -> None:
    gate = Gate()
    with FaultyUpstream(Answer([chunk({"content": "a"}), gate, DONE])) as up:
        stays, leaves = ask(up.port), ask(up.port)
        up.wait(lambda: len(up.posts) == 2)
        assert [post.freed_at for post in up.posts] == [None, None]
        left_at = time.monotonic()
        leaves.close()
        up.wait(lambda: any(post.hung_up_at for post in up.posts))
        gate.set()
        assert heard(stays)[0].endswith(b"\r\n0\r\n\r\n")
        up.wait(lambda: all(post.freed_at for post in up.posts))
        [hung_up] = [post.hung_up_at for post in up.posts if post.hung_up_at]
        assert left_at <= hung_up <= left_at + 10
        assert up.connections == 2


def test_a_repeated_post_is_the_same_post() -> None:
    body = json.dumps({"x": "y" * 100_000}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with FaultyUpstream(ANSWER) as up, FaultyProxy(up.port, Fault(repeats=2)) as proxy:
        data, _ = heard(ask(proxy.port, head.encode() + body))
        assert data.count(b"HTTP/1.1 200") == 1
        assert [post.body for post in up.posts] == [body] * 3


def test_late_capped_stalled_down_and_up() -> None:
    faults = [Fault(delay_s=0.2), Fault(lasts_s=0.3, how="close")]
    slow = chat(["a"] * 100, gap_s=0.02)
    with FaultyUpstream(slow) as up, FaultyProxy(up.port, faults) as proxy:
        began = time.monotonic()
        late = ask(proxy.port)
        late.recv(1)
        assert time.monotonic() - began >= 0.2
        late.close()
        assert heard(ask(proxy.port))[1] == "end"
        sock = ask(proxy.port)  # for whom no fault is left
        assert sock.recv(1) == b"H"
        proxy.stall()
        assert heard(sock)[1] == "silence"
        proxy.flow()
        sock = ask(proxy.port)
        assert sock.recv(1) == b"H"
        proxy.down()
        assert heard(sock)[1] == "reset"
        with pytest.raises(ConnectionRefusedError):
            ask(proxy.port)
        proxy.up()
        sock = ask(proxy.port)
        assert sock.recv(1) == b"H"
        assert proxy.cut(b"/v1/none") == 0
        assert proxy.cut(b"/v1/chat") == 1
        assert heard(sock)[1] == "reset"


def test_faults_are_chosen_by_what_is_asked() -> None:
    def choose(number: int, first: bytes) -> Fault:
        return Fault(after=5) if b"POST" in first else Fault()

    with FaultyUpstream(ANSWER) as up, FaultyProxy(up.port, choose) as proxy:
        assert heard(ask(proxy.port)) == (b"HTTP/", "reset")
        get = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
        assert b"test-model" in heard(ask(proxy.port, get))[0]
