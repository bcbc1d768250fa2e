"""A stream that another process writes, followed in its log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Literal

from headwater import events as ev
from headwater.errors import HeadwaterError, StorageError, error_told
from headwater.events.position import Position
from headwater.observe.logs import without_request
from headwater.stores.base import Entry, Note, Record, Store
from headwater.streams.feed import Batch
from headwater.streams.live import READ_BYTES, LiveStream

log = logging.getLogger("headwater.streams")

# How long a stream without readers here is followed: the time between two requests of a reader.
_LINGER_S: Final = 1.0
# Wakes are hints. Without one the log is looked at so often.
_LOOK_S: Final = 1.0
# How often the writer process hears that there are readers here.
_HERE_S: Final = 2.0


class RemoteStream(LiveStream):
    """Publishes the entries of the log here, and tells the writer process that there are readers.

    `position` is where the log ends now.
    """

    def __init__(
        self,
        record: Record,
        position: Position,
        store: Store,
        forget: Callable[[RemoteStream], None],
    ) -> None:
        super().__init__(record, store)
        self.feed.position = position
        self._forget = forget
        self._failure: HeadwaterError | None = None
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._here_at = float("-inf")
        self._moved = False  # another process may write it now
        self._task = self._loop.create_task(self._follow(), context=without_request())
        self._unread: asyncio.TimerHandle | None = None
        self._readers_changed()

    @property
    def failure(self) -> HeadwaterError | None:
        return self._failure

    def note(self, note: Note, sender: str) -> None:
        """What another process says."""
        if note == "wake":
            self._news.set()

    def stop(self, note: Literal["stop", "revoke"] = "stop") -> None:
        """Ask the writer process to end it."""
        self._store.send(self.record.node, note, self.id)

    def cut(self) -> None:
        """Follow it no longer; its readers are cut, and resume in another process."""
        self._store.send(self.record.node, "left", self.id)
        self.feed.cut()

    async def _follow(self) -> None:
        try:
            while not self.feed.ended:
                self._news.clear()
                entries = await self._store.read(self.id, self.feed.position, READ_BYTES)
                if entries is None:  # dropped under its readers
                    self.feed.cut()
                    return
                for entry in entries:
                    self._publish(entry)
                if self._moved:
                    await self._find_writer()
                if not entries:
                    await self._nap()
        except StorageError as error:
            log.warning("stream %s cannot be followed: %s", self.id, error.message)
            self.feed.cut()

    async def _nap(self) -> None:
        if self.feed.readers and self._loop.time() - self._here_at >= _HERE_S:
            self._here()
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _find_writer(self) -> None:
        self._moved = False
        record = await self._store.record(self.id)
        if record is not None:
            self.record = record
            self._here()

    def _publish(self, entry: Entry) -> None:
        if not entry.data:
            self.feed.position = entry.last
            self._moved = True
            return
        events = ev.decode_lines(entry.data)
        last = events[-1]
        if isinstance(last, ev.StreamError):
            self._failure = error_told(last.code, last.message, retryable=last.retryable)
        first = Position(entry.last.epoch, entry.last.seq - len(events) + 1)
        terminal = isinstance(last, ev.Terminal)
        self.feed.publish(Batch(first, entry.last, events, entry.data.split(b"\n"), terminal))

    def _here(self) -> None:
        self._here_at = self._loop.time()
        self._store.send(self.record.node, "here", self.id)

    def _readers_changed(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self.feed.readers:
            self._here()
        else:
            self._unread = self._loop.call_later(_LINGER_S, self.cut)

    def _ended(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        if self._task is not asyncio.current_task():
            self._task.cancel()
        self._forget(self)
