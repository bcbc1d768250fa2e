"""What a POST with `Last-Event-ID` means: the rest of an answer, never a second generation."""

from __future__ import annotations

from typing import Any, Final

from headwater.errors import HeadwaterError
from headwater.events import StreamError, encode
from headwater.events.position import Position
from headwater.stores.base import Record, Tail
from headwater.streams import Hub
from headwater.streams.finding import check_position
from headwater.wires.base import Wire

# Streams of the same body that are looked through for a position.
_LOOKED_AT: Final = 100

Spoken = tuple[str, tuple[Any, ...]]


async def resumed(
    hub: Hub, label: str, principal: str | None, after: Position, spoken: Spoken
) -> tuple[Record, Position] | None:
    """The newest stream with this label that has the position, and where to read on.

    `spoken` is the request's wire with its options: those of a chat tell its requests apart.

    At its end its terminal event is read again: the caller's client repeats its POST until it has
    seen one. None when there is no such stream.
    """
    await hub.open()
    for record in await hub.store.labelled(label, _LOOKED_AT):
        if record.spoken != spoken:
            continue
        try:
            _, tail = await hub.find(record.stream, principal)
            await check_position(hub.store, record, after, tail)
        except HeadwaterError:  # dropped, trimmed, or without this position
            continue
        return record, _before_end(after, tail)
    return None


def _before_end(after: Position, tail: Tail) -> Position:
    if tail.closed and after == tail.last:
        return Position(after.epoch, after.seq - 1)
    return after


def nothing_to_resume(wire: Wire, options: tuple[Any, ...]) -> bytes:
    """The body of a response that is one error."""
    error = StreamError(
        "position_lost",
        "No stream of this request has the position in Last-Event-ID; ask again without it.",
        retryable=False,
        usage=None,
        timing=None,
    )
    return wire.fold(options).render(0, 0, [error], [encode(error)])
