"""Reading and stopping a stream that was begun before, as every host's routes do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater.errors import ConfigurationError, RequestError
from headwater.events.position import START, Position
from headwater.requests.runtime import Runtime, wire_named, wire_names
from headwater.stores.base import Record, Tail
from headwater.streams import Hub, Opened
from headwater.streams.finding import check_position
from headwater.wires.base import Wire


class Reading(msgspec.Struct, frozen=True):
    """What a request to read asks for: a stream from a position, in a wire.

    `state` is the stream's state for a reader who prefers JSON. `finished` says that the position
    is the end: there is nothing to send, and an EventSource stops at 204.
    """

    opened: Opened
    wire: Wire
    options: tuple[Any, ...] = ()
    after: Position = START
    finished: bool = False
    state: dict[str, Any] | None = None


async def find(
    runtime: Runtime,
    stream: str,
    principal: str | None,
    *,
    headers: Mapping[str, str],
    query: Mapping[str, str],
) -> Reading:
    """The reading that `GET /v1/streams/{id}` asks for; names of `headers` in any case.

    `Last-Event-ID` beats `?after=`. `RequestError` for a stream that is not the principal's, a
    wire that is not there, a position that is malformed or not in the log.
    """
    name = query.get("wire", "native")
    try:
        wire = wire_named(name)
    except ConfigurationError as error:
        known = ", ".join(wire_names())
        raise RequestError(
            f"wire must be one of {known}, not {name[:50]!r}.", param="wire"
        ) from error
    hub = runtime.hub
    record, tail = await hub.find(stream, principal)
    if prefers_json(headers.get("accept", "")):
        state = (await hub.snapshot(record)).describe()
        return Reading(Opened(hub, record, None), wire, state=state)
    text = headers.get("last-event-id") or query.get("after")
    after = Position.parse(text) if text else START
    if text:
        await check_position(hub.store, record, after, tail)
    return reading_of(hub, record, tail, wire, after)


def reading_of(hub: Hub, record: Record, tail: Tail, wire: Wire, after: Position) -> Reading:
    """A stream from a position that it has, as it was asked for where the wire is the same."""
    spoken, options = record.spoken or ("", ())
    own = options if spoken == wire.name else ()
    opened = Opened(hub, record, hub.live(record, tail))
    return Reading(opened, wire, own, after, tail.closed and after == tail.last)


def prefers_json(accept: str) -> bool:
    """Whether an `Accept` wants the state rather than the stream."""
    return "application/json" in accept and "text/event-stream" not in accept
