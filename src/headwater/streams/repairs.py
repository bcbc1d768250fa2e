"""The repairs of one stream: whether it is continued, by which source, and the seams."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headwater.errors import HeadwaterError
from headwater.events import EndedBy, StreamRepair, Usage
from headwater.observe import Try
from headwater.providers.base import Receiver, Source
from headwater.streams.recovery import MAX_REPAIRS, Recovery, Repair, failed, not_tried
from headwater.streams.writing import LogWriter

log = logging.getLogger("headwater.streams")


class NullSource:
    """Null source: stands between an attempt that broke off and the next one."""

    attempts = 0
    tries: Sequence[Try] = ()
    route: str | None = None
    connected_at: float | None = None
    usage: Usage | None = None

    def start(self, receiver: Receiver) -> None:
        """Push nothing."""

    def cancel(self) -> None:
        """There is nothing to free."""


class Break(NamedTuple):
    """Why a stream broke off."""

    error: HeadwaterError
    ended_by: EndedBy


class Repairs:
    """At most `MAX_REPAIRS` repairs of one stream.

    `recovery` is None for a source that nothing continues. `owed` is the break that no text has
    followed yet: the next text begins with its seam, or the stream ends with its error. `made`
    counts the seams; `outcome` is the stream's `repair`, should it end now.
    """

    __slots__ = ("_recovery", "_running", "made", "outcome", "owed")

    def __init__(self, recovery: Recovery | None, made: int = 0, owed: Break | None = None) -> None:
        self._recovery = recovery
        self._running: Repair | None = None
        self.made = made
        self.owed = owed
        self.outcome: str | None = None

    def answered(self, route: str | None, error: HeadwaterError | None = None) -> None:
        """An attempt that had a first token is over."""
        if self._recovery is not None:
            self._recovery.ended(route, error)

    def possible(self, error: HeadwaterError, route: str | None, *, spent: bool) -> bool:
        """Whether the text of `route` that `error` cut off is to be continued.

        `spent`: the time for all of the stream is over.
        """
        if not spent:
            self.answered(route, error)
        if self._recovery is None:
            self.outcome = not_tried("generator")
        elif spent:
            self.outcome = not_tried("time_spent")
        elif refusal := self._recovery.refusal(error):
            self.outcome = not_tried(refusal)
        elif self.made >= MAX_REPAIRS:
            self.outcome = not_tried("repaired_twice")
        else:
            self.outcome = None
        return self.outcome is None

    def begin(self, owed: Break, log_: LogWriter, done: Callable[[Source | None], None]) -> None:
        """Look for a source that continues the log; `done` is called with it, or with None."""
        if self._recovery is None:
            return
        log.warning("stream %s broke off, and is to be continued: %s", log_.stream, owed.error.code)
        self.owed = owed

        def found(source: Source | str) -> None:
            self._running = None
            if isinstance(source, str):
                self.outcome = source
            done(None if isinstance(source, str) else source)

        self._running = Repair(self._recovery, log_.store, log_.stream, log_.position, found)

    def attempt_failed(self, error: HeadwaterError) -> None:
        """A continuation ended before its first token."""
        if self.owed is not None:
            self.outcome = failed(error.code)

    def seam(self, route: str | None) -> StreamRepair | None:
        """What stands before the first text of `route`, where it continues what broke off."""
        owed, self.owed = self.owed, None
        if owed is None or self._recovery is None:
            return None
        self.made += 1
        return StreamRepair(owed.error.code, route or self._recovery.asked)

    def cancel(self) -> None:
        """Give up a repair that is under way."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
