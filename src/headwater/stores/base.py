"""What a store is: a log a stream, bytes a entry, one checked step to append.

A store holds bytes and never looks into them. An entry holds what one read of an upstream brought,
under the position of its last event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from headwater.position import Position

#: What an append came to. `duplicate`: this very entry is already there. `fenced`: the stream has
#: another owner now. `gap`: the log does not end where the append expects. `closed`: it has ended.
#: `gone`: there is no such stream. `failed`: the store could not be asked.
Appended = Literal["ok", "duplicate", "fenced", "gap", "closed", "gone", "failed"]


class Record(msgspec.Struct, frozen=True):
    """What is known of a stream besides its log. `created` is Unix time in seconds, for display.

    `spoken` is the wire that the stream was begun in and its options: a resume in that wire wants
    the same ones.
    """

    stream: str
    principal: str | None
    model: str
    created: int
    route: str | None = None
    spoken: tuple[str, tuple[Any, ...]] | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """`data` holds the events after the entry before it, one a line, up to `last`."""

    last: Position
    data: bytes


class Tail(msgspec.Struct, frozen=True, gc=False):
    """Where a log ends now, and whether it has ended for good.

    `trimmed`: it had to make room for others, and its entries are gone.
    """

    last: Position
    closed: bool
    trimmed: bool = False


class Store(Protocol):
    """Append, read from a position, expiry. One contract suite runs on every store."""

    async def create(self, record: Record) -> None:
        """Begin an empty log in epoch 1; `StorageError` when it cannot be kept."""

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        """Append one entry, checked in one step.

        A store that knows at once answers with what it came to; one that does not answers None
        and calls `done` later, in order for one stream. A callback, since a task an append would
        cost more than the append. Requires that the stream exists, is open, is of `last`'s epoch
        and ends at `prev`.
        """

    async def record(self, stream: str) -> Record | None:
        """The record, or None when there is no such stream (any more)."""

    async def tail(self, stream: str) -> Tail | None:
        """Where the log ends, or None when there is no such stream."""

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        """Entries whose last position is after `after`, in order: at least one where there is one,
        then as many as fit into `limit` bytes. None when there is no such stream.
        """

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        """The principal's streams, newest first."""

    async def aclose(self) -> None:
        """Give back what the store holds."""
