"""A stream as a Starlette response: begun when it is sent, live or whole."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.adapters.asgi import deliver, disconnected
from headwater.errors import STATUS, HeadwaterError
from headwater.events import StreamError
from headwater.position import START, Position
from headwater.stores.base import Record
from headwater.streams import Hub, Stream, Subscriber
from headwater.streams.subscriber import Sink
from headwater.wires.base import Wire

#: Headers of every stream. Proxies buffer, compress and cache unless they are told not to.
STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}

# How long the head may wait for the first upstream event: beyond it heartbeats must begin.
_FIRST_S: Final = 15.0

#: Where the server leaves the id of a request for whoever answers it.
REQUEST_ID: Final = "headwater.request_id"


class Opened(msgspec.Struct, frozen=True):
    """A stream that may be read: its hub, its record, and itself while it runs here."""

    hub: Hub
    record: Record
    running: Stream | None


class StreamResponse(Response):
    """Sends what `begin` opens, in `wire`.

    `begin` runs when the response is sent; a `HeadwaterError` of it becomes a status. With `whole`
    the answer is collected and sent as JSON.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        begin: Callable[[], Awaitable[Opened]],
        wire: Wire,
        *,
        options: tuple[Any, ...] = (),
        after: Position = START,
        whole: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # As Starlette's own streaming response: a body set here would come with its length.
        self.status_code = 200
        self.background = None
        self.init_headers({**STREAM_HEADERS, **wire.headers, **(headers or {})})
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
            opened = await self._begin()
            self.headers["Headwater-Stream"] = opened.record.stream
            # A reader until the response is over, so that none of its stages is without one.
            with opened.running.held() if opened.running is not None else nullcontext():
                answer = await self._before_head(opened, gone)
                if answer is not None:
                    await self._send(answer, scope, receive, send)
                elif not gone.done():
                    await deliver(scope, send, gone, self.raw_headers, self._attach(opened))
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

    def _attach(self, opened: Opened) -> Callable[[Sink], Subscriber]:
        def attach(sink: Sink) -> Subscriber:
            return opened.hub.read(
                opened.record.stream,
                self._wire,
                sink,
                options=self._options,
                after=self._after,
            )

        return attach

    async def _before_head(self, opened: Opened, gone: asyncio.Future[None]) -> Response | None:
        """What is sent instead of a stream: the whole answer, or the status of an early failure."""
        running = opened.running
        if self._whole:
            if running is not None:
                await _either(running.ended(), gone)
            return None if gone.done() else await self._collected(opened)
        if self._wire.waits_for_first and running is not None and self._after == START:
            first = await _either(running.first(_FIRST_S), gone)
            if isinstance(first, StreamError):
                raise failure(first)
        return None

    async def _collected(self, opened: Opened) -> Response:
        snapshot = await opened.hub.snapshot(opened.record)
        if snapshot.error is not None:
            error = snapshot.error
            raise HeadwaterError(error.code, error.message, retryable=error.retryable)
        return json_response(self._wire.whole(snapshot))


async def _either(wanted: Any, gone: asyncio.Future[None]) -> Any:
    """The result of `wanted`, or None when the reader has gone first."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()


def failure(event: StreamError) -> HeadwaterError:
    """The error that a terminal event tells of."""
    code = event.code if event.code in STATUS else "internal"
    return HeadwaterError(code, event.message, retryable=event.retryable)


def make_request_id() -> str:
    """An id for a request that came without one."""
    return f"req_{secrets.token_hex(12)}"


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(
        msgspec.json.encode(value),
        status,
        {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        media_type="application/json",
    )


def error_response(wire: Wire, error: HeadwaterError, request_id: str) -> Response:
    """An error before the head, in the wire's own shape."""
    response = json_response(wire.error(error, request_id), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return response
