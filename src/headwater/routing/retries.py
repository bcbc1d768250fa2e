"""What a failed attempt means, and whether and when it is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from headwater.errors import HeadwaterError

#: How often one candidate is asked again.
RETRIES: Final = 2
_BACKOFF_S: Final = 0.2
# Whoever is asked to wait longer is told so at once: the caller may know better what to do.
_MAX_WAIT_S: Final = 5.0
# So many retries at once, and then one for every five requests: a provider that is down is not
# brought up by asking it three times as often.
_BUDGET: Final = 20.0
_EARNED: Final = 0.2

Verdict = Literal["retry", "next", "forward"]


def verdict(error: HeadwaterError) -> Verdict:
    """What an attempt's failure before its first token means for the request.

    What is wrong with the request is wrong everywhere. What may pass is tried again. The rest (a
    key that is refused, a model that is not there, a certificate) is this provider's alone.
    """
    if error.code in ("invalid_request", "too_large"):
        return "forward"
    return "retry" if error.retryable else "next"


class Retries:
    """The budget of a provider in one process; `jitter` gives numbers from 0 to 1."""

    __slots__ = ("_budget", "_jitter")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._budget = _BUDGET

    def earn(self) -> None:
        """The provider is asked for the first time by a request."""
        self._budget = min(_BUDGET, self._budget + _EARNED)

    def wait(self, error: HeadwaterError, made: int, left_s: float) -> float | None:
        """How long to wait before the retry after `made` ones; None when there is to be none.

        `left_s` is the time in which it would have to begin. A wait that is given is paid for.
        """
        wait = self._jitter() * _BACKOFF_S * 2.0**made
        if error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if made >= RETRIES or wait > min(left_s, _MAX_WAIT_S) or self._budget < 1:
            return None
        self._budget -= 1
        return wait
