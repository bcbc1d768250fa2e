"""A position in a log, and the fold that makes frames of what follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from headwater import events as ev
from headwater.events.position import START, Position
from headwater.stores.base import Entry, Store
from headwater.streams.feed import Batch
from headwater.wires.base import Fold, WireFormat

# One read of the store in replay: large enough to amortise a query, small enough that the first
# bytes of a long replay leave within milliseconds and that folding it does not hold the loop.
_REPLAY_BYTES: Final = 64 * 1024


class Step(NamedTuple):
    """One read of a log in frames; `ended`: the terminal event is among them."""

    frames: bytes
    ended: bool
    empty: bool


class Cursor:
    """Reads one log in one wire.

    Frames are made of what stands behind `after`; `position` is how far the log was folded.
    `behind` makes the fold as it stood when the reader left the live edge; None where it has its
    own.
    """

    __slots__ = ("_after", "_fold", "_store", "behind", "format", "position", "stream")

    def __init__(
        self,
        store: Store,
        stream: str,
        format: WireFormat,
        after: Position = START,
    ) -> None:
        self._store = store
        self._after = after
        self._fold = format.fold()
        self.stream = stream
        self.format = format
        self.behind: Callable[[], Fold] | None = None
        self.position = START if self._fold.has_history else after

    def take_fold(self) -> Fold:
        """The fold as it stands at `position`."""
        if self.behind is not None:
            self._fold, self.behind = self.behind(), None
        return self._fold

    def take_opening(self, opening: Batch, edge: Position) -> bytes:
        """The frames of the first entry, when it is all there is; else nothing."""
        if opening.last != edge or self._after != START:
            return b""
        first = opening.first
        frames = self._fold.render(first.epoch, first.seq, opening.events, opening.payloads)
        self.position = edge
        return frames

    async def read(self) -> Step | None:
        """The next entries of the log; None when the log was dropped."""
        entries = await self._store.read(self.stream, self.position, _REPLAY_BYTES)
        return None if entries is None else self._fold_in(entries)

    def _fold_in(self, entries: Sequence[Entry]) -> Step:
        self.take_fold()
        frames: list[bytes] = []
        ended = False
        for entry in entries:
            if not entry.data:  # here another process took the stream over
                self.position = entry.last
                continue
            payloads = entry.data.split(b"\n")
            events = ev.decode_lines(entry.data)
            self.position = entry.last
            frames.append(self._render(entry.last, events, payloads))
            ended = type(events[-1]) in (ev.StreamEnd, ev.StreamError)
        return Step(b"".join(frames), ended, not entries)

    def _render(self, last: Position, events: list[ev.Event], payloads: list[bytes]) -> bytes:
        """The frames of one entry; events up to the reader's position are folded in silence."""
        epoch, first, after = last.epoch, last.seq - len(events) + 1, self._after
        known = 0
        if last <= after:
            known = len(events)
        elif epoch == after.epoch and first <= after.seq:
            known = after.seq - first + 1
        if known:
            self._fold.render(epoch, first, events[:known], payloads[:known])
        return self._fold.render(epoch, first + known, events[known:], payloads[known:])
