"""Calling the app back when a stream has ended: once, with or without readers."""

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

# What the last of them get at shutdown: enough to save a stream.
_PATIENCE_S: Final = 5.0

#: Called with the whole stream. A plain function may block: it runs beside the event loop.
OnEnd = Callable[[Snapshot], Any]


class EndCallback:
    """A function to call with the whole stream at its end, and how to run one that may block."""

    __slots__ = ("on_end", "spawn")

    def __init__(self, on_end: OnEnd, spawn: Spawn | None = None) -> None:
        self.on_end = on_end
        self.spawn = spawn


class EndCallbacks:
    """Calls back for the streams that end in this process. Belongs to one event loop.

    `always` is called for each of them, after the stream's own callback.
    """

    def __init__(
        self, snapshot: Callable[[Record], Awaitable[Snapshot]], always: EndCallback | None
    ) -> None:
        self._snapshot = snapshot
        self._always = always
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(
        self, record: Record, on_end: EndCallback | None, unlogged: StreamError | None = None
    ) -> None:
        """The stream has ended. `unlogged` is its end where the log could not take it."""
        callbacks = [each for each in (on_end, self._always) if each is not None]
        if callbacks:
            task = asyncio.get_running_loop().create_task(self._call(record, callbacks, unlogged))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all callbacks have returned, at most 5 s."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE_S)

    async def _call(
        self, record: Record, callbacks: list[EndCallback], unlogged: StreamError | None
    ) -> None:
        try:
            snapshot = await self._snapshot(record)
        except HeadwaterError as error:  # no store: the callbacks get what is known
            log.warning("stream %s cannot be read at its end: %s", record.stream, error.message)
            snapshot = Snapshot()
            snapshot.know(
                record.stream, record.model, record.route, record.principal, record.metadata
            )
        if unlogged is not None:
            snapshot.add(unlogged, START)
        for each in callbacks:
            try:
                await _call(each, snapshot)
            except Exception:
                log.exception("on_end failed for stream %s", record.stream)


async def _call(callback: EndCallback, snapshot: Snapshot) -> None:
    if inspect.iscoroutinefunction(callback.on_end):
        await callback.on_end(snapshot)
        return
    loop = asyncio.get_running_loop()
    if callback.spawn is None:
        result = await asyncio.to_thread(callback.on_end, snapshot)
    else:
        done: asyncio.Future[Any] = loop.create_future()
        callback.spawn(lambda: _run(callback.on_end, snapshot, loop, done))
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
    except BaseException as error:  # no one else sees an exception of this thread
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
