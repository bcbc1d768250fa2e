"""Streams whose writer process is gone: continued here, or ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import EndedBy, StreamError, encode
from headwater.events.position import Position
from headwater.observe import Observer
from headwater.stores.base import Appended, Record, Store, Tail
from headwater.streams.ending import EndCallbacks
from headwater.streams.recovery import failed
from headwater.streams.repairs import Break
from headwater.streams.table import StreamTable

log = logging.getLogger("headwater.streams")

# How long a process that was stopped is known to have been: it may have been the only one, and
# another one may start a day later.
_STOPPED_KEPT_S: Final = 86_400.0

_MESSAGES: Final[dict[EndedBy, str]] = {
    "shutdown": "The server that was writing this answer was stopped before it was whole.",
    "process_lost": "The process that was writing this answer died before it was whole.",
    "process_stalled": "The process that was writing this answer no longer responded.",
}


def interrupted(ended_by: EndedBy) -> UpstreamError:
    """The error of a stream whose process is gone."""
    return UpstreamError("interrupted", _MESSAGES[ended_by])


async def say_stopped(store: Store) -> None:
    """Let the processes that take over what this one leaves know that it was stopped."""
    try:
        await store.claim(_stopped(store.node), "stopped", _STOPPED_KEPT_S)
    except HeadwaterError as error:
        log.warning("the store cannot be told of the shutdown: %s", error.message)


def _stopped(node: str) -> str:
    # No digest of a claim has a space in it.
    return f"stopped {node}"


class Sweeper:
    """Takes over the streams of processes that are gone.

    `take_on` continues a stream that was taken over, and returns None; else the `repair` with which
    it is to end. Then the ends are written that this process owes to logs of its own.
    """

    def __init__(
        self,
        table: StreamTable,
        observer: Observer,
        take_on: Callable[[Record, Tail, Break], Awaitable[str | None]],
        callbacks: EndCallbacks,
    ) -> None:
        #: False while this process stops: then streams are left to processes that stay.
        self.active = True
        self._store = table.store
        self._owed = table.owed
        self._observer = observer
        self._take_on = take_on
        self._callbacks = callbacks

    async def sweep(self, renew: Callable[[], Awaitable[None]]) -> None:
        """Take over what there is. `renew` is called between streams, for there may be many."""
        reasons: dict[str, EndedBy] = {}
        for record in await self._store.orphans() if self.active else ():
            # Found before the takeover: nothing may fail between that and the end of the log.
            if record.node not in reasons:
                reasons[record.node] = await self._reason(record.node)
            # Only one process succeeds in this; then appends of the old lease holder are fenced.
            tail = await self._store.takeover(record.stream, record.node)
            if tail is not None:
                await self._take_over(record, tail, reasons[record.node])
            await renew()
        for stream, event in list(self._owed.items()):
            tail = await self._store.takeover(stream, self._store.node)
            del self._owed[stream]
            if tail is not None and await self._end(stream, tail, event):
                log.warning(
                    "stream %s of this process ended late: %s",
                    stream,
                    event.code,
                    extra={
                        "ended_by": event.ended_by,
                        "node": self._store.node,
                        "repair": event.repair or None,
                    },
                )
                if event.timing is None:  # else its producer has counted it
                    self._observer.swept(event.code, event.ended_by or "provider")

    async def _take_over(self, record: Record, tail: Tail, ended_by: EndedBy) -> None:
        error = interrupted(ended_by)
        try:
            repair = await self._take_on(record, tail, Break(error, ended_by))
        except HeadwaterError as failure:
            repair = failed(failure.code)
        except Exception:  # no other process would end it
            log.exception("stream %s cannot be continued", record.stream)
            repair = failed("internal")
        if repair is None:
            return
        event = StreamError(error.code, error.message, True, None, None, ended_by, repair)
        if await self._end(record.stream, tail, event):
            log.warning(
                "stream %s: %s, ended by %s of process %s, repair %s",
                record.stream,
                event.code,
                ended_by,
                record.node,
                repair,
                extra={"ended_by": ended_by, "node": record.node, "repair": repair},
            )
            self._observer.swept(event.code, ended_by)
            self._callbacks.notify(record, None)

    async def _reason(self, node: str) -> EndedBy:
        if await self._store.claimed(_stopped(node)) is not None:
            return "shutdown"
        return "process_stalled" if await self._store.alive(node) else "process_lost"

    async def _end(self, stream: str, tail: Tail, event: StreamError) -> bool:
        """Whether the log has this end now."""
        last = Position(tail.last.epoch, tail.last.seq + 1)
        try:
            result = await _append(self._store, stream, tail.last, last, encode(event))
        except HeadwaterError:
            self._owed[stream] = event
            raise
        if result == "failed":
            self._owed[stream] = event
        return result == "ok"


async def _append(
    store: Store, stream: str, prev: Position, last: Position, data: bytes
) -> Appended:
    answered: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
    at_once = store.append(stream, prev, last, data, True, answered.set_result)
    return at_once if at_once is not None else await answered
