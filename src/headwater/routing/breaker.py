"""Whom not to ask first: a provider's model that has failed again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Enough that one bad second of a provider is no reason to leave it.
_FAILURES: Final = 5
_COOL_DOWN_S: Final = 10.0


class Breaker:
    """Counts failures in a row of one provider and model; times are the event loop's.

    Answers that broke off are counted apart from those that never began: a first token shows
    that it answers, and only a whole answer that it holds.

    After five it is open: the others of a route go first. When it has cooled down one request may
    ask again; until that one has its answer, or another cool-down has passed, it stays open for
    the rest. So a probe that never reports, since its reader left, holds nothing.
    """

    __slots__ = ("_broken", "_failures", "_jitter", "_open_until")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = self._broken = 0
        self._open_until = 0.0

    def ready(self, now: float) -> bool:
        """Whether it may be asked in its turn."""
        return not self._is_open or now >= self._open_until

    def asked(self, now: float) -> None:
        """A request goes there now: if it is open, that is the probe."""
        if self._is_open:
            self._open(now)

    def failed(self, now: float) -> None:
        """It was asked, and no first token came."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._open(now)

    def answered(self) -> None:
        """It was asked, and the first token came."""
        self._failures = 0

    def broke(self, now: float) -> None:
        """An answer of it broke off after the first token."""
        self._broken += 1
        if self._broken >= _FAILURES:
            self._open(now)

    def finished(self) -> None:
        """An answer of it came whole."""
        self._broken = 0

    @property
    def _is_open(self) -> bool:
        return max(self._failures, self._broken) >= _FAILURES

    def _open(self, now: float) -> None:
        # From half to one and a half, so that many processes do not probe in one moment.
        self._open_until = now + _COOL_DOWN_S * (0.5 + self._jitter())
