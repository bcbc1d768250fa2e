"""What outlives its process: this one's lease renewed, the streams of dead ones taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import StreamError, encode
from headwater.events.position import Position
from headwater.stores.base import Appended, Record, Store, Tail
from headwater.timers import HELD_S

log = logging.getLogger("headwater.streams")

# How often at least: an orphan is found within this of the end of its holder's lease.
_EVERY_S: Final = 1.0
# And a few times a lease, or a busy process would lose its own.
_A_LEASE: Final = 4

#: The end of a stream whose process is no more.
INTERRUPTED: Final = StreamError(
    "interrupted",
    "The server that was writing this answer stopped before it was whole.",
    retryable=True,
    usage=None,
    timing=None,
)


def broken_off() -> UpstreamError:
    """The same, as the error that is told when nobody could go on."""
    return UpstreamError(INTERRUPTED.code, INTERRUPTED.message)


class Leases:
    """Beats for this process, and sweeps up after others. A lease lasts `lease_s`.

    `on_tick` is called at every round with the seconds for which the loop was held up before it.
    `on_late` is called when the lease may have run out meanwhile: streams may have another process
    now. `take_on` is given each stream that was
    taken over, with the end of its log, and says whether it goes on; `tell` those that end here.
    `unended` are streams of this process whose log could not take their end, with the end that they
    owe. Not `sweeping`, it leaves the streams of the dead to processes that stay.
    """

    def __init__(
        self,
        store: Store,
        lease_s: float,
        on_tick: Callable[[float], Awaitable[None]],
        on_late: Callable[[], Awaitable[None]],
        take_on: Callable[[Record, Tail], Awaitable[bool]],
        tell: Callable[[Record, None], None],
    ) -> None:
        self.sweeping = True
        self.unended: dict[str, StreamError] = {}
        self._store = store
        self._on_tick = on_tick
        self._on_late = on_late
        self._lease_s = lease_s
        self._late = False
        self._take_on = take_on
        self._tell = tell
        self._every_s = min(_EVERY_S, lease_s / _A_LEASE)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return. Cancelling it is not enough: a client library may swallow that."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`."""
        loop = asyncio.get_running_loop()
        troubled = False
        due = loop.time()
        while not self._stopping.is_set():
            held_s = loop.time() - due
            if held_s > HELD_S:
                log.warning("the event loop was held up for %.1f s", held_s)
            self._late = self._late or held_s > self._lease_s / 2
            due += held_s
            try:
                await self._on_tick(held_s if held_s > HELD_S else 0.0)
                await self.round()
                troubled = False
            except HeadwaterError as error:
                if not troubled:  # once, not every second
                    log.warning("the store cannot be asked: %s", error.message)
                troubled = True
            except Exception:
                log.exception("the sweep failed")
            due = loop.time() + self._every_s
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stopping.wait()

    async def round(self) -> None:
        """Renew the lease; continue or end the streams whose lease holder is gone."""
        await self._store.beat()
        if self._late:
            await self._on_late()
            self._late = False
            return  # what held this process up may have held up the others too: they get a round
        beaten = asyncio.get_running_loop().time()
        for record in await self._store.orphans() if self.sweeping else ():
            # Only one process succeeds in this; then appends of the old lease holder are fenced.
            tail = await self._store.takeover(record.stream, record.node)
            if tail is None or await self._goes_on(record, tail):
                pass
            elif await self._end(record.stream, tail, INTERRUPTED):
                self._tell(record, None)
            now = asyncio.get_running_loop().time()
            if now - beaten > self._every_s:  # the last process of many has all of their streams
                await self._store.beat()
                beaten = now
        for stream, event in list(self.unended.items()):
            tail = await self._store.takeover(stream, self._store.node)
            if tail is not None:
                await self._end(stream, tail, event)
            del self.unended[stream]

    async def _goes_on(self, record: Record, tail: Tail) -> bool:
        try:
            return await self._take_on(record, tail)
        except Exception:  # it is ours now: nobody else would end it
            log.exception("stream %s cannot go on", record.stream)
            return False

    async def _end(self, stream: str, tail: Tail, event: StreamError) -> bool:
        """Whether the log has this end now."""
        last = Position(tail.last.epoch, tail.last.seq + 1)
        try:
            result = await _append(self._store, stream, tail.last, last, encode(event))
        except HeadwaterError:
            self.unended[stream] = event
            raise
        log.info("stream %s was left by its process: %s", stream, result)
        return result == "ok"


async def _append(
    store: Store, stream: str, prev: Position, last: Position, data: bytes
) -> Appended:
    answered: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
    at_once = store.append(stream, prev, last, data, True, answered.set_result)
    return at_once if at_once is not None else await answered
