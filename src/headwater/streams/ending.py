"""Telling the app that an answer is over: once, whoever still reads it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headwater.errors import HeadwaterError
from headwater.events import StreamError
from headwater.events.position import START
from headwater.events.snapshot import Snapshot
from headwater.providers.base import Spawn
from headwater.stores.base import Record

log = logging.getLogger("headwater.streams")

# What the last of them get at shutdown: enough to save an answer.
_PATIENCE_S: Final = 5.0

#: Called with the whole answer. A plain function may block: it runs beside the event loop.
OnEnd = Callable[[Snapshot], Any]


class EndCallback:
    """A function to call with the whole stream at its end, and how to run one that may block."""

    __slots__ = ("on_end", "spawn")

    def __init__(self, on_end: OnEnd, spawn: Spawn | None = None) -> None:
        self.on_end = on_end
        self.spawn = spawn


class Endings:
    """Tells of the streams that end in this process. Belongs to one event loop.

    `everyone` is told of each of them, besides whoever asked to be told of one.
    """

    def __init__(
        self, snapshot: Callable[[Record], Awaitable[Snapshot]], everyone: EndCallback | None
    ) -> None:
        self._snapshot = snapshot
        self._everyone = everyone
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(
        self, record: Record, told: EndCallback | None, unlogged: StreamError | None = None
    ) -> None:
        """The stream is over. `unlogged` is its end where the log could not take it."""
        wanted = [each for each in (told, self._everyone) if each is not None]
        if wanted:
            task = asyncio.get_running_loop().create_task(self._tell(record, wanted, unlogged))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Everybody has been told, or had some time to hear it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE_S)

    async def _tell(
        self, record: Record, wanted: list[EndCallback], unlogged: StreamError | None
    ) -> None:
        try:
            snapshot = await self._snapshot(record)
        except HeadwaterError as error:  # no store: what is known is told all the same
            log.warning("stream %s cannot be read at its end: %s", record.stream, error.message)
            snapshot = Snapshot()
            snapshot.know(
                record.stream, record.model, record.route, record.principal, record.metadata
            )
        if unlogged is not None:
            snapshot.add(unlogged, START)
        for each in wanted:
            try:
                await _call(each, snapshot)
            except Exception:
                log.exception("on_end failed for stream %s", record.stream)


async def _call(told: EndCallback, snapshot: Snapshot) -> None:
    if inspect.iscoroutinefunction(told.on_end):
        await told.on_end(snapshot)
        return
    loop = asyncio.get_running_loop()
    if told.spawn is None:
        result = await asyncio.to_thread(told.on_end, snapshot)
    else:
        done: asyncio.Future[Any] = loop.create_future()
        told.spawn(lambda: _run(told.on_end, snapshot, loop, done))
        result = await done
    if inspect.isawaitable(result):  # a partial, or an object whose call is a coroutine
        await result


def _run(
    on_end: OnEnd,
    snapshot: Snapshot,
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
) -> None:
    try:
        result = on_end(snapshot)
    except BaseException as error:  # the thread is ours: nobody else would hear of it
        loop.call_soon_threadsafe(_settle, done, None, error)
    else:
        loop.call_soon_threadsafe(_settle, done, result, None)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
