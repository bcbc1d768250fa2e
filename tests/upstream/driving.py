"""What the tests of the HTTP client share: a receiver that keeps everything, loops, servers.

The servers speak bytes on real sockets, in the loop of the client under test; what must be seen
from outside that loop uses `headwater.testing`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import uvloop

from headwater.errors import UpstreamError
from headwater.upstream import Exchange, Pool, Request

#: Ten times what anything here takes on a busy machine.
BOUND_S = 10.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
every_loop = pytest.mark.parametrize("loop", LOOPS)


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` on a loop of this kind; an exception that nobody caught there fails the test."""
    lost: list[dict[str, Any]] = []

    async def watched() -> None:
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda _, context: lost.append(context))
        async with asyncio.timeout(60):
            await main()
        # A task that died unseen says so when it is collected.
        import gc

        gc.collect()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(watched())
    assert not lost, lost


class Collector:
    """A receiver that keeps what it is told, and checks the order in which it is told."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, dict[str, str]]] = []
        self.pieces: list[bytes] = []
        self.ends: list[UpstreamError | None] = []
        self._news = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def status(self) -> int:
        [(status, _)] = self.heads
        return status

    @property
    def error(self) -> UpstreamError:
        """The one error; fails when it ended well, twice or not at all."""
        [end] = self.ends
        assert end is not None
        return end

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.heads
        assert not self.pieces
        assert not self.ends
        self.heads.append((status, dict(headers)))
        self._news.set()

    def on_data(self, data: bytes) -> None:
        assert self.heads
        assert not self.ends
        self.pieces.append(data)
        self._news.set()

    def on_end(self, error: UpstreamError | None) -> None:
        self.ends.append(error)
        self._news.set()

    async def until(self, condition: Callable[[], object], timeout_s: float = BOUND_S) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            told = (self.heads, len(self.body), self.ends)
            raise AssertionError(f"not within {timeout_s} s; told {told}") from None

    async def until_size(self, size: int) -> None:
        await self.until(lambda: len(self.body) >= size)

    async def ended(self, timeout_s: float = BOUND_S) -> None:
        await self.until(lambda: self.ends, timeout_s)

    async def whole(self) -> bytes:
        """The body of a response that ended as it should."""
        await self.ended()
        assert self.ends == [None]
        return self.body


@contextlib.asynccontextmanager
async def pooled(connect_s: float = 5.0) -> AsyncIterator[Pool]:
    pool = Pool(connect_s=connect_s)
    try:
        yield pool
    finally:
        await pool.aclose()


def post(url: str, body: bytes = b"{}", **headers: str) -> Request:
    return Request("POST", url, headers, body)


def ask(pool: Pool, url: str, body: bytes = b"{}", **headers: str) -> tuple[Exchange, Collector]:
    collector = Collector()
    return pool.send(post(url, body, **headers), collector), collector


Serve = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection; `number` counts connections from 0."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        #: The handler is done with it: it has closed it, or noticed that the client had.
        self.left = asyncio.Event()

    async def request(self) -> bytes:
        """One request, head and body; IncompleteReadError when the client leaves."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        [length] = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        return head + await self.reader.readexactly(length)

    async def say(self, *writes: bytes) -> None:
        for data in writes:
            self.writer.write(data)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Server:
    """What `serve` gives."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []


@contextlib.asynccontextmanager
async def serve(
    handler: Callable[[Peer], Awaitable[None]], *, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Server]:
    """Run `handler` for every connection; it is closed when the handler returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(len(server.peers), reader, writer)
        server.peers.append(peer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(peer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.close()
            peer.left.set()

    # All of a test's connections at once: beyond the backlog the kernel makes them wait a second.
    listening = await asyncio.start_server(accept, host, 0, backlog=1024, **options)
    server = Server(listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes its socket one turn after it was told to


def answer(body: bytes = b"ok", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with its length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines[:-1]) + b"\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
