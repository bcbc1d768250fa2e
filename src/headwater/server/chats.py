"""Chats of the AI SDK's `useChat`: the stream that a chat has now, read and stopped by its id.

Source: the AI SDK's pages "Chatbot Resume Streams" and "Transport". The streams of a chat share a
label; the newest is the chat's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from headwater import wires
from headwater.adapters.response import StreamResponse
from headwater.errors import HeadwaterError, RequestError
from headwater.events.position import START, Position
from headwater.requests.parsing import chat_label
from headwater.requests.reading import Reading, check_position, reading_of
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.operations import NO_CONTENT, SSE, STOPPING, DescribedRoute, Operation
from headwater.stores.base import Record, Tail

_WIRE: Final = wires.get("ui")

_READ: Final = Operation(
    "read_chat",
    "What runs in a chat, from its beginning; after a position, its newest stream",
    {200: {SSE: "Frame"}, **NO_CONTENT},
    ("invalid_request", "position_lost"),
    ("header.Last-Event-ID",),
)
_STOP: Final = Operation("stop_chat", "Stop what runs in a chat", NO_CONTENT, STOPPING)


class _AnyText(PathConvertor):
    """Any text: Starlette's `path` takes no line feed, which an id may have."""

    regex = r"[\s\S]*"


# Starlette has one registry for the whole process, the host's own routes included.
register_url_convertor("headwater_chat", _AnyText())


class Chats:
    """Reads and stops what `POST /api/chat` began."""

    def __init__(self, runtime: Callable[[], Runtime], auth: Authenticator) -> None:
        self._runtime = runtime
        self._auth = auth

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            DescribedRoute("GET", "/api/chat/{chat:headwater_chat}/stream", self.read, _READ),
            DescribedRoute("DELETE", "/api/chat/{chat:headwater_chat}/stream", self.stop, _STOP),
        ]

    async def read(self, request: Request) -> Response:
        """The stream that runs in this chat, from its beginning; 204 when there is none.

        Who was cut says so by `Last-Event-ID`: the newest stream from there on, ended or not.
        """
        found = await self._found(request)
        if found is None:
            return Response(status_code=204)
        record, tail = found
        hub = self._runtime().hub
        position = request.headers.get("last-event-id") or None
        after = Position.parse(position) if position else START
        if after != START:
            await check_position(hub.store, record, after, tail)
        reading = reading_of(hub, record, tail, _WIRE, after)
        if reading.finished or (tail.closed and position is None):
            return Response(status_code=204)

        async def found_reading(_: Scope) -> Reading:
            return reading

        return StreamResponse(found_reading, _WIRE)

    async def stop(self, request: Request) -> Response:
        """Stop what runs in this chat: 204, also when it had ended; 404 for an unknown chat."""
        found = await self._found(request)
        if found is None:
            raise RequestError("There is no stream of such a chat.", code="not_found")
        record, _ = found
        await self._runtime().hub.stop(record.stream, record.principal)
        return Response(status_code=204)

    async def _found(self, request: Request) -> tuple[Record, Tail] | None:
        principal = await self._auth.principal(request, generates=False)
        hub = self._runtime().hub
        await hub.open()
        label = chat_label(principal, request.path_params["chat"])
        for record in await hub.store.labelled(label, 1):
            try:
                return await hub.find(record.stream, principal)
            except HeadwaterError as error:
                if error.code not in ("not_found", "trimmed"):
                    raise
        return None
