"""uvicorn's HTTP protocol, with a way for a stream to write straight to its transport.

uvicorn documents `--http` as the place for a protocol class of one's own. Head and errors go the
ordinary way; a stream's bytes skip the awaited `send` with its checks and its flow control, which
cost more than everything else that happens to a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headwater.adapters.asgi import DIRECT_SINK


class StreamProtocol(HttpToolsProtocol):
    """Offers every request a sink on its transport."""

    _sink: TransportSink | None = None

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle = self.cycle
        extensions: Any = {DIRECT_SINK: partial(self._make_sink, cycle)}
        self.scope["extensions"] = extensions
        if self.scope["http_version"] == "1.0":
            # A client of HTTP/1.0 does not know chunks: its body ends with the connection.
            cycle.chunked_encoding = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sink is not None and self._sink.on_ready is not None:
            self._sink.on_ready()

    def _make_sink(self, cycle: RequestResponseCycle, gone: asyncio.Future[None]) -> TransportSink:
        self._sink = TransportSink(cycle, gone)
        return self._sink


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
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._transport.write(data)
        return not self._flow.write_paused

    def close(self) -> None:
        cycle = self._cycle
        if cycle.disconnected or cycle.response_complete:
            return
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        # What uvicorn's own `send` does after the last part of a body.
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def abort(self) -> None:
        self._transport.abort()

    async def run(self) -> None:
        """`receive` answers when the response is complete as well as when the reader has gone."""
        await self._gone
