"""Django: a stream as the response of a plain view, the views to resume and stop it, the client.

The same under WSGI and ASGI: the streams run in one loop beside the host. Under ASGI a response is
iterated in the host's own loop, since Django collects what can only be iterated in a thread, whole,
before it sends any of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any, Unpack

from headwater import wires
from headwater.adapters.bridged import (
    Held,
    Library,
    answer_headers,
    beginning,
    looked_at,
    principal_of,
    settled,
    stopped,
)
from headwater.adapters.heads import (
    PLAYGROUND,
    SCRIPTS,
    error_answer,
    make_request_id,
    stream_headers,
)
from headwater.adapters.sockets import ReaderSocket
from headwater.adapters.wsgi import BridgedBody, WsgiBody
from headwater.errors import ConfigurationError, HeadwaterError
from headwater.requests.options import ResponseOptions
from headwater.requests.parsing import Question
from headwater.wires.base import Wire

try:
    from django.core.signals import request_started
    from django.dispatch import receiver
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern, path
    from django.views.decorators.csrf import csrf_exempt
except ImportError as missing:
    raise ConfigurationError(
        "headwater.adapters.django needs Django: pip install 'headwater[django]'"
    ) from missing


# The socket of the request that this thread or greenlet answers. No `threading.local`: made before
# gevent patches threads, it would be one for all greenlets.
_socket: ContextVar[ReaderSocket] = ContextVar("headwater_socket")


@receiver(request_started)  # type: ignore[untyped-decorator]
def _remember(environ: dict[str, Any] | None = None, **_: Any) -> None:
    _socket.set(ReaderSocket.shown(environ or {}))


def _socket_of(request: HttpRequest | None) -> ReaderSocket:
    """Under ASGI the signal runs in a context of its own, but the request has the scope."""
    scope = getattr(request, "scope", None)
    return _socket.get(ReaderSocket()) if scope is None else ReaderSocket.of_scope(scope)


class StreamResponse(StreamingHttpResponse):  # type: ignore[misc]
    """A stream, however the host iterates it.

    Middleware that would replace its content, such as `GZipMiddleware`, which holds tokens back, is
    told that it is encoded already.
    """

    def __init__(self, hw: Library, held: Held, socket: ReaderSocket) -> None:
        headers = stream_headers(held.reading.format.wire) | answer_headers(held)
        super().__init__((), headers=headers)
        self._bridge = hw.bridge()
        self._held = held
        self._body: BridgedBody | None = None
        self._socket = socket

    def has_header(self, header: str) -> bool:
        """Whether it has this header; of `Content-Encoding` it says so."""
        return header.lower() == "content-encoding" or super().has_header(header)

    def __iter__(self) -> Iterator[bytes]:
        waiter = self._bridge.host.waiter()
        self._body = BridgedBody(self._bridge, self._held, waiter, self._socket)
        return WsgiBody(self._body, waiter, self._socket)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        waiter = _LoopWaiter()
        body = self._body = BridgedBody(self._bridge, self._held, waiter, self._socket)
        try:
            while (data := body.take()) is not None:
                if data:
                    yield data
                else:
                    await waiter.come()
        finally:
            body.close()

    def close(self) -> None:
        """The host is done with it."""
        self._free()
        super().close()

    def __del__(self) -> None:
        """Middleware that answers something else in place of it does not close it."""
        self._free()

    def _free(self) -> None:
        if self._body is not None:
            self._body.close()
        else:
            self._bridge.loop.call_soon_threadsafe(self._held.hold.close)


class _LoopWaiter:
    """Wakes a coroutine of the host's loop from the bridge's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def wait(self, timeout: float | None) -> bool:
        raise NotImplementedError("a coroutine waits by `come`")

    async def come(self) -> None:
        """Until it is woken."""
        await self._event.wait()
        self._event.clear()

    def close(self) -> None:
        """Nothing is held."""


def stream_response(
    hw: Library,
    question: Question,
    *,
    request: HttpRequest | None = None,
    **options: Unpack[ResponseOptions],
) -> HttpResponseBase:
    """A Django response that streams the answer to `question`, or what that generator yields.

    The arguments are those of `Headwater.response`. With the view's `request`, one that is repeated
    with its `Idempotency-Key` gets the stream of the first. Errors known before the head is sent
    become statuses. For plain views; in an `async def` view await `astream_response`.
    """
    wire = wires.get(options.get("wire", "plain"))
    try:
        begin = beginning(hw, "stream_response()", question, options, **_head(request))
        held = hw.bridge().call(begin)
    except HeadwaterError as error:
        return _error(wire, error)
    return _answer(hw, held, request)


async def astream_response(
    hw: Library,
    question: Question,
    *,
    request: HttpRequest | None = None,
    **options: Unpack[ResponseOptions],
) -> HttpResponseBase:
    """The same for an `async def` view, whose loop it does not hold up."""
    wire = wires.get(options.get("wire", "plain"))
    try:
        begin = beginning(hw, "astream_response()", question, options, **_head(request))
        begun = asyncio.run_coroutine_threadsafe(begin(), hw.bridge().loop)
        held = await asyncio.wrap_future(begun)
    except HeadwaterError as error:
        return _error(wire, error)
    return _answer(hw, held, request)


def mount(hw: Library) -> list[URLPattern]:
    """`GET` and `DELETE v1/streams/{id}`: resume and stop. `path("ai/", include(mount(hw)))`.

    And the browser's client, `headwater.js` and its parts.

    `Headwater(principal=fn)` names the principal of Django's request. Without it, only streams
    without a principal are served. A browser lets no other site send DELETE,
    so no CSRF token is asked for.
    """

    def serve(request: HttpRequest, stream: str) -> HttpResponseBase:
        try:
            principal = principal_of(hw, request)
            if request.method == "DELETE":
                stopped(hw, stream, principal)
                return HttpResponse(status=204)
            if request.method != "GET":
                return HttpResponse(status=405, headers={"Allow": "GET, DELETE"})
            return _read(hw, request, stream, principal)
        except HeadwaterError as error:
            return _error(wires.get("native"), error)

    view: Callable[..., HttpResponseBase] = csrf_exempt(serve)
    return [
        path("v1/streams/<str:stream>", view, name="headwater_stream"),
        *(path(name, _script, {"name": name}) for name in SCRIPTS),
    ]


def _script(request: HttpRequest, name: str) -> HttpResponse:
    body = (PLAYGROUND / name).read_bytes()
    return HttpResponse(
        body, "text/javascript; charset=utf-8", headers={"Cache-Control": "no-cache"}
    )


def _read(
    hw: Library, request: HttpRequest, stream: str, principal: str | None
) -> HttpResponseBase:
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = request.GET.dict()
    return _answer(hw, looked_at(hw, stream, principal, headers=headers, query=query), request)


def _answer(hw: Library, held: Held, request: HttpRequest | None) -> HttpResponseBase:
    whole = settled(held)
    if whole is not None:
        return _whole(*whole)
    return StreamResponse(hw, held, _socket_of(request))


def _whole(body: bytes, status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(body, status=status, headers=headers)


def _head(request: HttpRequest | None) -> dict[str, str | None]:
    """What of a request's head decides which stream answers it."""
    if request is None:
        return {}
    return {
        "path": request.path,
        "key": request.headers.get("Idempotency-Key"),
        "after": request.headers.get("Last-Event-ID"),
    }


def _error(wire: Wire[Any], error: HeadwaterError) -> HttpResponse:
    return _whole(*error_answer(wire, error, make_request_id()))
