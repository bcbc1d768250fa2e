"""A stream as a Starlette response: begun when it is sent, live or whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.adapters.asgi import deliver, disconnected
from headwater.adapters.heads import JSON_HEADERS, error_answer, make_request_id, stream_headers
from headwater.errors import HeadwaterError
from headwater.events.position import START, Position
from headwater.requests.reading import Reading, find
from headwater.requests.runtime import Runtime
from headwater.streams import Opened
from headwater.wires.base import Wire

T = TypeVar("T")

# nginx's status for a reader who left before there was an answer.
_LEFT: Final = 499

#: Where the server leaves the id of a request for whoever answers it.
REQUEST_ID: Final = "headwater.request_id"


class StreamResponse(Response):
    """Sends what `begin` opens, in `wire`.

    `begin` is given the request's scope when the response is sent; a `HeadwaterError` of it becomes
    a status. With `whole` the answer is collected and sent as JSON.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        begin: Callable[[Scope], Awaitable[Opened]],
        wire: Wire,
        *,
        options: tuple[Any, ...] = (),
        after: Position = START,
        whole: bool = False,
    ) -> None:
        # As Starlette's own streaming response: a body set here would come with its length.
        self.status_code = 200
        self.background = None
        self.init_headers(stream_headers(wire))
        self._begin = begin
        self._wire = wire
        self._options = options
        self._after = after
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope.get(REQUEST_ID) or make_request_id()
        gone = asyncio.ensure_future(disconnected(receive))
        self.headers["X-Request-Id"] = request_id
        try:
            opened = await self._begin(scope)
            self.headers["Headwater-Stream"] = opened.record.stream
            # A reader until the response is over, so that none of its stages is without one.
            with opened.held():
                answer = await self._before_head(opened, gone)
                if answer is not None:
                    await self._send(answer, scope, receive, send)
                elif not gone.done():
                    attach = opened.reader(self._wire, self._options, self._after)
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

    async def _before_head(self, opened: Opened, gone: asyncio.Future[None]) -> Response | None:
        """What is sent instead of a stream: the whole answer, or the status of an early failure."""
        if self._whole:
            whole = await _unless(gone, opened.whole(self._wire, self._options))
            return None if whole is None else json_response(whole)
        if self._wire.waits_for_first and self._after == START:
            await _unless(gone, opened.before_head(self._wire))
        return None


class ResumeResponse(Response):
    """Reads a stream that was begun before, from where the request says."""

    media_type = "text/event-stream"

    def __init__(
        self, runtime: Callable[[], Runtime], stream: str, wire: Wire, principal: str | None
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(stream_headers(wire))
        self._runtime = runtime
        self._stream = stream
        self._wire = wire
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        query = {"wire": self._wire.name, **request.query_params}
        try:
            reading = await find(
                self._runtime(), self._stream, self._principal, headers=request.headers, query=query
            )
            answer = reading_response(reading)
        except HeadwaterError as error:
            request_id = scope.get(REQUEST_ID) or make_request_id()
            answer = error_response(self._wire, error, request_id)
        await answer(scope, receive, send)


async def _unless(gone: asyncio.Future[None], wanted: Coroutine[Any, Any, T]) -> T | None:
    """The result of `wanted`, or None when the reader has gone first."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()


def reading_response(reading: Reading) -> Response:
    """The response to a request to read."""
    if reading.state is not None:
        return json_response(reading.state)
    if reading.finished:
        return Response(status_code=204, headers={"Headwater-Stream": reading.opened.record.stream})

    async def begin(_: Scope) -> Opened:
        return reading.opened

    return StreamResponse(begin, reading.wire, options=reading.options, after=reading.after)


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, JSON_HEADERS)


def error_response(wire: Wire, error: HeadwaterError, request_id: str) -> Response:
    """An error before the head, in the wire's own shape."""
    return Response(*error_answer(wire, error, request_id))
