"""uvicorn's HTTP protocol, with a way for a stream to write straight to its transport.

uvicorn documents `--http` as the place for a protocol class of one's own. Head and errors go the
ordinary way; a stream's bytes skip the awaited `send` with its checks and its flow control, which
cost more than everything else that happens to a token.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
import msgspec
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headwater import wires
from headwater.adapters.asgi import DIRECT_SINK
from headwater.adapters.heads import error_headers, make_request_id
from headwater.errors import RequestError
from headwater.server.peers import PEER, Peer
from headwater.server.transport import TransportSink, WriteWatch

# Eight times what nginx lets through by default. The same bounds what comes between the pieces of a
# body and after it: sizes of chunks, their extensions, trailers.
_MAX_HEAD: Final = 64 * 1024
_TOO_LONG: Final = (431, "The request's head, or what surrounds its body, is longer than 64 KiB.")
# RFC 9112, 3.2. Two names would let a proxy check one and the guards the other.
_HOST: Final = (400, "The request must have exactly one Host header.")
_NO_TUNNEL: Final = (400, "CONNECT is not supported here.")
# Headers by which a client offers another protocol, and their names in Connection.
_OFFERS: Final = frozenset({b"upgrade", b"http2-settings"})
# A request has this long to come, and a body must bring so much in each such time: slower than any
# phone, and far above what holds a connection for as little as possible.
_ARRIVES_S: Final = 20.0
_LEAST_BYTES: Final = 4 * 1024
# And all of it must be there after so many of these times: 10 minutes, for 10 MiB on a slow line.
_MOST_TIMES: Final = 30
_TOO_SLOW: Final = (408, "The request came too slowly: 4 KiB in 20 seconds are the least.")
# Bytes parsed at once. A pipelined request costs 3 KB from its head on, so what lies behind one
# stays unparsed until it is answered.
_SLICE: Final = 8 * 1024


class StreamProtocol(HttpToolsProtocol):
    """Offers every request a sink on its transport."""

    _sink: TransportSink | None = None
    _peer: Peer | None = None
    _refusal: tuple[int, str] | None = None  # why a callback stopped the parser
    _in_head = True  # the head of a request is received, or nothing yet
    _piece = 0  # bytes that are being parsed
    _barren = 0  # bytes since the last of a body: llhttp bounds no line by itself
    _unparsed = b""  # what lies behind a pipelined request
    _arriving: asyncio.TimerHandle | None = None  # while a request is
    _received = 0  # since the timer was set
    _times = 0  # that the timer has fired for this request
    _watch: WriteWatch

    def __init__(self, *args: Any, write_timeout_s: float = 30.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._write_timeout_s = write_timeout_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = WriteWatch(transport, self._write_timeout_s)
        self._peer = Peer(self.client, self.server) if self.client and self.server else None
        self._await_request()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._parse_slices(self._unparsed + data if self._unparsed else data)

    def _parse_slices(self, data: bytes) -> None:
        """Parse until a request has to wait for another's answer; keep the rest."""
        self._unparsed = b""
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            if self.pipeline:
                self._unparsed = data[start:]
                return
            self._parse(data[start : start + _SLICE])

    def _parse(self, data: bytes) -> None:
        self._piece = len(data)
        self._barren += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        if self._barren > _MAX_HEAD and not self.transport.is_closing():
            self._refuse(*_TOO_LONG)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol as the HTTP/1.1 request that it is.

        RFC 9110, 7.8 lets a server ignore Upgrade. The parser cannot: it ends the message at its
        head and takes the body for another message. So the head is parsed again, without the offer.
        """
        method = self.parser.get_method()
        if self.transport.is_closing() or method == b"CONNECT":
            self._refuse(*_NO_TUNNEL)
            return
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() not in _OFFERS]
                value = b",".join(kept)
            if name not in _OFFERS:
                head.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*head, b"", b""]) + rest)

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, msg)))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._times = 0
        self._barren = self._piece
        if self._arriving is None:
            self._await_request()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)  # trailers are for no route here

    def on_body(self, body: bytes) -> None:
        self._barren = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it comes again, without the offer
        self._barren = 0
        self._in_head = True
        super().on_message_complete()
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > _MAX_HEAD:
            self._stop(_TOO_LONG)
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            self._stop(_HOST)
        super().on_headers_complete()
        self._in_head = False
        cycle = self.cycle
        extensions: Any = {DIRECT_SINK: partial(self._make_sink, cycle)}
        self.scope["extensions"] = extensions
        self.scope[PEER] = self._peer  # type: ignore[typeddict-unknown-key]
        if self.scope["http_version"] == "1.0":
            cycle.send = _Unchunked(cycle)  # type: ignore[method-assign]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sink is None:
            self._watch.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sink is not None and self._sink.on_ready is not None:
            self._sink.on_ready()

    def _stop(self, refusal: tuple[int, str]) -> None:
        """Stop the parser from within a callback; it calls `send_400_response`."""
        self._refusal = refusal
        raise ValueError(refusal[1])

    def _refuse(self, status: int, message: str) -> None:
        """Answer what never became a request, and close.

        While another response is being written, or this request has one, the connection closes
        without an answer: it would be read as a part of the other.
        """
        cycle: RequestResponseCycle | None = self.cycle  # in a head, of the request before
        if cycle is not None and (
            not cycle.response_complete
            if self._in_head
            else cycle.response_started or self.pipeline
        ):
            self.transport.close()
            return
        error, request_id = RequestError(message), make_request_id()
        body = msgspec.json.encode(wires.get("native").error(error, request_id))
        headers = {
            **error_headers(error, request_id),
            "Content-Length": len(body),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def on_response_complete(self) -> None:
        self.scope.pop("extensions", None)  # what leads from the scope back to here
        self._sink = None
        self._watch.begin()
        super().on_response_complete()
        if self._unparsed and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_soon(self._parse_rest)

    def _parse_rest(self) -> None:
        """Parse what came together with a request that is answered now."""
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._parse_slices(self._unparsed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed = b""
        self._watch.cancel()
        if self._arriving is not None:
            self._arriving.cancel()
        if self.scope is not None:
            self.scope.pop("extensions", None)
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._received = 0
        self._arriving = self.loop.call_later(_ARRIVES_S, self._look)

    def _look(self) -> None:
        """Cut what is to hold a connection and no more: a head, or a body, that comes in drops."""
        answered = not self._in_head and self.cycle.response_started
        self._times += 1
        if (
            not self._in_head
            and not answered
            and self._received >= _LEAST_BYTES
            and self._times < _MOST_TIMES
        ):
            self._await_request()
            return
        self._arriving = None
        if self.transport.is_closing():
            return
        if self._received and not answered:
            self._refuse(*_TOO_SLOW)
        else:  # a browser's connection on the chance, or one whose body nobody waits for
            self.transport.close()

    def _make_sink(self, cycle: RequestResponseCycle, gone: asyncio.Future[None]) -> TransportSink:
        self._sink = TransportSink(cycle, gone)
        return self._sink


class _Unchunked:
    """`send` to a client of HTTP/1.0, which knows no chunks: a body without a length ends with its
    connection.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cast(Send, cycle.send)
        self._framed = True

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._framed = b"content-length" in names
            if not self._framed:
                self._cycle.chunked_encoding = False
        elif not self._framed:  # else uvicorn takes its length for zero, and refuses to send it
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)
