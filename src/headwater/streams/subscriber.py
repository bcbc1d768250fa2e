"""One reader: a position in a log, a wire, and a sink that takes bytes.

There is no queue for a reader: one that is slow is an old position. While its sink takes what it is
given, it stands at the live edge; when the sink is full it leaves the edge, and reads on from the
store when the sink has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from headwater import events as ev
from headwater.events.position import START, Position
from headwater.observe import Left
from headwater.stores.base import Entry, Store
from headwater.streams.feed import Batch, Feed
from headwater.wires.base import Fold, Wire

log = logging.getLogger("headwater.streams")

# One read of the store in replay: large enough to amortise a query, small enough that the first
# bytes of a long replay leave within milliseconds and that folding it does not hold the loop.
_REPLAY_BYTES: Final = 64 * 1024


class Sink(Protocol):
    """Where a reader's bytes go. All calls come from the event loop."""

    #: Set by the subscriber: the sink has room again after `write` said it had none.
    on_ready: Callable[[], None] | None

    def write(self, data: bytes) -> bool:
        """Take these bytes, always. False: no more, please, until `on_ready` is called."""

    def close(self, data: bytes = b"") -> None:
        """The response is whole, with these last bytes."""

    def abort(self) -> None:
        """The response cannot go on; cut the connection, so that the reader knows."""


class Subscriber:
    """Replay, then tail, into a sink.

    Begins at once when it is made inside the event loop. `leave` is for the host: the reader has
    gone. `after` is a position in the log, or `START`;
    `turns` bounds how many readers replay at once.
    """

    __slots__ = (
        "_after",
        "_at_edge",
        "_behind",
        "_feed",
        "_fold",
        "_folded",
        "_full",
        "_heartbeat_s",
        "_how",
        "_loop",
        "_on_left",
        "_options",
        "_over",
        "_replay",
        "_sink",
        "_store",
        "_stream",
        "_time",
        "_timer",
        "_turns",
        "_wire",
        "_written_at",
    )

    def __init__(
        self,
        store: Store,
        stream: str,
        feed: Feed | None,
        wire: Wire,
        options: tuple[Any, ...],
        sink: Sink,
        *,
        after: Position = START,
        heartbeat_s: float = 15.0,
        turns: asyncio.Semaphore | None = None,
        on_left: Callable[[Left], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._store = store
        self._stream = stream
        self._feed = feed
        self._wire = wire
        self._options = options
        self._sink = sink
        self._heartbeat_s = heartbeat_s
        self._after = after
        self._fold = wire.fold(options)
        self._behind: Callable[[], Fold] | None = None  # makes the fold where the edge was left
        self._folded = START if self._fold.has_history else after
        self._at_edge = False
        self._full = False
        self._over = False
        self._how: Left = "left"
        self._on_left = on_left
        self._turns = turns or asyncio.Semaphore()
        self._replay: asyncio.Task[None] | None = None
        self._written_at = self._loop.time()
        self._timer = self._loop.call_later(heartbeat_s, self._beat)
        sink.on_ready = self._ready
        if feed is not None:
            feed.enter()
        self._go_on()

    def deliver(self, frames: bytes, position: Position, ended: bool) -> None:
        """`feed.Reader`: what was just stored, in this wire."""
        self._folded = position
        if ended:
            self._finish(frames)
        elif frames:
            self._written_at = self._time()
            if not self._sink.write(frames):
                self._full = True
                self._part()

    def fall_behind(self, fold: Callable[[], Fold]) -> None:
        """`feed.Reader`: too many stand at the edge for what comes now."""
        self._at_edge = False
        self._behind = fold
        self._replay = self._loop.create_task(self._catch_up())

    def fail(self) -> None:
        """`feed.Reader`: cut the connection, so that the reader knows."""
        self._how = "failed"
        self.leave()
        self._sink.abort()

    def leave(self) -> None:
        """The reader has gone, or the response is over; nothing more is written."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._sink.on_ready = None
        if self._replay is not None:
            self._replay.cancel()
        if self._feed is not None:
            if self._at_edge:
                self._at_edge = False
                self._feed.drop(self, self._wire, self._options)
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
        feed = self._feed
        if feed is not None and feed.opening is not None and self._folded == START:
            self._open(feed.opening, feed.position)
        if feed is not None and feed.position == self._folded and not feed.ended:
            if self._full:
                return
            self._at_edge = True
            self._take_fold()
            feed.join(self, self._wire, self._options, self._fold)
        else:
            self._replay = self._loop.create_task(self._catch_up())

    def _open(self, opening: Batch, edge: Position) -> None:
        """Take the first entry from the feed, when it is all there is."""
        if opening.last == edge and self._after == START:
            first = opening.first
            frames = self._fold.render(first.epoch, first.seq, opening.events, opening.payloads)
            self._folded = edge
            self._write(frames)

    def _write(self, frames: bytes) -> None:
        if frames:
            self._written_at = self._loop.time()
            self._full = not self._sink.write(frames)

    def _part(self) -> None:
        if self._at_edge and self._feed is not None:
            self._at_edge = False
            self._behind = self._feed.part(self, self._wire, self._options)

    def _take_fold(self) -> None:
        if self._behind is not None:
            self._fold, self._behind = self._behind(), None

    async def _catch_up(self) -> None:
        try:
            await self._read_on()
        except Exception:
            log.exception("stream %s cannot be replayed", self._stream)
            self.fail()

    async def _read_on(self) -> None:
        """From the store until the edge, the end, or a full sink."""
        while not self._full:
            async with self._turns:
                # Whoever holds a turn holds it over this: so a long replay, or a thousand at once,
                # leave the loop to others after every few steps.
                await asyncio.sleep(0)
                entries = await self._store.read(self._stream, self._folded, _REPLAY_BYTES)
                if entries is None:  # dropped under the reader: it must not take this for the end
                    self.fail()
                    return
                if self._fold_in(entries):
                    self._finish()
                    return
            if not entries and (self._feed is None or self._feed.position == self._folded):
                if self._feed is None or self._feed.ended:
                    self.fail()  # the log has no end, and nobody here knows of one to come
                    return
                break
        self._replay = None
        if not self._full and self._feed is not None:
            self._go_on()

    def _fold_in(self, entries: Sequence[Entry]) -> bool:
        """Fold entries, writing what is after the reader's position; True at the terminal event."""
        self._take_fold()
        frames: list[bytes] = []
        ended = False
        for entry in entries:
            if not entry.data:  # here another process took the stream over
                self._folded = entry.last
                continue
            payloads = entry.data.split(b"\n")
            events = ev.decode_lines(entry.data)
            self._folded = entry.last
            frames.append(self._render(entry.last, events, payloads))
            ended = type(events[-1]) in (ev.StreamEnd, ev.StreamError)
        self._write(b"".join(frames))
        return ended

    def _render(self, last: Position, events: list[ev.Event], payloads: list[bytes]) -> bytes:
        """The frames of one entry; what the reader knows already is folded in silence."""
        epoch, first, after = last.epoch, last.seq - len(events) + 1, self._after
        known = 0
        if last <= after:
            known = len(events)
        elif epoch == after.epoch and first <= after.seq:
            known = after.seq - first + 1
        if known:
            self._fold.render(epoch, first, events[:known], payloads[:known])
        return self._fold.render(epoch, first + known, events[known:], payloads[known:])

    def _finish(self, frames: bytes = b"") -> None:
        if not self._over:
            self._sink.close(frames)
            self._how = "whole"
            self.leave()

    def _beat(self) -> None:
        silent = self._loop.time() - self._written_at
        if silent >= self._heartbeat_s:
            if not self._full:
                self._sink.write(self._wire.heartbeat)
            self._written_at = self._loop.time()
            silent = 0.0
        self._timer = self._loop.call_later(self._heartbeat_s - silent, self._beat)
