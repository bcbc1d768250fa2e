"""One connection to an upstream: HTTP/1.1 by httptools, pushed straight to the receiver."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Final, cast

import httptools

from headwater.errors import UpstreamError
from headwater.upstream.exchange import Exchange

# nginx and Node accept 8 to 16 KiB of headers; no provider's response needs four times that. The
# same bounds what comes between two pieces of a body: sizes of chunks, and trailers.
_MAX_HEAD: Final = 64 * 1024
# A compressed response may not grow without bound: as much as a whole stream may be.
_MAX_DECODED: Final = 64 * 1024 * 1024
# Decoded bytes a turn of the event loop: a few kilobytes of a compressed answer may hold megabytes,
# and parsing so much takes as long as what one read of an uncompressed answer brings.
_STEP: Final = 64 * 1024
# How long the end of a response that nobody reads any more may take before its connection goes.
_LINGER_S: Final = 1.0


class Connection(asyncio.Protocol):
    """Serves one exchange at a time; `on_idle` is called when it can take another."""

    __slots__ = (
        "_barren",
        "_broken",
        "_complete",
        "_exchange",
        "_head_size",
        "_headers",
        "_inflate",
        "_keep",
        "_lingering",
        "_loop",
        "_on_idle",
        "_parser",
        "_pieces",
        "_status",
        "_transport",
        "idle_since",
        "on_body",
    )

    def __init__(self, on_idle: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._pieces: list[bytes] = []
        # httptools calls this once a chunk of the body: list.append costs no Python frame.
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self._lingering: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._barren = 0  # bytes since the last that were body: llhttp bounds no line by itself
        self._status = 0
        self._complete = False
        self._broken: UpstreamError | None = None  # what makes the rest unreadable
        self._keep = False
        self._inflate: _Inflater | None = None

    @property
    def usable(self) -> bool:
        """Whether a request may be written to it."""
        return self._transport is not None and not self._transport.is_closing()

    def start(self, exchange: Exchange) -> None:
        """Write the request; what comes back goes to its receiver."""
        if self._transport is None:
            exchange.lost(None)
            return
        self._reset()
        self._exchange = exchange
        exchange.connection = self
        exchange.connected_at = time.monotonic()
        self._transport.write(exchange.head + exchange.request.body)

    def abort(self) -> None:
        """Close without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def linger(self) -> None:
        """Nobody reads any more: keep the connection if the response ends soon, else close it."""
        if self._exchange is not None and self._lingering is None:
            self._lingering = self._loop.call_later(_LINGER_S, self.abort)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes; the interface is the same.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # bytes that nobody asked for: this connection is not to be trusted
            self.abort()
            return
        exchange.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as refused:
            self._broken = _invalid(refused)
        if self._pieces:
            self._barren = 0
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            if self._inflate is not None:
                self._inflate.feed(body)
                self._decode()
                return
            if not exchange.over:
                exchange.receiver.on_data(body)
        else:
            self._barren += len(data)
            if self._barren > _MAX_HEAD:
                self._broken = self._broken or _too_long()
        if self._complete or self._broken is not None:  # most reads cost no further call
            self._conclude()

    def _decode(self) -> None:
        """Deliver what one step of decoding gives; further steps follow in further turns."""
        exchange, inflate, transport = self._exchange, self._inflate, self._transport
        if exchange is None or inflate is None or transport is None:
            return
        try:
            body = inflate.step()
        except UpstreamError as broken:
            self._fail(broken)
            return
        if body and not exchange.over:
            exchange.receiver.on_data(body)
        if not inflate.pending:
            transport.resume_reading()
            self._conclude()
        elif self.usable:  # the receiver may have released the connection
            transport.pause_reading()
            self._loop.call_soon(self._decode)

    def _conclude(self) -> None:
        """End the exchange if its response is whole or unreadable."""
        if self._complete:
            self._finish(keep=self._broken is None)
        elif self._broken is not None:
            self._fail(self._broken)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._lingering is not None:
            self._lingering.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.over:
            return
        ends_at_eof = self._status and not (
            "content-length" in self._headers or "transfer-encoding" in self._headers
        )
        if exc is None and ends_at_eof:
            exchange.lost(self._cut())
        else:
            exchange.lost(_truncated())

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > _MAX_HEAD:
            raise _too_long()
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue, 103 Early Hints: the response is still to come
            self._headers.clear()
            return
        self._status = status
        encoding = self._headers.get("content-encoding", "identity").lower()
        if encoding in ("gzip", "deflate"):
            self._inflate = _Inflater()
        elif encoding not in ("identity", ""):
            raise UpstreamError(
                "upstream_error",
                f"The upstream answered in content-encoding {encoding[:20]!r}; none was asked for.",
            )
        exchange = self._exchange
        if exchange is not None and not exchange.over:
            exchange.receiver.on_head(status, self._headers)

    def on_message_complete(self) -> None:
        self._complete = self._status >= 200
        self._keep = self._parser.should_keep_alive()

    # the end of a response

    def _finish(self, *, keep: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if keep and self._keep and self.usable:
            self.idle_since = self._loop.time()
            self._on_idle(self)
        else:
            self.abort()
        if exchange is not None:
            exchange.connection = None
            exchange.end(self._cut())

    def _cut(self) -> UpstreamError | None:
        """The error of a body that is whole by its framing and not by its compression."""
        return None if self._inflate is None or self._inflate.complete else _truncated()

    def _fail(self, error: UpstreamError) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.end(error)


def _invalid(error: Exception) -> UpstreamError:
    """What httptools refused, or what a callback of ours did."""
    if isinstance(error.__context__, UpstreamError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        raise error
    return UpstreamError("upstream_error", "The upstream's answer is not valid HTTP.")


def _too_long() -> UpstreamError:
    return UpstreamError("upstream_error", "The upstream's headers are too long.")


def _truncated() -> UpstreamError:
    return UpstreamError("truncated", "The upstream closed the connection.")


class _Inflater:
    """Decodes gzip, its further members included, or zlib, as it comes and in bounded steps."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: told by the header
        self._encoded = b""
        self._produced = 0
        self.pending = False  # another step may decode more
        self.complete = True  # nothing has begun that has not ended

    def feed(self, data: bytes) -> None:
        """Keep `data` for the next steps."""
        self._encoded += data
        self.pending = True

    def step(self) -> bytes:
        """At most `_STEP` decoded bytes; `UpstreamError` when there is no decoding or no end."""
        if self._decompressor.eof and self._encoded:
            self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            decoded = self._decompressor.decompress(self._encoded, _STEP)
        except zlib.error as error:
            raise UpstreamError(
                "upstream_error", "The upstream's compression is broken."
            ) from error
        self._produced += len(decoded)
        if self._produced > _MAX_DECODED:
            raise UpstreamError("upstream_error", "The upstream's answer has no end.")
        self._encoded = self._decompressor.unconsumed_tail or self._decompressor.unused_data
        self.complete = self._decompressor.eof
        # A full step may have left output inside the decompressor, with no input left outside.
        self.pending = bool(self._encoded) or len(decoded) == _STEP
        return decoded
