"""One reader: a position in a log, a wire, and a sink that takes bytes.

There is no queue for a reader: one that is slow is an old position. While its sink takes what it is
given, it stands at the live edge; when the sink is full it leaves the edge, and reads on from the
store when the sink has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from headwater.events.position import START, Position
from headwater.observe import Left
from headwater.streams.cursor import Cursor
from headwater.streams.feed import Feed
from headwater.streams.slow import ReaderTimer, Taking
from headwater.wires.base import Fold

log = logging.getLogger("headwater.streams")


class Sink(Taking, Protocol):
    """Where a reader's bytes go. All calls come from the event loop."""

    #: Set by the subscriber: the sink has room again after `write` said it had none.
    on_ready: Callable[[], None] | None

    def write(self, data: bytes) -> bool:
        """Take these bytes, always. False: no more, please, until `on_ready` is called."""

    def close(self, data: bytes = b"") -> None:
        """The response is whole, with these last bytes."""

    def abort(self) -> None:
        """Cut the connection before its response is whole, so that the reader knows."""


class Subscriber:
    """Replay, then tail, into a sink.

    Begins at once when it is made inside the event loop. `leave` is for the host: the reader has
    gone. `turns` bounds how many readers replay at once.
    """

    __slots__ = (
        "_at_edge",
        "_cursor",
        "_feed",
        "_full",
        "_how",
        "_on_left",
        "_over",
        "_replay",
        "_sink",
        "_time",
        "_timer",
        "_turns",
    )

    def __init__(
        self,
        cursor: Cursor,
        feed: Feed | None,
        sink: Sink,
        *,
        heartbeat_s: float = 15.0,
        write_timeout_s: float = 30.0,
        turns: asyncio.Semaphore | None = None,
        on_left: Callable[[Left], None] | None = None,
    ) -> None:
        self._time = asyncio.get_running_loop().time
        self._cursor = cursor
        self._feed = feed
        self._sink = sink
        self._at_edge = False
        self._full = False
        self._over = False
        self._how: Left = "left"
        self._on_left = on_left
        self._turns = turns or asyncio.Semaphore()
        self._replay: asyncio.Task[None] | None = None
        self._timer = ReaderTimer(sink, heartbeat_s, write_timeout_s, self._beat, self._cut)
        sink.on_ready = self._ready
        if feed is not None:
            feed.enter()
        self._go_on()

    def deliver(self, frames: bytes, position: Position, ended: bool) -> None:
        """`feed.Reader`: what was just stored, in this wire."""
        self._cursor.position = position
        if ended:
            self._finish(frames)
        elif frames:
            self._timer.written_at = self._time()
            if not self._sink.write(frames):
                self._full = True
                self._part()

    def fall_behind(self, fold: Callable[[], Fold]) -> None:
        """`feed.Reader`: too many stand at the edge for what comes now."""
        self._at_edge = False
        self._cursor.behind = fold
        self._read_log()

    def fail(self) -> None:
        """`feed.Reader`: cut the connection, so that the reader knows."""
        self._how = "failed"
        self.leave()
        self._sink.abort()

    def leave(self) -> None:
        """The reader has gone, or the host has sent the response; nothing more is written."""
        self._timer.stop()
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._sink.on_ready = None
        if self._replay is not None:
            self._replay.cancel()
        if self._feed is not None:
            if self._at_edge:
                self._at_edge = False
                self._feed.drop(self, self._cursor.format)
            self._feed.leave()
        if self._on_left is not None:
            gone_full = self._full and self._how == "left"
            self._on_left("slow" if gone_full else self._how)

    def _ready(self) -> None:
        self._full = False
        if not self._over and self._replay is None and not self._at_edge:
            self._go_on()

    def _go_on(self) -> None:
        """Stand at the edge if this is it, else read from the store."""
        feed, cursor = self._feed, self._cursor
        if feed is not None and feed.opening is not None and cursor.position == START:
            # The first entry, when it is all there is: no need to ask the store.
            self._write(cursor.take_opening(feed.opening, feed.position))
        if feed is not None and feed.position == cursor.position and not feed.ended:
            if self._full:
                return
            self._at_edge = True
            feed.join(self, cursor.format, cursor.take_fold())
        else:
            self._read_log()

    def _read_log(self) -> None:
        self._replay = asyncio.get_running_loop().create_task(self._catch_up())

    def _write(self, frames: bytes) -> None:
        if frames:
            self._timer.written_at = self._time()
            self._full = not self._sink.write(frames)

    def _part(self) -> None:
        if self._at_edge and self._feed is not None:
            self._at_edge = False
            cursor = self._cursor
            cursor.behind = self._feed.part(self, cursor.format)

    async def _catch_up(self) -> None:
        try:
            await self._read_on()
        except Exception:
            log.exception("stream %s cannot be replayed", self._cursor.stream)
            self.fail()

    async def _read_on(self) -> None:
        """From the store until the edge, the end, or a full sink."""
        feed, cursor = self._feed, self._cursor
        while not self._full:
            async with self._turns:
                # A reader holds its turn over this: so a long replay, or a thousand at once, leave
                # the loop to others after every few steps.
                await asyncio.sleep(0)
                step = await cursor.read()
                if step is None:  # dropped under the reader: it must not take this for the end
                    self.fail()
                    return
                self._write(step.frames)
                if step.ended:
                    self._finish()
                    return
            if step.empty and (feed is None or feed.position == cursor.position):
                if feed is None or feed.ended:
                    self.fail()  # the log has no end, and no process here will learn of one
                    return
                break
        self._replay = None
        if not self._full and feed is not None:
            self._go_on()

    def _finish(self, frames: bytes = b"") -> None:
        if not self._over:
            self._sink.close(frames)
            self._how = "whole"
            self._timer.beat = None  # the last bytes have to be taken as well, until `leave`
            self._end()

    def _beat(self) -> None:
        if not self._full:
            self._sink.write(self._cursor.format.wire.heartbeat)

    def _cut(self) -> None:
        self._how = "slow"
        self.leave()
        self._sink.abort()
