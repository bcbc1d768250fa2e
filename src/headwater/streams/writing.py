"""One log, as its writer process appends to it: what was not stored is never delivered."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from headwater.errors import HeadwaterError
from headwater.events import Event, encode
from headwater.events.position import START, Position
from headwater.stores.base import Appended, Store
from headwater.streams.feed import Batch, Feed

log = logging.getLogger("headwater.streams")

# What may wait for a store that does not answer. Beyond it the stream ends: memory is bounded.
_MAX_PENDING: Final = 1024 * 1024
#: Where a log ends that a process has just made.
EMPTY: Final = Position(1, 0)


class Writing:
    """Appends events to the log of one stream, and hands to the feed what the store has taken.

    The log ends at `position`, and may grow by `room` bytes. Subclasses say what ends it.
    """

    __slots__ = (
        "_feed",
        "_pending",
        "_pending_bytes",
        "_position",
        "_room",
        "_store",
        "_stream",
        "ended",
    )

    def __init__(
        self, stream: str, store: Store, feed: Feed, position: Position, room: int
    ) -> None:
        self._stream = stream
        self._store = store
        self._feed = feed
        self._position = position
        self._room = room
        # Appended, not yet answered by the store. The store answers in order.
        self._pending: deque[tuple[Batch, int]] = deque()
        self._pending_bytes = 0
        self.ended = False

    def _fail(self, error: HeadwaterError) -> None:
        """End the log with this error."""
        raise NotImplementedError

    def _unstored(self, result: Appended) -> None:
        """The store has not taken an append, and will take no other."""
        raise NotImplementedError

    def _append(self, events: Sequence[Event], *, closes: bool) -> None:
        if len(events) == 1:
            data = encode(events[0])
            payloads = [data]
        else:
            payloads = [encode(event) for event in events]
            data = b"\n".join(payloads)
        self._room -= len(data)
        if self._room < 0 and not closes:
            self._fail(HeadwaterError("too_large", "The response is longer than a stream may be."))
            return
        prev = self._position
        first = last = Position(prev.epoch, prev.seq + 1)
        if len(events) > 1:
            last = Position(prev.epoch, prev.seq + len(events))
        self._position = last
        batch = Batch(first, last, events, payloads, closes)
        before = START if prev == EMPTY else prev
        result = self._store.append(self._stream, before, last, data, closes, self._appended)
        if result == "ok":
            self._feed.publish(batch)
        else:
            self._wait(batch, len(data))
            if result is not None:
                self._appended(result)

    def _wait(self, batch: Batch, size: int) -> None:
        self._pending.append((batch, size))
        self._pending_bytes += size
        if self._pending_bytes > _MAX_PENDING and not self.ended:
            self._unstored("failed")

    def _appended(self, result: Appended) -> None:
        """What the store says of the append that has waited longest."""
        batch, size = self._pending.popleft()
        self._pending_bytes -= size
        if self._feed.ended:
            return
        if result in ("ok", "duplicate"):
            self._feed.publish(batch)
        else:
            self._unstored(result)
