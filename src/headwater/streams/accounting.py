"""The figures of one generation: attempts, tokens, times."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import UNSET

from headwater.events import StreamEnd, StreamError, Timing, Tried, Usage, added
from headwater.observe import Ended, Try
from headwater.providers.base import Source


class Accounting:
    """Sums what the attempts of one generation cost, the running one and those that broke off.

    `asked_at` is `time.monotonic()` when the request arrived: all timings count from there.
    `first_at` is the time of the first event, None before it.
    """

    __slots__ = (
        "_asked_at",
        "_attempts",
        "_began_at",
        "_connected_at",
        "_overhead",
        "_route",
        "_spent",
        "_tries",
        "first_at",
    )

    def __init__(self, asked_at: float) -> None:
        self._asked_at = self._began_at = asked_at
        self.first_at: float | None = None
        self._overhead = 0.0
        # Of the attempts that broke off.
        self._spent: Usage | None = None
        self._attempts = 0
        self._connected_at: float | None = None
        self._route: str | None = None
        self._tries: list[Try] = []

    def begin(self) -> None:
        """The provider is asked now: the time before is overhead."""
        self._began_at = time.monotonic()
        self._overhead = self._began_at - self._asked_at

    def delivered_first(self, began: float) -> None:
        """The first event, which came at `began`, has reached the readers."""
        self._overhead += time.monotonic() - began

    def answers(self) -> None:
        """An attempt has its first event: the route of an earlier one no longer counts."""
        self._route = None

    def broke_off(self, source: Source) -> None:
        """Add the figures of an attempt that another one is to continue."""
        self._spent, self._connected_at = self.usage(source), self._connected(source)
        self._attempts, self._route = self._attempts + source.attempts, source.route
        self._tries += source.tries

    def usage(self, source: Source) -> Usage | None:
        """Tokens of all attempts, as far as providers have counted them."""
        return added(self._spent, source.usage)

    def total_usage(self, last: Usage | None) -> Usage | None:
        """The same, with the final count of the last attempt."""
        return added(self._spent, last)

    def report(
        self, source: Source, event: StreamEnd | StreamError, repairs: int, repair: str | None
    ) -> Ended:
        """The end for the observer; `repairs` were made, and `repair` is the stream's own word."""
        usage = event.usage
        return Ended(
            outcome=event.code if isinstance(event, StreamError) else event.reason,
            failed=isinstance(event, StreamError),
            ended_by=event.ended_by or "provider",
            repair=repair,
            route=self._answers(source),
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            first_token_s=None if self.first_at is None else self.first_at - self._asked_at,
            total_s=time.monotonic() - self._asked_at,
            overhead_s=self._overhead,
            repairs=repairs,
            tries=[each for each in self._all_tries(source) if each.asked],
        )

    def timing(self, source: Source) -> Timing:
        """The times for readers, in milliseconds."""

        def since(at: float | None) -> float | None:
            return None if at is None else round((at - self._asked_at) * 1000, 2)

        return Timing(
            queue=round((self._began_at - self._asked_at) * 1000, 2),
            connect=since(self._connected(source)),
            first_token=since(self.first_at),
            total=round((time.monotonic() - self._asked_at) * 1000, 2),
            overhead=round(self._overhead * 1000, 3),
            attempts=self._attempts + source.attempts,
            route=self._answers(source) or UNSET,
            tried=_failed(self._all_tries(source)) or UNSET,
        )

    def _answers(self, source: Source) -> str | None:
        return source.route or self._route

    def _all_tries(self, source: Source) -> Sequence[Try]:
        return (*self._tries, *source.tries)

    def _connected(self, source: Source) -> float | None:
        return self._connected_at or source.connected_at


def _failed(tries: Sequence[Try]) -> tuple[Tried, ...]:
    """Who failed before a first token, as readers are told; once where one failed alike again."""
    told: list[Tried] = []
    before: Tried | None = None
    for each in tries:
        if each.outcome == "cancelled":
            continue
        here = None if each.outcome == "answered" else Tried(each.route, each.outcome)
        if here is not None and here != before:
            told.append(here)
        before = here
    return tuple(told)
