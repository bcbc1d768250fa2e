"""The endpoints of OpenAI's Responses beyond the one that begins a response.

Source: the API reference's "Get a model response" and "Cancel a response".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from headwater.adapters.response import StreamResponse, json_response
from headwater.errors import HeadwaterError, RequestError
from headwater.events.snapshot import Snapshot
from headwater.requests.claims import reopened
from headwater.requests.reading import Reading, format_of
from headwater.requests.runtime import Runtime
from headwater.server.auth import Authenticator
from headwater.server.operations import (
    JSON,
    NO_CONTENT,
    READING,
    SSE,
    STOPPING,
    DescribedRoute,
    Operation,
)
from headwater.stores.base import Record, Tail
from headwater.wires.base import WireFormat
from headwater.wires.openai_responses import WIRE, ResponsesOptions

_PREFIX: Final = "resp_"

_READ: Final = Operation(
    "read_response",
    "A response as it is now, or its events",
    {200: {SSE: "Frame", JSON: "Response"}, **NO_CONTENT},
    READING,
    ("query.stream", "query.starting_after"),
)
_CANCEL: Final = Operation(
    "cancel_response", "Stop a response", {200: {JSON: "Response"}}, STOPPING
)


class ResponsesRoutes:
    """Reads and cancels what `POST /v1/responses` began, or any stream as `resp_` and its id."""

    def __init__(self, runtime: Callable[[], Runtime], auth: Authenticator) -> None:
        self._runtime = runtime
        self._auth = auth

    def routes(self) -> list[DescribedRoute]:
        """What Starlette routes."""
        return [
            DescribedRoute("GET", "/v1/responses/{response}", self.read, _READ),
            DescribedRoute("POST", "/v1/responses/{response}/cancel", self.cancel, _CANCEL),
        ]

    async def read(self, request: Request) -> Response:
        """The response as it is now, or with `stream=true` its events after `starting_after`."""
        record, _ = await self._found(request)
        snapshot = await self._runtime().hub.snapshot(record)
        spoken = format_of(record, WIRE)
        if request.query_params.get("stream") not in ("true", "True", "1"):
            return json_response(spoken.whole(snapshot))
        after = _starting_after(request.query_params.get("starting_after"))
        if after is not None:
            last = _last_number(snapshot, spoken)
            if after > last:
                raise HeadwaterError(
                    "position_lost",
                    f"starting_after {after} is not in this response, which has come to {last}.",
                    retryable=False,
                    param="starting_after",
                )
            if after == last and snapshot.status != "running":
                return Response(status_code=204, headers={"Headwater-Stream": record.stream})
            spoken = WIRE.format(structs.replace(_options(spoken), starting_after=after))
        hub = self._runtime().hub

        async def reading(_: Scope) -> Reading:
            opened = await reopened(hub, record.stream, record.principal)  # as it is by now
            return Reading(opened, spoken)

        return StreamResponse(reading, WIRE)

    async def cancel(self, request: Request) -> Response:
        """End the generation; the response as it then is."""
        record, _ = await self._found(request)
        hub = self._runtime().hub
        await hub.stop(record.stream, record.principal)
        return json_response(format_of(record, WIRE).whole(await hub.snapshot(record)))

    async def _found(self, request: Request) -> tuple[Record, Tail]:
        principal = await self._auth.principal(request, generates=False)
        name: str = request.path_params["response"]
        if not name.startswith(_PREFIX):
            raise RequestError("There is no such response.", code="not_found")
        return await self._runtime().hub.find(name.removeprefix(_PREFIX), principal)


def _starting_after(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise RequestError("starting_after must be a sequence_number.", param="starting_after")
    return int(value)


def _last_number(snapshot: Snapshot, spoken: WireFormat) -> int:
    """The number of the last event so far."""
    return WIRE.count(snapshot, _options(spoken)) - 1


def _options(spoken: WireFormat) -> ResponsesOptions:
    assert isinstance(spoken.options, ResponsesOptions)  # noqa: S101 - for the type checker
    return spoken.options
