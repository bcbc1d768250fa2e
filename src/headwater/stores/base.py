"""What a store is: a log a stream, bytes an entry, one checked step to append.

A store holds bytes and never looks into them. An entry holds what one read of an upstream brought,
under the position of its last event. A shared store also says which processes live, and carries
notes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal, Protocol, cast, get_args

import msgspec

from headwater.events.position import Position

#: What an append came to. `duplicate`: this very entry is already there. `fenced`:
#: another process has taken the stream over. `gap`: the log does not end where the append expects.
#: `closed`: it has ended. `gone`: there is no such stream. `failed`: the store could not be asked.
Appended = Literal["ok", "duplicate", "fenced", "gap", "closed", "gone", "failed"]


#: What one process tells another about a stream. `wake`: its log has grown. `here`: I have readers
#: of it. `left`: I have none any more. `stop`: end it.
Note = Literal["wake", "here", "left", "stop", "revoke"]

#: Called with the note, the stream, and the process that sent it.
OnNote = Callable[[Note, str, str], None]


#: Of a process that was not heard of for so long, its event loop does not turn.
SILENT_S: Final = 3.0


def stall_s(lease_s: float) -> float:
    """How long a process that is there may not renew its lease before its streams are taken over.

    That is six leases, but 30 s at most where a lease is not longer: an event loop that does not
    turn for so long does not come back.
    """
    return max(lease_s, min(6 * lease_s, 30.0))


class Spoken(msgspec.Struct, frozen=True):
    """The wire that a request was in, and its options as JSON; a resume in that wire has them."""

    wire: str
    options: dict[str, Any]


class Record(msgspec.Struct, frozen=True):
    """What is known of a stream besides its log. `created` is Unix time in seconds, for display.

    `spoken` is the wire of the request that began the stream. `node` is the process that
    writes it; `label` finds it again; `schema` is the version of the events in its log; `metadata`
    is the app's own.
    """

    stream: str
    principal: str | None
    model: str
    created: int
    route: str | None = None
    spoken: Spoken | None = None
    node: str = ""
    label: str | None = None
    schema: int = 1
    metadata: dict[str, str] | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """`data` holds the events after the entry before it, one a line, up to `last`.

    It is empty in the entry `EPOCH-0` with which another process took the stream over.
    """

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
    """Append, read from a position, take over, expire. One contract suite runs on every store.

    Asynchronous methods raise `StorageError` (`store_unavailable`) when the store cannot be asked.
    """

    #: This process, for the others; never used before.
    node: str
    #: Whether other processes may read and write the same logs.
    shared: bool

    async def open(self, on_note: OnNote) -> None:
        """Connect and take a lease. Called once, before anything else."""

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        """Begin an empty log in epoch 1, which this process writes.

        `plan` is what another process needs to go on with it. It holds what the caller asked, so
        it is kept while the log is open and no longer.
        """

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

    async def plan(self, stream: str) -> bytes | None:
        """The plan of an open stream; None where there is none."""

    async def tail(self, stream: str) -> Tail | None:
        """Where the log ends, or None when there is no such stream."""

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        """Entries whose last position is after `after`, in order: at least one where there is one,
        then as many as fit into `limit` bytes. None when there is no such stream.
        """

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        """The principal's streams, newest first."""

    async def labelled(self, label: str, limit: int) -> Sequence[Record]:
        """The streams with this label, newest first."""

    async def claim(self, key: str, value: str, keep_s: float | None = None) -> str:
        """Let `key` stand for `value` unless it stands for another already; what it stands for.

        Kept for `keep_s` seconds; by default for as long as a log that ends now.
        """

    async def claimed(self, key: str) -> str | None:
        """What `key` stands for, or None."""

    async def disclaim(self, key: str, value: str) -> None:
        """Let `key` stand for nothing, where it stands for `value`."""

    # what only a shared store has work with

    def send(self, node: str, note: Note, stream: str) -> None:
        """Tell another process something. A hint: it may be lost, the log is the truth."""

    async def beat(self) -> None:
        """Renew this process's lease, and drop what has expired. Called a few times a lease, and
        every second at least.
        """

    async def ready(self) -> None:
        """Whether a stream could begin and be written now: `StorageError`, whose message names the
        remedy, and neither a path nor a secret, when it could not. May write; called every second.
        """

    async def orphans(self) -> Sequence[Record]:
        """Open streams whose process is dead, has released its lease, or has not renewed it for
        `stall_s`.
        """

    async def stalled(self) -> Collection[str]:
        """Other processes that are there and have not renewed their lease for `SILENT_S`."""

    async def alive(self, node: str) -> bool | None:
        """Whether another process lives, with or without a lease; None where that is not known."""

    async def takeover(self, stream: str, node: str) -> Tail | None:
        """Take an open stream over from `node` in one step: its log continues at `EPOCH+1-0`,
        and appends of an earlier epoch are fenced. None when it is not open or not `node`'s.
        """

    async def release(self) -> None:
        """End this process's lease now: others may take over the streams that it still holds."""

    async def aclose(self) -> None:
        """Give back what the store holds."""


_NOTES: Final = frozenset(get_args(Note))


def write_note(note: Note, sender: str, stream: str) -> str:
    """Put a note into one message."""
    return f"{note} {sender} {stream}"


def read_note(message: bytes) -> tuple[Note, str, str] | None:
    """The note, the stream and the sender; None for a note of another version."""
    note, _, rest = message.decode(errors="replace").partition(" ")
    sender, _, stream = rest.partition(" ")
    return (cast(Note, note), stream, sender) if note in _NOTES else None
