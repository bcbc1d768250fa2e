"""Fault 26 in every host: a reader that takes nothing is cut and can resume; a slow one is not."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headwater.testing import DONE, STALL, Answer, FaultyUpstream, Request, Step, chunk, reply
from tests.faults.watching import BOUND_S, is_held, post_bytes
from tests.helpers.polling import eventually
from tests.helpers.servers import Server, flask_run, gunicorn, serve, uvicorn, waitress
from tests.server.serving import ask, ids

pytestmark = pytest.mark.system

TESTS = Path(__file__).parents[1]
SYSTEM = TESTS / "system"
TIMEOUT_S = 1.5
#: The mounted application answers users only; the other hosts ignore the header.
USER = {"X-User": "ann"}
PIECE = "x" * 4096
#: More than all buffers between a host and its reader hold: the kernel's alone may be 4 MiB.
FLOOD: list[Step] = [b"".join([chunk({"content": PIECE})] * 16), 0.001] * (16 * 8)


class Host(NamedTuple):
    """What serves, the route that streams in the native wire, and where its streams are."""

    run: Callable[..., AbstractContextManager[Server]]
    route: str
    base: str
    cwd: Path


def asgi(*arguments: str, route: str = "/respond", base: str = "/ai") -> Host:
    def run(**kw: Any) -> AbstractContextManager[Server]:
        return uvicorn("tests.adapters.apps:api", *arguments, **kw)

    return Host(run, route, base, TESTS.parent)


def wsgi(run: Callable[..., AbstractContextManager[Server]], *arguments: str) -> Host:
    return Host(lambda **kw: run(*arguments, **kw), "/cancel?wire=native", "/ai", SYSTEM)


# waitress keeps 16 MiB for a reader before it holds the application up.
LITTLE = "--outbuf-high-watermark=65536"
HOSTS = {
    "headwater serve": Host(serve, "/v1/streams", "", TESTS.parent),
    "fastapi on uvicorn": asgi(),
    "fastapi on uvicorn, h11": asgi("--http", "h11"),
    "mounted on uvicorn": asgi(route="/owned/v1/streams", base="/owned"),
    "flask on gunicorn, gthread": wsgi(gunicorn, "flask_routes:app", "--threads", "8"),
    "flask on gunicorn, gevent": wsgi(gunicorn, "flask_routes:app", "-k", "gevent"),
    "flask on waitress": wsgi(waitress, "flask_routes:app", LITTLE),
    "flask on its own server": wsgi(flask_run, "flask_routes"),
    "django on uvicorn": wsgi(uvicorn, "django_routes:asgi"),
}


class Reader:
    """A raw socket with a small buffer; `body` is what was read, without its framing."""

    def __init__(self, port: int, route: str, prompt: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(BOUND_S)
        self._socket.connect(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        asked = {"prompt": prompt}
        if route == "/respond":
            asked |= {"wire": "native", "on_disconnect": "cancel"}
        headers = {"Content-Type": "application/json", "Headwater-On-Disconnect": "cancel", **USER}
        self._socket.sendall(post_bytes(route, asked, headers))
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            assert self.read(256), self._data
        found = re.search(rb"(?i)headwater-stream: (\S+)", self._data)
        assert found is not None, self._data
        self.stream = found[1].decode()

    def read(self, most: int) -> bytes:
        data = self._socket.recv(most)
        self._data += data
        return data

    def read_to_the_end(self) -> None:
        """Read until the response is whole, or the connection is closed or cut."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        with contextlib.suppress(ConnectionError):
            while not self._data.endswith(b"\r\n0\r\n\r\n") and self.read(1 << 20):
                pass

    @property
    def body(self) -> bytes:
        head, _, data = self._data.partition(b"\r\n\r\n")
        if b"chunked" not in head.lower():
            return data
        body = []
        while (size := re.match(rb"([0-9a-fA-F]+)\r\n", data)) is not None:
            length = int(size[1], 16)
            body.append(data[size.end() :][:length])
            data = data[size.end() + length + 2 :]
        return b"".join(body)

    def ended(self) -> bool:
        """Whether the last event is here."""
        return b'"stream-end"' in self._data[-1000:]

    def close(self) -> None:
        self._socket.close()


class World:
    """A host, and the upstream behind it."""

    def __init__(self, host: Host, server: Server, upstream: FaultyUpstream) -> None:
        self.host = host
        self.port = server.port
        self.upstream = upstream

    def read(self, stream: str, after: str | None = None) -> bytes:
        path = f"{self.host.base}/v1/streams/{stream}?wire=native"
        headers = USER if after is None else {**USER, "Last-Event-ID": after}
        answer = ask(self.port, path, headers=headers)
        assert answer.status == 200, answer
        return answer.body

    @contextmanager
    def reader(self, ending: str) -> Iterator[Reader]:
        reader = Reader(self.port, self.host.route, f"prompt-{next(NUMBERS)} {ending}")
        try:
            yield reader
        finally:
            reader.close()


NUMBERS = itertools.count()


def answer(asked: Request) -> Answer:
    """A flood that ends, or one that is silent after it, as the prompt says."""
    if asked.method == "GET":
        return reply(200, {"data": [{"id": "test-model"}]})
    prompt: str = asked.json["messages"][-1]["content"]
    end: list[Step] = [STALL] if prompt.endswith("stalls") else [chunk({}, "stop"), DONE]
    return Answer([chunk({"content": "a"}), *FLOOD, *end])


@pytest.fixture(scope="module", params=HOSTS)
def w(request: pytest.FixtureRequest) -> Iterator[World]:
    host = HOSTS[request.param]
    with FaultyUpstream(answer) as upstream:
        environ = {
            "TEST_UPSTREAM": upstream.url,
            "HEADWATER_SERVER__UPSTREAM": upstream.url,
            "HEADWATER_LIMITS__WRITE_TIMEOUT_S": str(TIMEOUT_S),
        }
        with host.run(cwd=host.cwd, environ=environ) as server:
            yield World(host, server, upstream)


def test_fault_26_a_reader_that_takes_nothing_is_cut_and_can_resume(w: World) -> None:
    """It is the only reader, and its stream is to be cancelled when it has none."""
    with w.reader("stalls") as reader:
        # A native head does not wait for the provider to be asked.
        w.upstream.wait(lambda: bool(w.upstream.posts), BOUND_S)
        post = w.upstream.posts[-1]
        w.upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)
        eventually(lambda: not is_held(w.port, reader.port), "the connection is cut")
        reader.read_to_the_end()
        assert not reader.ended()
        got = reader.body[: reader.body.rindex(b"\n\n") + 2]
    whole = w.read(reader.stream)
    assert b'"cancelled"' in whole[-1000:]
    assert got + w.read(reader.stream, ids(got)[-1]) == whole
    if not w.host.base:  # mounted, metrics want a key
        metrics = ask(w.port, "/metrics").body
        assert b'headwater_readers_left_total{how="slow"} 1.0' in metrics
        assert b'headwater_readers{wire="native"} 0.0' in metrics


def test_fault_26_a_reader_that_is_slow_but_steady_is_never_cut(w: World) -> None:
    """No buffer empties as it reads, and it takes far longer than the timeout."""
    with w.reader("ends") as reader:
        until = time.monotonic() + 2.5 * TIMEOUT_S
        while time.monotonic() < until:
            assert reader.read(1024)
            time.sleep(TIMEOUT_S / 10)
        reader.read_to_the_end()
        assert reader.body == w.read(reader.stream)
        assert b'"stop"' in reader.body[-1000:]
