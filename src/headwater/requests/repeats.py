"""A POST with `Last-Event-ID` wants the rest of an answer: it never begins a second generation."""

from __future__ import annotations

from typing import Final

from headwater.errors import HeadwaterError
from headwater.events import StreamError, encode
from headwater.events.position import Position
from headwater.requests.reading import Reading, check_position, spoken_of
from headwater.stores.base import Tail
from headwater.streams import Hub, Opened
from headwater.wires.base import WireFormat

# Streams of the same body that are looked through for a position.
_LOOKED_AT: Final = 100


class NothingToResumeError(HeadwaterError):
    """No stream of a request has its position. `frames` are the body of a stream that says so.

    Answered with status 200: clients that repeat a POST for ever at an error stop at a terminal
    event.
    """

    def __init__(self, format: WireFormat) -> None:
        message = (
            "No stream of this request has the position in Last-Event-ID; ask again without it."
        )
        super().__init__("position_lost", message, retryable=False)
        error = StreamError("position_lost", message, retryable=False, usage=None, timing=None)
        self.frames = format.fold().render(0, 0, [error], [encode(error)])


async def rest(
    hub: Hub, label: str, principal: str | None, after: Position, format: WireFormat
) -> Reading:
    """The newest stream with this label, wire and options that has the position, from there.

    At its end its terminal event is read again: a client repeats its POST until it has seen one.
    Raises `NothingToResumeError` when there is no such stream.
    """
    await hub.open()
    spoken = spoken_of(format)
    for record in await hub.store.labelled(label, _LOOKED_AT):
        if record.spoken != spoken:
            continue
        try:
            _, tail = await hub.find(record.stream, principal)
            await check_position(hub.store, record, after, tail)
        except HeadwaterError:  # dropped, trimmed, or without this position
            continue
        opened = Opened(hub, record, hub.live(record, tail))
        return Reading(opened, format, _before_end(after, tail))
    raise NothingToResumeError(format)


def _before_end(after: Position, tail: Tail) -> Position:
    if tail.closed and after == tail.last:
        return Position(after.epoch, after.seq - 1)
    return after
