"""Streams over ASGI: a sink on `send`, and one watcher of `receive`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from headwater.adapters.sockets import ReaderSocket
from headwater.streams import Sink, Subscriber

#: The key in `scope["extensions"]` under which a server offers a sink that writes straight to its
#: transport; `headwater serve` does.
DIRECT_SINK: Final = "headwater.sink"

#: What may wait for a slow host before its reader leaves the live edge; asyncio's own high-water
#: mark for a transport.
HIGH_WATER: Final = 64 * 1024

#: Most bytes that a host is handed at once. Where it hides its socket, a piece that it has sent is
#: the only sign that its reader takes anything: a large piece would hide a slow reader's progress.
PIECE: Final = 16 * 1024

# A host whose connection was cut hears of it from the kernel at once.
_HEARS_S: Final = 1.0

Headers = Sequence[tuple[bytes, bytes]]


class RunningSink(Sink, Protocol):
    """A sink that ends by itself."""

    async def run(self) -> None:
        """Return when the response is whole or the reader has gone."""


class ResponseAbortedError(Exception):
    """Raised through the application so that the server cuts the connection."""


async def disconnected(receive: Receive) -> None:
    """Wait until the reader has gone, or the response is complete.

    No ASGI server makes `send` fail when the reader has left; `receive` is the only way to know.
    """
    while (await receive())["type"] != "http.disconnect":
        pass


async def deliver(
    scope: Scope,
    send: Send,
    gone: asyncio.Future[None],
    headers: Headers,
    attach: Callable[[Sink], Subscriber],
) -> None:
    """Send the head with status 200, then whatever the subscriber that `attach` makes writes.

    `gone` is the one watcher of this response's `receive`.
    """
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    direct = scope.get("extensions", {}).get(DIRECT_SINK)
    socket = ReaderSocket.of_scope(scope)
    sink: RunningSink = AsgiSink(send, gone, socket) if direct is None else direct(gone)
    subscriber = attach(sink)
    try:
        await sink.run()
    finally:
        subscriber.leave()


class AsgiSink:
    """What is written waits in memory, bounded, while one `send` is under way."""

    on_ready: Callable[[], None] | None = None

    def __init__(self, send: Send, gone: asyncio.Future[None], socket: ReaderSocket) -> None:
        self._send = send
        self._gone = gone
        self._socket = socket
        self._pending: list[bytes] = []
        self._size = 0
        self._sent = 0
        self._closed = False
        self._aborted = False
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[object] | None = None
        self._sending = False
        self._interrupted = False
        self._cut = False

    def write(self, data: bytes) -> bool:
        self._pending.append(data)
        self._size += len(data)
        self._rouse()
        return self._size < HIGH_WATER

    def close(self, data: bytes = b"") -> None:
        if data:
            self._pending.append(data)
        self._closed = True
        self._rouse()

    def abort(self) -> None:
        self._aborted = True
        if self._sending:
            # A host that waits for the reader to take this piece would do so to close, too.
            self._cut = self._socket.cut()
            if not self._cut:
                self._interrupt()
        self._rouse()

    def taken(self) -> int | None:
        return (self._socket.acknowledged() or self._sent) if self._sending else None

    async def run(self) -> None:
        self._task = asyncio.current_task()
        self._gone.add_done_callback(self._left)
        try:
            while not self._gone.done():
                if self._cut:
                    await asyncio.wait((self._gone,), timeout=_HEARS_S)
                    self._pending.clear()
                    self._cut = False
                elif self._pending:
                    await self._flush()
                elif self._aborted:
                    raise ResponseAbortedError
                elif self._closed:
                    await self._send({"type": "http.response.body", "body": b""})
                    return
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        except asyncio.CancelledError:
            if not self._interrupted or self._task is None or self._task.uncancel():
                raise  # a cancellation from outside
            if not self._gone.done():
                raise ResponseAbortedError from None
        finally:
            self._gone.remove_done_callback(self._left)

    async def _flush(self) -> None:
        body = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self._size = 0
        self._sending = True
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self._sent += 1
        self._sending = False
        if len(body) >= HIGH_WATER and self.on_ready is not None:
            self.on_ready()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _left(self, _: asyncio.Future[None]) -> None:
        if self._sending:
            self._interrupt()
        self._rouse()

    def _interrupt(self) -> None:
        """End a `send` that waits for the reader."""
        if self._task is not None and not self._interrupted:
            self._interrupted = True
            self._task.cancel()
