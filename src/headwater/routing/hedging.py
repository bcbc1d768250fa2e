"""When a second attempt may race a slow first one, and how often."""

from __future__ import annotations

from collections import deque
from typing import Final

from headwater.settings import HedgeSettings

# A percentile of fewer says nothing; of more, it would hold on to an hour that has passed.
_LEAST_SAMPLES: Final = 20
_SAMPLES: Final = 200
# Both counts are halved here, so that the share is that of the last thousand or two.
_WINDOW: Final = 1000


class Hedging:
    """One route's: times to the first token, and what share of requests was asked twice."""

    def __init__(self, settings: HedgeSettings) -> None:
        self._max_extra = settings.max_extra
        fixed = settings.after.endswith("s")
        self._seconds = float(settings.after[:-1]) if fixed else None
        self._share = 0.0 if fixed else int(settings.after[1:]) / 100
        self._times: deque[float] = deque(maxlen=_SAMPLES)
        self._requests = 0
        self._extra = 0

    def requested(self) -> None:
        """A request of this route begins."""
        if self._requests >= _WINDOW:
            self._requests //= 2
            self._extra //= 2
        self._requests += 1

    def first_token(self, seconds: float) -> None:
        """A first token took so long from when the request was sent."""
        self._times.append(seconds)

    def delay(self) -> float | None:
        """How long to wait for a first token before racing; None while that is not known."""
        if self._seconds is not None:
            return self._seconds
        if len(self._times) < _LEAST_SAMPLES:
            return None
        times = sorted(self._times)
        return times[min(int(self._share * len(times)), len(times) - 1)]

    def take(self) -> bool:
        """Count one more attempt, unless there were too many."""
        if self._extra + 1 > self._max_extra * self._requests:
            return False
        self._extra += 1
        return True
