"""Faults 42 to 51: what happens to the process itself."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from headwater.testing import DONE, STALL, Answer, FaultyUpstream, Gate, chat, chunk
from tests.conftest import Figures
from tests.faults.watching import BOUND_S, cpu_s, descriptors, post_bytes
from tests.helpers.polling import eventually
from tests.helpers.processes import HEADWATER, environment
from tests.server.serving import ask, ids
from tests.server.wires import outcome, text_of
from tests.server.world import World, world

pytestmark = pytest.mark.system

DRAIN_S = 3.0


@pytest.mark.usefixtures("many_files")
def test_fault_43_sigterm_with_a_thousand_open_streams(tmp_path: Path, figures: Figures) -> None:
    """Those that can finish do, the others are told at the deadline, and the process ends."""
    with world(tmp_path, f"[server]\ndrain_s = {DRAIN_S}") as w:
        gate = Gate()
        steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
        good, endless = w.plan(Answer(steps)), w.plan(Answer([steps[0], STALL]))
        readers = [w.post("native", endless if n % 10 == 0 else good) for n in range(1000)]
        for reader in readers:
            reader.until(b'"a"')
        kept = socket.create_connection(("127.0.0.1", w.port), BOUND_S)
        assert ready(kept)
        began = time.monotonic()
        w.served.process.send_signal(signal.SIGTERM)
        assert takes_no_more(kept, w)
        gate.set()
        ends = [outcome("native", reader.rest()) for reader in readers]
        told = time.monotonic() - began
        assert w.served.wait(BOUND_S) == 0
        figures("SIGTERM with 1,000 streams, drain 3 s", f"last told after {told:.2f} s")
        assert ends == ["interrupted" if n % 10 == 0 else "stop" for n in range(1000)]
        assert all(text_of("native", r.body) == "ab" for n, r in enumerate(readers) if n % 10)
        assert DRAIN_S - 0.1 < told < DRAIN_S + BOUND_S
        assert b'"retryable":true' in readers[0].body
        assert b'"ended_by":"shutdown","repair":"not_tried: unshared_store"' in readers[0].body


def takes_no_more(kept: socket.socket, w: World) -> bool:
    """Neither a connection that was open nor a new one is served any more."""
    eventually(lambda: not connects(w.port), "nobody listens", within_s=BOUND_S)
    with kept:
        return not ready(kept)


def ready(kept: socket.socket) -> bool:
    """What `/readyz` says on a connection that stays open; nothing is no."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        kept.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not answer.endswith(b"}") and (part := kept.recv(65536)):
            answer += part
    return answer.startswith(b"HTTP/1.1 200 ")


def connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


FAKETIME = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
#: Everything that counts seconds, short enough to be seen on time and not a day early.
SHORT = """
[server]
heartbeat_s = 0.2
[timeouts]
idle_s = 2
first_token_s = 2
total_s = 20
[store]
ttl_s = 60
"""
DAY_S = 86_400


@pytest.mark.parametrize("days", [1, -1])
def test_fault_49_the_clock_jumps(tmp_path: Path, days: int) -> None:
    assert FAKETIME, "faketime is not installed: apt-get install faketime"
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    environ = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # The kernel's own monotonic clock does not jump either.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with world(tmp_path, SHORT, **environ) as w:
        ended = w.whole("native", chat(["before"]))
        gate = Gate()
        steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
        running = w.post("native", w.plan(Answer(steps)))
        running.until(b'"a"')
        prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
        left = w.post("native", prompt, {"Headwater-On-Disconnect": "1"})
        left.until(b'"a"')
        clock.write_text(f"{days:+d}d\n")
        left_at = left.leave()
        running.until(b": ping\n", 3)  # heartbeats go on
        gate.set()
        assert outcome("native", running.rest().replace(b": ping\n", b"")) == "stop"
        assert 0.9 < w.freed(prompt, left_at) < 5  # the grace is a second, not a day
        w.whole("native", chat(["x"]))
        newest = ask(w.port, "/v1/streams").json["data"][0]["created"]
        assert abs(newest - time.time() - days * DAY_S) < 60, "the clock did not jump"
        assert w.get(ended.stream, "native") == ended.body  # nothing expired a day early
        late = w.post("native", w.plan(Answer([chunk({"content": "a"}), STALL])))
        began = time.monotonic()
        assert outcome("native", late.rest().replace(b": ping\n", b"")) == "upstream_timeout"
        assert 1.5 < time.monotonic() - began < 10
        whole = running.body.replace(b": ping\n", b"")
        assert w.get(running.stream, "native", ids(whole)[0])


CLOSE = {"Connection": "close"}


def test_fault_50_out_of_descriptors(tmp_path: Path) -> None:
    """Running streams live; nobody spins; whoever waited is served when there is room again."""
    few = ("sh", "-c", 'ulimit -n 64; exec "$0" "$@"', HEADWATER)
    with world(tmp_path, command=few) as w, ExitStack() as stack:
        gate = Gate()
        steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
        running = [w.post("native", w.plan(Answer(steps))) for _ in range(5)]
        for reader in running:
            reader.until(b'"a"')
        pid = w.served.process.pid
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", w.port), BOUND_S))
            for _ in range(100)
        ]
        eventually(lambda: descriptors(pid) >= 62, "every descriptor is taken", within_s=BOUND_S)
        w.served.line(r"\d+ of 64 file descriptors are taken.*LimitNOFILE=")
        used, began = cpu_s(pid), time.monotonic()
        gate.set()
        assert [outcome("native", reader.rest()) for reader in running] == ["stop"] * 5
        time.sleep(1)  # what is looked for is something that goes on: a loop that spins
        share = (cpu_s(pid) - used) / (time.monotonic() - began)
        assert share < 0.5, f"{share:.0%} of a core while there is nothing to do"
        # Who was let in while there still was room, and asks now, is told; nothing hangs.
        idle[0].sendall(post_bytes("/v1/streams", {"prompt": w.plan(chat(["a"]))}, CLOSE))
        told = b"".join(iter(partial(idle[0].recv, 65536), b""))
        assert b'"type":"stream-e' in told
        for sock in idle:
            sock.close()
        assert outcome("native", w.whole("native", chat(["a"])).body) == "stop"


NEWER = [
    b'id: 1-1\ndata: {"type":"stream-start","stream":"s","model":"m","created":1,"schema":2}\n\n',
    b'id: 1-2\ndata: {"type":"text-delta","text":"one ","since":"2"}\n\n',
    b'id: 1-3\ndata: {"type":"mood-change","mood":"good"}\n\n',
    b'id: 1-4\ndata: {"type":"text-delta","text":"two"}\n\n',
    b'id: 1-5\ndata: {"type":"stream-end","reason":"stop","usage":null,"timing":{"queue":0,'
    b'"connect":1,"first_token":1,"total":2,"overhead":0,"attempts":1,"later":3}}\n\n',
]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([e for e in NEWER if b"mood" not in e], id="unknown members"),
        pytest.param(
            NEWER,
            id="unknown types",
        ),
    ],
)
def test_fault_51_a_newer_server_is_read_by_an_older_client(
    tmp_path: Path, events: list[bytes]
) -> None:
    headers = (("Content-Type", "text/event-stream"), ("Headwater-Stream", "s"))
    with FaultyUpstream(Answer(events, headers=headers)) as newer:
        command = [HEADWATER, "ask", "hi", "--server", f"http://127.0.0.1:{newer.port}"]
        done = subprocess.run(
            command, env=environment(), cwd=tmp_path, check=False, capture_output=True, timeout=60
        )
    assert (done.returncode, done.stdout) == (0, b"one two\n"), done.stderr
