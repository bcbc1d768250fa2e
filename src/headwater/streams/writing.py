"""The log of one stream, as its writer process appends to it.

An event that was not stored is never delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from headwater.events import Event, encode
from headwater.events.position import START, Position
from headwater.stores.base import Appended, Store
from headwater.streams.feed import Batch, Feed

# What may wait for a store that does not answer. Beyond it the stream ends: memory is bounded.
_MAX_PENDING: Final = 1024 * 1024
#: Where a log ends that a process has just made.
EMPTY: Final = Position(1, 0)


class LogWriter:
    """Appends events to one log, and publishes to the feed what the store has taken.

    The log ends at `position`, and may grow by `room` bytes. `on_refused` is called once, with the
    answer of a store that did not take an append: nothing more can be appended then.
    """

    __slots__ = (
        "_pending",
        "_pending_bytes",
        "_room",
        "feed",
        "on_refused",
        "position",
        "store",
        "stream",
    )

    def __init__(
        self, stream: str, store: Store, feed: Feed, position: Position, room: int
    ) -> None:
        self.stream = stream
        self.store = store
        self.feed = feed
        self.position = position
        self.on_refused: Callable[[Appended], None] | None = None
        self._room = room
        # Appended, not yet answered by the store. The store answers in order.
        self._pending: deque[tuple[Batch, int]] = deque()
        self._pending_bytes = 0

    def append(self, events: Sequence[Event], *, closes: bool = False) -> bool:
        """Append one entry; `closes` ends the log. False: it would be too long, nothing is written.

        The end of a log always has room.
        """
        if len(events) == 1:
            data = encode(events[0])
            payloads = [data]
        else:
            payloads = [encode(event) for event in events]
            data = b"\n".join(payloads)
        self._room -= len(data)
        if self._room < 0 and not closes:
            return False
        prev = self.position
        first = last = Position(prev.epoch, prev.seq + 1)
        if len(events) > 1:
            last = Position(prev.epoch, prev.seq + len(events))
        self.position = last
        batch = Batch(first, last, events, payloads, closes)
        before = START if prev == EMPTY else prev
        result = self.store.append(self.stream, before, last, data, closes, self._appended)
        if result == "ok":
            self._publish(batch) if closes else self.feed.publish(batch)
        else:
            self._wait(batch, len(data))
            if result is not None:
                self._appended(result)
        return True

    def _wait(self, batch: Batch, size: int) -> None:
        self._pending.append((batch, size))
        self._pending_bytes += size
        if self._pending_bytes > _MAX_PENDING and not batch.terminal:
            self._refused("failed")

    def _appended(self, result: Appended) -> None:
        """Take the store's answer to the append that has waited longest."""
        batch, size = self._pending.popleft()
        self._pending_bytes -= size
        if self.feed.ended:
            return
        if result in ("ok", "duplicate"):
            self._publish(batch)
        else:
            self._refused(result)

    def _publish(self, batch: Batch) -> None:
        if batch.terminal:
            self.on_refused = None  # the producer holds this: kept, it would be a reference cycle
        self.feed.publish(batch)

    def _refused(self, result: Appended) -> None:
        on_refused, self.on_refused = self.on_refused, None
        if on_refused is not None:
            on_refused(result)
