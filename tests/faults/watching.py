"""What a test sees of a server from outside: its memory, its descriptors, its connections."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from headwater.testing import chat
from tests.server.world import World

BOUND_S = 10.0
#: What another stream may be late by; it is sent a token every 50 ms.
LAG_S = 0.5
#: Nothing of a stream that a test has done with is to outlive it: a server waits for what runs.
LEAVING = {"Headwater-On-Disconnect": "cancel"}


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


def cpu_s(pid: int) -> float:
    """Seconds of CPU it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def is_held(server: int, client: int) -> bool:
    """Whether the kernel still holds the server's end of a loopback connection, in any state."""
    wanted = (f"0100007F:{server:04X}", f"0100007F:{client:04X}")
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(tuple(line.split()[1:3]) == wanted for line in lines)


@contextlib.contextmanager
def on_time(w: World) -> Iterator[None]:
    """Another stream keeps its rhythm while the block runs, as its reader sees it."""
    steady = w.post("native", w.plan(chat(["t"] * 400, gap_s=0.05)), LEAVING)
    steady.until(b'"t"')
    arrived = [time.monotonic()]
    enough = threading.Event()

    def read() -> None:
        for count in itertools.count(2):
            if enough.is_set():
                return
            steady.until(b'"t"', count)
            arrived.append(time.monotonic())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(BOUND_S)
        steady.leave()
    longest = max(after - before for before, after in itertools.pairwise(arrived))
    assert longest < LAG_S, f"it stood still for {longest:.2f} s"


def dumb_reader(port: int, path: str, *, window: int = 4096) -> socket.socket:
    """A reader that has asked, and takes nothing but the first packets that are sent it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.settimeout(BOUND_S)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def post_bytes(path: str, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + data
