"""The endpoints: from a request to a stream, and from a stream to a response."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater import wires
from headwater.adapters.response import StreamResponse, json_response
from headwater.errors import RequestError
from headwater.json_text import JsonBounds
from headwater.requests.claims import is_claimed, label_of
from headwater.requests.limits import Ticket
from headwater.requests.parsing import parse_body
from headwater.requests.pipeline import open_stream
from headwater.requests.reading import Reading, find, prefers_json
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.body import json_object, read_body
from headwater.server.chats import Chats
from headwater.server.operating import Operating
from headwater.server.operations import (
    JSON,
    NO_CONTENT,
    READING,
    SSE,
    STOPPING,
    DescribedRoute,
    Operation,
    begins,
)
from headwater.server.probe import Probe
from headwater.server.responses import ResponsesRoutes
from headwater.settings import Settings
from headwater.wires.base import OnDisconnect, Wire

# A page of streams; the store keeps the newest first.
_LISTED: Final = 100
# A day: longer is "continue".
_MAX_GRACE_S: Final = 86_400.0

_LIST: Final = Operation(
    "list_streams", "The caller's streams, newest first", {200: {JSON: "Streams"}}
)
_READ: Final = Operation(
    "read_stream",
    "All of a stream, or what follows a position, then live to its end; or its state",
    {200: {SSE: "Frame", JSON: "State"}, **NO_CONTENT},
    READING,
    ("header.Last-Event-ID", "query.after", "query.wire"),
    shapes=("Error", "MessagesError"),
)
_STOP: Final = Operation("stop_stream", "Stop a stream", NO_CONTENT, STOPPING)
_MODELS: Final = Operation(
    "list_models", "The models that the key may ask for", {200: {JSON: "Models"}}
)


class Admitted(NamedTuple):
    """A caller that may begin a stream. `at` is `time.monotonic()` when its request arrived.

    `renewals` is how often the keys had been read again by then.
    """

    principal: str | None
    ticket: Ticket | None
    at: float
    renewals: int

    def unused(self) -> None:
        """Give the leave back, unless a stream has begun with it."""
        if self.ticket is not None:
            self.ticket.unused()


class Routes:
    """The endpoints of one server."""

    def __init__(
        self, settings: Settings, runtime: Callable[[], Runtime], auth: Authenticator
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._auth = auth

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            *(
                DescribedRoute("POST", wire.path, Generating(self, wire), begins(wire))
                for wire in map(wires.get, wires.names())
                if wire.path is not None
            ),
            *ResponsesRoutes(self._runtime, self._auth).routes(),
            *Chats(self._runtime, self._auth).routes(),
            *Probe(self._settings, self._runtime, self._auth).routes(),
            *Operating(self._runtime, self._auth).routes(),
            DescribedRoute("GET", "/v1/streams", self.list_streams, _LIST),
            DescribedRoute("GET", "/v1/streams/{stream}", self.read, _READ),
            DescribedRoute("DELETE", "/v1/streams/{stream}", self.stop, _STOP),
            DescribedRoute("GET", "/v1/models", self.list_models, _MODELS),
        ]

    async def admit(self, request: Request) -> Admitted:
        """The caller of a generating route, and its leave to begin a stream.

        Called before the body is read, so that a refusal costs no more than its head. A request
        that may join a stream is never limited: it gets no ticket, and one is taken only if it
        begins a stream after all. `HeadwaterError` (`unauthorized`, `rate_limited`, `overloaded`)
        for a request that may not begin one.
        """
        at = time.monotonic()
        principal = await self._auth.principal(request, generates=True)
        runtime, headers = self._runtime(), request.headers
        key = headers.get("idempotency-key")
        joins = bool(headers.get("last-event-id")) or (
            key is not None and await is_claimed(runtime.hub, principal, request.url.path, key)
        )
        if joins:
            return Admitted(principal, None, at, self._auth.renewals)
        runtime.hub.admit()
        return Admitted(principal, runtime.limits.admit(principal), at, self._auth.renewals)

    async def generate(self, request: Request, wire: Wire[Any], admitted: Admitted) -> Response:
        """A request in `wire`'s shape: the stream that it asks for, or its whole answer."""
        headers, path = request.headers, request.url.path
        principal, runtime = admitted.principal, self._runtime()
        raw = await read_body(request, self._settings.server.max_body_bytes, JsonBounds())
        if admitted.renewals != self._auth.renewals:  # the key may be revoked by now
            principal = await self._auth.principal(request, generates=True)
        await runtime.turns.take(len(raw))
        body = json_object(raw)
        await runtime.turns.take(len(raw))
        asked = parse_body(body, wire, principal, admitted.at)
        asked = structs.replace(
            asked,
            whole=asked.whole or (wire.whole_on_accept and prefers_json(headers.get("accept", ""))),
            label=asked.label or label_of(principal, path, raw),
            path=path,
            key=headers.get("idempotency-key"),
            after=headers.get("last-event-id"),
            on_disconnect=_on_disconnect(headers.get("headwater-on-disconnect")),
            size=len(raw),
        )

        async def reading(_: Scope) -> Reading:
            return await open_stream(runtime, asked, admitted.ticket)

        return StreamResponse(reading, wire)

    async def read(self, request: Request) -> Response:
        """`GET /v1/streams/{id}`: all of it, or what follows a position, then live to the end."""
        principal = await self._auth.principal(request, generates=False)

        async def reading(_: Scope) -> Reading:
            return await find(
                self._runtime(),
                request.path_params["stream"],
                principal,
                headers=request.headers,
                query=request.query_params,
            )

        return StreamResponse(reading, wires.get("native"))

    async def stop(self, request: Request) -> Response:
        """`DELETE /v1/streams/{id}`."""
        principal = await self._auth.principal(request, generates=False)
        await self._runtime().hub.stop(request.path_params["stream"], principal)
        return Response(status_code=204)

    async def list_streams(self, request: Request) -> Response:
        """`GET /v1/streams`: one's own, newest first."""
        principal = await self._auth.principal(request, generates=False)
        hub = self._runtime().hub
        if principal is None:  # streams without a principal belong to whoever knows their ids
            return json_response({"object": "list", "data": []})
        data: list[dict[str, Any]] = []
        for record in await hub.list(principal, _LISTED):
            tail = await hub.store.tail(record.stream)
            if tail is not None:
                status = "ended" if tail.closed else "running"
                data.append(
                    {
                        "stream": record.stream,
                        "status": status,
                        "model": record.model,
                        "created": record.created,
                        "position": str(tail.last),
                    }
                )
        return json_response({"object": "list", "data": data})

    async def list_models(self, request: Request) -> Response:
        """`GET /v1/models`, in OpenAI's shape: what the caller's key may ask for."""
        principal = await self._auth.principal(request, generates=False)
        catalogue, rights = self._runtime().models, self._runtime().rights
        models = await catalogue.available()
        default = await catalogue.default()
        data = [
            {
                "id": model.id,
                "object": "model",
                "owned_by": model.provider,
                "provider": model.provider,
                "available": model.available,
                "needs": model.needs,
                "context": model.context,
                "can": model.can,
                "source": model.source,
                "checked": model.checked,
            }
            for model in models
            if rights.may_ask(principal, model.id)
        ]
        if default is not None and not rights.may_ask(principal, default):
            default = None
        return json_response({"object": "list", "data": data, "default": default})


class Generating:
    """`Routes.generate` as an ASGI application.

    What Starlette wraps around a function, to answer its exceptions, `App` does for every route.
    """

    def __init__(self, routes: Routes, wire: Wire[Any]) -> None:
        self._routes = routes
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        admitted = await self._routes.admit(request)
        try:
            response = await self._routes.generate(request, self._wire, admitted)
            await response(scope, receive, send)
        finally:
            admitted.unused()


def _on_disconnect(value: str | None) -> OnDisconnect | None:
    match value:
        case None | "cancel" | "continue":
            return value
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MAX_GRACE_S:
        raise RequestError(
            "Headwater-On-Disconnect must be cancel, continue, or seconds from 0 to 86400.",
            param="Headwater-On-Disconnect",
        )
    return seconds
