"""The transport of a connection: a stream's sink on it, what its reader has taken, and its cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from headwater.adapters.sockets import Sent, reset_at_close
from headwater.streams.slow import WriteDeadline


class TransportSink:
    """Writes chunks of one response to the transport of its connection."""

    on_ready: Callable[[], None] | None = None

    def __init__(self, cycle: RequestResponseCycle, gone: asyncio.Future[None]) -> None:
        self._cycle = cycle
        self._gone = gone
        self._transport = cycle.transport
        self._flow = cycle.flow
        self._chunked = bool(cycle.chunked_encoding)

    def write(self, data: bytes) -> bool:
        if self._transport.is_closing():
            return False  # the reader has gone; `run` returns soon
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._transport.write(data)
        return not self._flow.write_paused

    def close(self, data: bytes = b"") -> None:
        cycle = self._cycle
        if cycle.disconnected or cycle.response_complete or self._transport.is_closing():
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if data:
            self._transport.write(data)
        # What uvicorn's own `send` does after the last part of a body.
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def abort(self) -> None:
        cut(self._transport)

    def taken(self) -> int | None:
        return taken(self._transport)

    async def run(self) -> None:
        """`receive` answers when the response is complete as well as when the reader has gone."""
        await self._gone


class WriteWatch:
    """Cuts a connection that takes nothing of a response, or of a stream's last bytes.

    While a stream is written, its subscriber does this.
    """

    __slots__ = ("_deadline", "_loop", "_timeout_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: WriteDeadline | None = None

    def taken(self) -> int | None:
        return taken(self._transport)

    def begin(self) -> None:
        """Watch until everything is taken; nothing to do when it is already."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._deadline = WriteDeadline(self, self._timeout_s, self._loop.time())
            self._look()

    def cancel(self) -> None:
        """The connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._deadline = None

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        wait = self._deadline.look(self._loop.time())
        if wait is None:
            cut(self._transport)
        elif not self._deadline.idle:
            self._timer = self._loop.call_later(wait, self._look)


def taken(transport: asyncio.Transport) -> int | None:
    """What the reader has taken, by the kernel's count where there is one; None: everything.

    The transport's own count does not show progress: the kernel takes more from it only when a
    third of the kernel's buffer, which may be MiB, is free. `TCP_USER_TIMEOUT` is no substitute
    for this count: it also cuts slow readers whose window stays smaller than a segment.
    """
    waiting = transport.get_write_buffer_size()
    sent = Sent.of(transport.get_extra_info("socket"))
    if not waiting and not (sent is not None and sent.waiting):
        return None
    return -waiting if sent is None else sent.acknowledged


def cut(transport: asyncio.Transport) -> None:
    """Close at once.

    If that loses bytes of the transport, the kernel drops the bytes that it holds as well.
    """
    if transport.get_write_buffer_size() and not transport.is_closing():
        reset_at_close(transport.get_extra_info("socket"))
    transport.abort()
