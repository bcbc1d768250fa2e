"""When each event of a streaming answer arrived, read from a raw socket.

A test client that collects the body hides exactly what is tested here.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.sse import Decoder
from headwater.testing import FaultyUpstream

#: Gaps below this are one lump: the upstream of the tests sends a token every 100 ms.
LUMP_S = 0.03


@dataclass(frozen=True)
class Head:
    """Status and headers of an answer, the names in small letters."""

    status: int
    headers: dict[str, str]


class Response:
    """One answer on its own connection, closed at its end.

    `head` is read, the body is read on iteration.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        self.head = Head(int(lines[0].split(" ")[1]), headers)

    def __iter__(self) -> Iterator[bytes]:
        """Give the body as it comes, unchunked and decompressed."""
        inflate = zlib.decompressobj(31) if self.head.headers.get("content-encoding") else None
        with self._socket:
            for part in self._parts():
                yield inflate.decompress(part) if inflate else part

    def close(self) -> None:
        self._socket.close()

    def _parts(self) -> Iterator[bytes]:
        if self.head.status == 204:
            return
        if self.head.headers.get("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                while size:
                    part = self._some(size)
                    if not part:
                        raise ConnectionError("closed inside a chunk")
                    size -= len(part)
                    yield part
                self._until(b"\r\n")
            return
        left = int(self.head.headers.get("content-length", 1 << 60))
        while left and (part := self._some(left)):
            left -= len(part)
            yield part

    def _some(self, most: int) -> bytes:
        part = self._buffer or self._socket.recv(65536)
        self._buffer = part[most:]
        return part[:most]

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionError(f"closed after {self._buffer!r}")
            self._buffer += part
        found, _, self._buffer = self._buffer.partition(end)
        return found


def request(
    port: int,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
    timeout_s: float = 30.0,
) -> Response:
    """Send one request to loopback; a JSON `body` makes it a POST. The head is read."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1"]
    given = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(payload)), **(headers or {})}
    if body is not None:
        given.setdefault("Content-Type", "application/json")
    lines += [f"{name}: {value}" for name, value in given.items()]
    sock = socket.create_connection(("127.0.0.1", port), timeout_s)
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + payload)
        return Response(sock)
    except OSError:
        sock.close()
        raise


def status(port: int, path: str, body: object = None) -> int:
    """Send one request and look at nothing but the status of its answer."""
    response = request(port, path, body)
    response.close()
    return response.head.status


def events(response: Response) -> Iterator[tuple[float, Any]]:
    """Give every JSON event with its time of arrival, `time.monotonic()`."""
    decoder = Decoder()
    for part in response:
        now = time.monotonic()
        for message in decoder.feed(part):
            if message.data != b"[DONE]":
                yield now, json.loads(message.data)


def token_times(upstream: FaultyUpstream) -> list[float]:
    """When the upstream sent each token of its last answer, which is over; `time.monotonic()`."""
    post = upstream.posts[-1]
    # A reader may have the last token before it is noted that it was sent.
    upstream.wait(lambda: post.ended_at is not None or post.hung_up_at is not None)
    return [at for at, data in post.sent if b'"content":' in data][1:]


def assert_one_by_one(arrived: Sequence[float], sent: Sequence[float]) -> None:
    """Fail unless tokens arrived in the rhythm in which they were sent.

    Both are times of the same clock. The first must be here before the last was sent, and half of
    the gaps must be gaps: fewer would be lumps, more would be asking of a busy machine.
    """
    assert len(arrived) == len(sent), f"{len(sent)} sent, {len(arrived)} arrived"
    assert arrived[0] < sent[-1], f"the first came {arrived[0] - sent[-1]:.3f} s after the last"
    gaps = [after - before for before, after in itertools.pairwise(arrived)]
    wide = sum(gap > LUMP_S for gap in gaps)
    assert wide >= len(gaps) / 2, f"lumps: gaps of {[round(gap, 3) for gap in gaps]} s"
