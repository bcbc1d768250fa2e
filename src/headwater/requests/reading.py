"""Reading and stopping a stream that was begun before, as every host's routes do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headwater import wires
from headwater.errors import ConfigurationError, HeadwaterError, RequestError
from headwater.events.position import START, Position
from headwater.requests.runtime import Runtime
from headwater.stores.base import Record, Spoken, Store, Tail
from headwater.streams import Hub, Opened
from headwater.wires.base import Wire, WireFormat


class Reading(msgspec.Struct, frozen=True):
    """One reader's way through a stream, however its host answers.

    Attributes:
        opened: the stream.
        format: the wire format that it is read in.
        after: where to begin.
        whole: send the answer as JSON when it is whole.
        finished: `after` is the end: there is nothing to send, and an EventSource stops at 204.
        state: sent in place of the stream, to a reader who prefers JSON.

    """

    opened: Opened
    format: WireFormat
    after: Position = START
    whole: bool = False
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
        wire = wires.get(name)
    except ConfigurationError as error:
        known = ", ".join(wires.names())
        raise RequestError(
            f"wire must be one of {known}, not {name[:50]!r}.", param="wire"
        ) from error
    hub = runtime.hub
    record, tail = await hub.find(stream, principal)
    if prefers_json(headers.get("accept", "")):
        state = (await hub.snapshot(record)).describe()
        return Reading(Opened(hub, record, None), wire.format(), state=state)
    text = headers.get("last-event-id") or query.get("after")
    after = Position.parse(text) if text else START
    if text:
        await check_position(hub.store, record, after, tail)
    return reading_of(hub, record, tail, wire, after)


async def check_position(store: Store, record: Record, after: Position, tail: Tail) -> None:
    """`position_lost` when the log has no such position: never a silent jump."""
    there = START < after <= tail.last and after.seq >= 1
    if there and after.epoch < tail.last.epoch:
        # An earlier writer's epoch: it may have ended before that position.
        before = Position(after.epoch, after.seq - 1)
        entries = await store.read(record.stream, before, 1)
        there = entries is not None and len(entries) > 0 and entries[0].last.epoch == after.epoch
    if not there:
        raise HeadwaterError(
            "position_lost",
            f"Position {after} is not in this stream, which ends at {tail.last}: read it from "
            "the start.",
            retryable=False,
        )


def reading_of(hub: Hub, record: Record, tail: Tail, wire: Wire[Any], after: Position) -> Reading:
    """A stream from a position that it has."""
    opened = Opened(hub, record, hub.live(record, tail))
    finished = tail.closed and after == tail.last
    return Reading(opened, format_of(record, wire), after, finished=finished)


def format_of(record: Record, wire: Wire[Any]) -> WireFormat:
    """`wire` with the options of the request that began the stream, where it was in this wire."""
    spoken = record.spoken
    if spoken is None or spoken.wire != wire.name:
        return wire.format()
    return wire.format(msgspec.convert(spoken.options, type(wire.defaults)))


def spoken_of(format: WireFormat) -> Spoken:
    """The same, as a store keeps it."""
    return Spoken(format.wire.name, msgspec.to_builtins(format.options))


def prefers_json(accept: str) -> bool:
    """Whether an `Accept` wants the state rather than the stream."""
    return "application/json" in accept and "text/event-stream" not in accept
