"""The live edge of one stream in this process: what was just stored, to whoever is at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from headwater.events import Event, StreamError, encode
from headwater.events.position import START, Position
from headwater.wires.base import Fold, WireFormat

log = logging.getLogger("headwater.streams")

# What one batch may write in one turn of the loop: the kernel copies a GiB a second at best.
_TURN_BYTES: Final = 1024 * 1024
# So few readers can be written anything that one read of an upstream brings.
_FEW: Final = 4


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The events of one entry of the log, with their stored form; `terminal` when they end it."""

    first: Position
    last: Position
    events: Sequence[Event]
    payloads: Sequence[bytes]
    terminal: bool


class Reader(Protocol):
    """Someone at the live edge."""

    def deliver(self, frames: bytes, position: Position, ended: bool) -> None:
        """Frames up to `position`; after `ended` nothing follows."""

    def fall_behind(self, fold: Callable[[], Fold]) -> None:
        """Leave the edge, where `fold()` stands, and come back to it by way of the store."""

    def fail(self) -> None:
        """It could not take them: cut its connection, so that it knows."""


class View:
    """The live edge in one wire format: its readers share its frames."""

    __slots__ = (
        "copied",
        "fold",
        "format",
        "readers",
    )

    def __init__(self, format: WireFormat, fold: Fold) -> None:
        self.format = format
        self.fold = fold
        # Made anew when somebody comes or goes, so that it can be walked while readers leave.
        self.readers: tuple[Reader, ...] = ()
        #: Of the fold, where it stands now; None again with the next batch.
        self.copied: Fold | None = None

    def leave_copy(self) -> Callable[[], Fold]:
        """Makes a copy of the fold as it stands now, when it is called.

        A long log makes a large fold, and a thousand readers may fall behind in one turn. They
        share one copy here, and each copies that in a turn of its own.
        """
        if self.copied is None:
            self.copied = self.fold.copy()
        return self.copied.copy


class Feed:
    """Hands what was stored to the views, and counts who reads.

    `on_readers` is called when the first reader comes and when the last one leaves; `on_end` once,
    after the terminal event was handed over.
    """

    __slots__ = (
        "_on_end",
        "_on_readers",
        "_views",
        "_watchers",
        "broken_off",
        "ended",
        "opening",
        "position",
        "readers",
    )

    def __init__(self, *, on_readers: Callable[[], None], on_end: Callable[[], None]) -> None:
        self.position = START
        self.ended = False
        #: It ended here without a terminal event: its log may go on elsewhere.
        self.broken_off = False
        self.readers = 0
        #: The first entry of the log: whoever starts a stream reads it while there is no other, and
        #: need not ask the store.
        self.opening: Batch | None = None
        self._views: tuple[View, ...] = ()  # made anew, as their readers are
        self._on_readers = on_readers
        self._on_end = on_end
        self._watchers: list[Callable[[Batch], None]] = []

    def publish(self, batch: Batch) -> None:
        """Hand over what the store has taken."""
        first = batch.first
        if first.epoch:
            if self.position == START:
                self.opening = batch
            self.position = batch.last
        self.ended = batch.terminal
        for view in self._views:
            if first.epoch and len(view.readers) > _FEW:
                _thin_out(view, batch)
            try:
                view.copied = None
                frames = view.fold.render(first.epoch, first.seq, batch.events, batch.payloads)
            except Exception:  # a wire's fault, which may be another package's, is not the stream's
                log.exception("the wire %s failed", view.format.wire.name)
                for reader in view.readers:
                    reader.fail()
                continue
            for reader in view.readers:
                try:
                    reader.deliver(frames, self.position, batch.terminal)
                except Exception:  # one reader's fault is not the stream's, nor another reader's
                    log.exception("a reader failed")
                    reader.fail()
        if self._watchers:
            for watch in self._watchers.copy():
                watch(batch)
        if batch.terminal:
            self._end()

    def fail(self, event: StreamError) -> None:
        """Tell the readers of an end that the log cannot hold: it goes out without a position."""
        self.publish(Batch(START, START, (event,), (encode(event),), True))

    def cut(self) -> None:
        """Nothing more is known here: readers are cut, and come back to whoever knows more."""
        if not self.ended:
            self.ended = self.broken_off = True
            for view in self._views:
                for reader in view.readers:
                    reader.fail()
            self._end()

    def _end(self) -> None:
        # The stream holds this feed: callbacks that hold the stream would make a reference cycle.
        on_end, self._on_end, self._on_readers = self._on_end, _nothing, _nothing
        on_end()
        self._watchers.clear()

    def watch(self, watcher: Callable[[Batch], None]) -> Callable[[], None]:
        """Be told of every batch; the answer ends it. Not a reader: it keeps nothing alive."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def enter(self) -> None:
        """Someone reads, whether at the edge or still behind it."""
        self.readers += 1
        if self.readers == 1:
            self._on_readers()

    def leave(self) -> None:
        """Someone has left."""
        self.readers -= 1
        if self.readers == 0 and not self.ended:
            self._on_readers()

    def join(self, reader: Reader, format: WireFormat, fold: Fold) -> None:
        """Be handed frames from `position` on; `fold` has folded up to it."""
        view = self._view(format)
        if view is None:
            view = View(format, fold)
            self._views = (*self._views, view)
        view.readers = (*view.readers, reader)

    def part(self, reader: Reader, format: WireFormat) -> Callable[[], Fold] | None:
        """No longer be handed frames. The answer makes the fold at the edge, to go on from it."""
        view = self._drop(reader, format)
        if view is None:
            return None
        if view.readers:
            return view.leave_copy()
        fold = view.fold
        return lambda: fold

    def drop(self, reader: Reader, format: WireFormat) -> None:
        """No longer be handed frames, for good."""
        self._drop(reader, format)

    def _drop(self, reader: Reader, format: WireFormat) -> View | None:
        view = self._view(format)
        if view is None or reader not in view.readers:
            return None
        view.readers = tuple(other for other in view.readers if other is not reader)
        if not view.readers:
            self._views = tuple(other for other in self._views if other is not view)
        return view

    def _view(self, format: WireFormat) -> View | None:
        for view in self._views:
            if view.format == format:
                return view
        return None


def _thin_out(view: View, batch: Batch) -> None:
    """Leave at the edge as many as can be written the batch in one turn of the loop."""
    most = max(_FEW, _TURN_BYTES // sum(map(len, batch.payloads)))
    if len(view.readers) > most:
        behind, view.readers = view.readers[most:], view.readers[:most]
        for reader in behind:
            reader.fall_behind(view.leave_copy())


def _nothing() -> None:
    pass
