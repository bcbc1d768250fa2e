"""One attempt of a route at a first token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from headwater.errors import HeadwaterError
from headwater.events import Event
from headwater.observe import Try
from headwater.providers.base import Outcome, ProviderSource, Receiver
from headwater.providers.deadlines import Deadlines
from headwater.settings import TimeoutSettings


class AttemptListener(Protocol):
    """Makes attempts; called once for each that it did not cancel."""

    def won(self, attempt: Attempt) -> Receiver | None:
        """The attempt has its first token. Returns the receiver of everything from now on."""

    def failed(self, attempt: Attempt, error: HeadwaterError) -> None:
        """The attempt ended before its first token."""


class Attempt:
    """Receives what one candidate sends until its first token, and measures its silence."""

    __slots__ = ("_deadlines", "_listener", "at", "began_at", "hedge", "route", "source")

    def __init__(
        self, listener: AttemptListener, source: ProviderSource, route: str, at: int, *, hedge: bool
    ) -> None:
        self._listener: AttemptListener | None = listener
        self._deadlines: Deadlines | None = None
        self.source = source
        self.route = route
        self.at = at
        self.hedge = hedge
        self.began_at = time.monotonic()

    def tried(self, outcome: str) -> Try:
        """The attempt as metrics and `timing.tried` count it."""
        return Try(self.route, outcome, self.began_at, time.monotonic(), self.hedge)

    def start(self, limits: TimeoutSettings) -> None:
        """Ask the candidate."""
        self._deadlines = Deadlines(limits, self._late)
        try:
            self.source.start(self)
        except HeadwaterError as error:
            self.end(error)

    def cancel(self) -> None:
        """Free the candidate at once; the listener is not called any more."""
        self._over()
        self.source.cancel()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        listener = self._over()
        receiver = listener.won(self) if listener is not None else None
        if receiver is not None:
            self.source.hand_over(receiver)
            receiver.events(events)

    def alive(self, data: bool) -> None:
        if self._deadlines is not None:
            self._deadlines.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        listener = self._over()
        if listener is None:
            return
        if isinstance(outcome, HeadwaterError) and not events:
            listener.failed(self, outcome)
            return
        receiver = listener.won(self)
        if receiver is not None:
            receiver.end(outcome, events)

    def _late(self, error: HeadwaterError) -> None:
        listener = self._over()
        self.source.cancel()
        if listener is not None:
            listener.failed(self, error)

    def _over(self) -> AttemptListener | None:
        """Stop measuring, and drop the listener: kept, it would be a reference cycle."""
        if self._deadlines is not None:
            self._deadlines.stop()
            self._deadlines = None
        listener, self._listener = self._listener, None
        return listener
