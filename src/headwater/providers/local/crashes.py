"""Which request crashed the embedded model, and whose requests it is not sent for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from headwater.errors import HeadwaterError

#: A principal whose requests crashed the model so often within so many seconds waits for the rest.
MOST: Final = 2
WITHIN_S: Final = 60.0
#: Seconds for which a request may still crash the model after its caller has gone.
_AFTER_S: Final = 1.0


class Suspect:
    """One request that the model has, without a first token. `sent` says whether it has it."""

    __slots__ = ("guilty", "left_at", "principal", "sent")

    def __init__(self, principal: str | None, sent: Callable[[], bool]) -> None:
        self.principal = principal
        self.sent = sent
        self.left_at: float | None = None
        self.guilty = False


class Crashes:
    """Blames the newest request without a token, and counts by principal.

    A request crashes the model while it is parsed, compiled or computed for the first time. `clock`
    gives seconds that do not go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._suspects: dict[Suspect, None] = {}  # the newest last
        # An engine starts a few times a minute, so that these are few.
        self._crashes: dict[str | None, deque[float]] = {}

    def check(self, principal: str | None) -> None:
        """`HeadwaterError` (`rate_limited`) for a principal that crashed the model too often."""
        crashes = self._crashes.get(principal)
        if crashes is None or len(crashes) < MOST:
            return
        wait = crashes[0] + WITHIN_S - self._clock()
        if wait > 0:
            raise HeadwaterError(
                "rate_limited",
                f"Your requests crashed the embedded model {MOST} times within {WITHIN_S:g} s; "
                "ask again later.",
                retry_after=wait,
            )

    def suspect(self, principal: str | None, sent: Callable[[], bool]) -> Suspect:
        """A request is sent to the model."""
        self._forget_left()
        suspect = Suspect(principal, sent)
        self._suspects[suspect] = None
        return suspect

    def clear(self, suspect: Suspect) -> None:
        """It was answered."""
        self._suspects.pop(suspect, None)

    def left(self, suspect: Suspect) -> None:
        """Its caller has gone. The model may have it for a moment longer."""
        if suspect.left_at is None:
            suspect.left_at = self._clock()

    def crashed(self) -> None:
        """The model has crashed: the newest request that it had is guilty."""
        self._forget_left()
        guilty = next((each for each in reversed(self._suspects) if each.sent()), None)
        self._suspects.clear()
        if guilty is not None:
            guilty.guilty = True
            self._count(guilty.principal)

    def _count(self, principal: str | None) -> None:
        now = self._clock()
        for name, crashes in list(self._crashes.items()):
            if crashes[-1] + WITHIN_S <= now:
                del self._crashes[name]
        self._crashes.setdefault(principal, deque(maxlen=MOST)).append(now)

    def _forget_left(self) -> None:
        now = self._clock()
        for suspect in list(self._suspects):
            if suspect.left_at is not None and suspect.left_at + _AFTER_S <= now:
                del self._suspects[suspect]
