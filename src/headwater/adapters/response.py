"""A stream as a Starlette response: begun when it is sent, live or whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.adapters.asgi import deliver, disconnected
from headwater.adapters.heads import JSON_HEADERS, error_answer, make_request_id, stream_headers
from headwater.errors import HeadwaterError
from headwater.events.position import START
from headwater.requests.reading import Reading
from headwater.wires.base import Wire

T = TypeVar("T")

# nginx's status for a reader who left before there was an answer.
_LEFT: Final = 499

#: Where the server leaves the id of a request for whoever answers it.
REQUEST_ID: Final = "headwater.request_id"


class StreamResponse(Response):
    """Sends what `open` opens, in `wire`.

    `open` is called with the request's scope when the response is sent; a `HeadwaterError` of it
    becomes a status.
    """

    media_type = "text/event-stream"

    def __init__(self, open: Callable[[Scope], Awaitable[Reading]], wire: Wire[Any]) -> None:
        # As Starlette's own streaming response: a body set here would come with its length.
        self.status_code = 200
        self.background = None
        self.init_headers(stream_headers(wire))
        self._open = open
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope.get(REQUEST_ID) or make_request_id()
        gone = asyncio.ensure_future(disconnected(receive))
        self.headers["X-Request-Id"] = request_id
        try:
            reading = await self._open(scope)
            if reading.format.wire is not self._wire:  # a reader may ask for another
                self._wire = reading.format.wire
                self.headers.update(stream_headers(self._wire))
            self.headers["Headwater-Stream"] = reading.opened.record.stream
            # A reader until the response is over, so that none of its stages is without one.
            with reading.opened.held():
                answer = await self._before_head(reading, gone)
                if answer is not None:
                    await self._send(answer, scope, receive, send)
                elif not gone.done():
                    attach = reading.opened.reader(reading.format, reading.after)
                    await deliver(scope, send, gone, self.raw_headers, attach)
                else:  # nobody hears it, but middleware takes no response for a failure
                    await self._send(Response(status_code=_LEFT), scope, receive, send)
        except HeadwaterError as error:
            answer = error_response(self._wire, error, request_id)
            await self._send(answer, scope, receive, send)
        finally:
            gone.cancel()

    async def _send(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Another answer than the stream, with the headers that name the request and the stream."""
        for name in ("X-Request-Id", "Headwater-Stream"):
            if name in self.headers:
                answer.headers[name] = self.headers[name]
        await answer(scope, receive, send)

    async def _before_head(self, reading: Reading, gone: asyncio.Future[None]) -> Response | None:
        """The answer that is no stream: the state, the whole answer, or an early failure."""
        if reading.state is not None:
            return json_response(reading.state)
        if reading.finished:
            return Response(status_code=204)
        if reading.whole:
            whole = await _unless(gone, reading.opened.whole(reading.format))
            return None if whole is None else json_response(whole)
        if reading.format.wire.waits_for_first and reading.after == START:
            await _unless(gone, reading.opened.before_head(reading.format.wire))
        return None


async def _unless(gone: asyncio.Future[None], wanted: Coroutine[Any, Any, T]) -> T | None:
    """The result of `wanted`, or None when the reader has gone first."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, JSON_HEADERS)


def error_response(wire: Wire[Any], error: HeadwaterError, request_id: str) -> Response:
    """An error before the head, in the wire's own shape."""
    return Response(*error_answer(wire, error, request_id))
