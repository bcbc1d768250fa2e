"""Faults 26 to 41: what readers do, and what comes in their requests."""

from __future__ import annotations

import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headwater.testing import DONE, Answer, Gate, Step, chat, chunk
from tests.conftest import Figures
from tests.faults.watching import (
    BOUND_S,
    dumb_reader,
    on_time,
    post_bytes,
    resident,
)
from tests.server.serving import ask, raw
from tests.server.wires import PATHS, outcome, text_of
from tests.server.world import WIRES, World, world

pytestmark = pytest.mark.system

MIB = 2**20
PIECE = "x" * 4096


def log_of(mib: int, gate: Gate) -> Answer:
    """One token, and behind the gate so many MiB of them, 64 KiB at a time."""
    many: list[Step] = [b"".join([chunk({"content": PIECE})] * 16), 0.01] * (16 * mib)
    return Answer([chunk({"content": "a"}), gate, *many, chunk({}, "stop"), DONE])


@pytest.mark.usefixtures("many_files")
def test_fault_26_a_thousand_readers_who_never_read(tmp_path: Path, figures: Figures) -> None:
    """What is held for each is bounded, whatever is sent; who does read waits for none of them."""
    with world(tmp_path) as w, ExitStack() as stack:
        w.whole("native", chat([PIECE] * 100))
        gate = Gate()
        first = w.post("native", w.plan(log_of(12, gate)))
        first.until(b'"a"')
        path = f"/v1/streams/{first.stream}"
        stuck = [stack.enter_context(dumb_reader(w.port, path)) for _ in range(1000)]
        for sock in stuck:  # each has a head waiting, and stands at the live edge
            assert sock.recv(1, socket.MSG_PEEK) == b"H"
        before = resident(w.served.process.pid)
        gate.set()
        whole = first.rest()
        with on_time(w):
            assert w.get(first.stream, "native") == whole
        grown = resident(w.served.process.pid) - before
        figures("12 MiB past 1,000 readers who never read", f"{grown / MIB:.0f} MiB more")
        assert text_of("native", whole) == "a" + PIECE * (12 * MIB // len(PIECE))
        # The log, and for each reader what a full transport holds: 64 KiB and the frames of one
        # read of 256 KiB. Were a copy kept for each, it would be 12 GiB.
        assert grown < 12 * MIB + 1000 * 320 * 1024


@pytest.mark.usefixtures("many_files")
def test_fault_26_a_flood_to_a_thousand_readers_holds_up_nobody_else(tmp_path: Path) -> None:
    with world(tmp_path) as w, ExitStack() as stack:
        gate = Gate()
        flood = [b"".join([chunk({"content": PIECE})] * 16)] * (16 * 12)
        steps = [chunk({"content": "a"}), gate, *flood, chunk({}, "stop"), DONE]
        first = w.post("native", w.plan(Answer(steps)))
        first.until(b'"a"')
        path = f"/v1/streams/{first.stream}"
        stuck = [stack.enter_context(dumb_reader(w.port, path)) for _ in range(1000)]
        for sock in stuck:
            assert sock.recv(1, socket.MSG_PEEK) == b"H"
        with on_time(w):
            gate.set()
            first.rest()


def test_fault_33_twenty_tabs_are_one_generation(w: World) -> None:
    gate = Gate()
    steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
    prompt = w.plan(Answer(steps))
    first = w.post("native", prompt)
    first.until(b'"a"')
    tabs = [w.follow(first.stream, wire) for wire in (*WIRES, "native") * 5]
    for tab in tabs:
        tab.until(b'"a"')
    gate.set()
    whole = first.rest()
    for wire, tab in zip((*WIRES, "native") * 5, tabs, strict=True):
        assert tab.rest() == w.get(first.stream, wire)
    assert tabs[-1].body == whole
    w.asked(prompt)  # exactly once


EVIL = "x\r\ndata: evil\r\n\r\nid: 9-9\r\nevent: evil\nX-Evil: 1\0"
FIELD = re.compile(rb"id: \d+-\d+|data: [^\r\n\0]+|: ping|")


def test_fault_38_line_ends_in_what_an_upstream_sends_make_no_lines(w: World) -> None:
    call = {"index": 0, "id": EVIL, "function": {"name": EVIL, "arguments": EVIL}}
    steps = [
        b"event: stream-end\rid: 9-9\rdata: {}\r\r",
        b'id: 1-1\nevent: stream-end\ndata: {"type":"stream-end"}\n\n',
        chunk({"content": EVIL, "reasoning_content": EVIL}),
        chunk({"tool_calls": [call]}),
        chunk({}, "stop"),
        DONE,
    ]
    for wire in WIRES:
        reader = w.whole(wire, Answer(steps))
        assert all(FIELD.fullmatch(line) for line in reader.body.split(b"\n")), reader.body
        assert outcome(wire, reader.body) in ("stop", "done")
        assert text_of(wire, reader.body) == EVIL
        assert w.get(reader.stream, wire) == reader.body


EVIL_HEADERS = ("X-Request-Id", "Last-Event-ID", "Idempotency-Key", "Headwater-On-Disconnect")


@pytest.mark.parametrize(
    "bad", [b"a\rX-Evil: 1", b"a\0b", b"a\nX-Evil: 1"], ids=["CR", "NUL", "LF"]
)
def test_fault_38_line_ends_in_what_a_reader_sends_make_no_headers(w: World, bad: bytes) -> None:
    body = post_bytes(PATHS["native"], {"prompt": w.plan(chat(["a"])), "model": "a\r\nX-Evil: 1"})
    head, _, data = body.partition(b"\r\n\r\n")
    for name in EVIL_HEADERS:
        line = b"\r\n%b: %b\r\nConnection: close\r\n\r\n" % (name.encode(), bad)
        answer = raw(w.port, head + line + data)
        assert "x-evil" not in answer.headers
        assert all(FIELD.fullmatch(line) for line in answer.body.split(b"\n")) or (
            answer.status >= 400 and answer.json["error"]
        )


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "a head": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
    "a body": (
        b"POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{",
        b" ",
    ),
    "chunks": (
        b"POST /stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "nothing": (b"", b""),
    "a body without end after its answer": (
        b"POST /none HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1000\r\n%b\r\n" % (b"a" * 4096),
    ),
}
#: Headwater with a deadline for a whole request of 2 s; it is 20 s.
IMPATIENT = """\
import headwater.server.protocol as protocol
protocol._ARRIVES_S = 2.0
from headwater.cli import main
main()
"""
#: The deadline is looked at again in the middle of a body.
DRIP_S = 20.0


@contextmanager
def dripping(w: World, count: int) -> Iterator[dict[str, list[socket.socket]]]:
    """So many connections of each kind, each of which has begun a request."""
    with ExitStack() as stack:
        drips: dict[str, list[socket.socket]] = {}
        for kind, (begin, _) in DRIPS.items():
            drips[kind] = []
            for _ in range(count):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", w.port)))
                sock.sendall(begin)
                if "answer" in kind:
                    assert sock.recv(65536).startswith(b"HTTP/1.1 404 ")
                drips[kind].append(sock)
        yield drips


@pytest.mark.usefixtures("many_files")
def test_fault_39_a_thousand_dripping_requests_hold_up_nobody(w: World) -> None:
    before = resident(w.served.process.pid)
    with dripping(w, 250) as drips, on_time(w):
        for _ in range(3):
            for kind, socks in drips.items():
                for sock in socks:
                    sock.sendall(DRIPS[kind][1])
            assert outcome("native", w.whole("native", chat(["a", "b"])).body) == "stop"
        assert resident(w.served.process.pid) - before < 100 * MIB


def cut_off(sock: socket.socket, drop: bytes, until: float) -> bool:
    """Whether the server lets go of it before then, though it drips on."""
    while (left := until - time.monotonic()) > 0:
        if select.select([sock], [], [], min(left, 0.5))[0]:
            return True
        sock.sendall(drop)
    return False


@pytest.mark.parametrize("kind", DRIPS)
def test_fault_39_a_request_that_never_comes_whole_is_cut_off(
    slow: dict[str, bool], kind: str
) -> None:
    assert slow[kind]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Which kinds of slow requests were cut off: all of them at once, since each is a wait."""
    folder, command = tmp_path_factory.mktemp("slow"), (sys.executable, "-c", IMPATIENT)
    with world(folder, command=command) as w, dripping(w, 1) as drips:
        until = time.monotonic() + DRIP_S
        cut: dict[str, bool] = dict.fromkeys(drips, False)
        while time.monotonic() < until and not all(cut.values()):
            for kind, [sock] in drips.items():
                soon = time.monotonic() + 0.2
                cut[kind] = cut[kind] or cut_off(sock, DRIPS[kind][1], min(soon, until))
        return cut


HEADS: dict[str, bytes] = {
    "one header": b"X: " + b"a" * 60_000,
    "many headers": b"X: aaaaaaaaaaaa\r\n" * 3600,
    "a path": b"a" * 60_000,
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.usefixtures("many_files")
def test_fault_40_heads_just_below_the_bound_on_many_connections(w: World, kind: str) -> None:
    """None of them ends. Memory is bounded by their number, and one byte too much is refused."""
    before = resident(w.served.process.pid)
    with ExitStack() as stack:
        socks = []
        for _ in range(300):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", w.port), BOUND_S))
            begin = (
                b"GET /" if kind == "a path" else b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
            )
            sock.sendall(begin + HEADS[kind])
            socks.append(sock)
        assert ask(w.port, "/healthz").status == 200
        # Parsed, a header of 16 bytes takes nine times that.
        assert resident(w.served.process.pid) - before < len(socks) * MIB
        for sock in socks[:50]:
            sock.sendall(b"a" * 8000)
            assert sock.recv(65536).startswith(b"HTTP/1.1 431 ")
    assert outcome("native", w.whole("native", chat(["a"])).body) == "stop"
