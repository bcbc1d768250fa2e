"""Who answers: a route's candidates in order, until one of them has a first token.

Before it, an attempt that fails is made again or another candidate is asked; after it, nothing is
ever asked twice. The winner pushes straight into whoever reads the route: a token costs nothing
here. Silence is measured by `deadlines`, an attempt each; what follows the first token, and the
whole, are the producer's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import Usage
from headwater.observe import Try
from headwater.providers.base import ProviderSource, Receiver
from headwater.routing.attempt import Attempt
from headwater.routing.breaker import Breaker
from headwater.routing.hedging import Hedging
from headwater.routing.retries import Retries, verdict
from headwater.settings import TimeoutSettings

log = logging.getLogger("headwater.streams")

# While another candidate is left, waiting for this one is the worse choice.
_WITH_OTHERS_S: Final = 1.0


class UnstartedAttempt(msgspec.Struct, frozen=True):
    """One entry of a route: `provider/model`, and an attempt there that has not begun.

    `make` raises `HeadwaterError` for what that provider cannot do.
    """

    route: str
    make: Callable[[], ProviderSource]


def passed_over(route: str, error: HeadwaterError) -> Try:
    """A candidate that cannot do what was asked for, and so was not asked."""
    now = time.monotonic()
    return Try(route, error.code, now, now, asked=False)


class RoutedSource:
    """One generation by whichever candidate has the first token.

    `attempts` counts what was asked; `route` is who answers where that is not the first choice.
    `first` is the first candidate's source, made already; `asked` the first choice; `refused` those
    before it that cannot do the request. `budgets` gives the budget of retries of a candidate's
    route.
    """

    __slots__ = (
        "_asked",
        "_at",
        "_began_at",
        "_breakers",
        "_budgets",
        "_candidates",
        "_entered_at",
        "_hedging",
        "_latest",
        "_limits",
        "_loop",
        "_raced",
        "_receiver",
        "_refusal",
        "_retries",
        "_running",
        "_since",
        "_timer",
        "_tries",
        "_won",
        "attempts",
        "route",
    )

    def __init__(
        self,
        candidates: Sequence[UnstartedAttempt],
        first: ProviderSource,
        asked: str,
        limits: TimeoutSettings,
        budgets: Callable[[str], Retries],
        breakers: Mapping[str, Breaker],
        hedging: Hedging | None,
        refused: Sequence[Try] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._budgets = budgets
        self._candidates = candidates
        self._asked = asked
        self._breakers = breakers
        self._hedging = hedging
        self._raced = False
        self._receiver: Receiver | None = None
        self._running: list[Attempt] = []
        self._latest: ProviderSource = first
        self._won: Attempt | None = None
        self._tries = list(refused)
        self._timer: asyncio.TimerHandle | None = None  # of the next retry, or of the race
        self._refusal: HeadwaterError | None = None
        self._began_at = self._entered_at = self._since = 0.0
        self._at = self._retries = 0
        self.attempts = 0
        self.route: str | None = None

    @property
    def connected_at(self) -> float | None:
        return (self._won.source if self._won is not None else self._latest).connected_at

    @property
    def usage(self) -> Usage | None:
        return self._won.source.usage if self._won is not None else None

    @property
    def tries(self) -> Sequence[Try]:
        return self._tries if self._won is None else [*self._tries, self._won.tried("answered")]

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._began_at = self._entered_at = self._loop.time()
        self._budgets(self._candidates[0].route).earn()
        if self._hedging is not None:
            self._hedging.requested()
        self._begin(self._latest)

    def cancel(self) -> None:
        self._receiver = None
        self._stop_timer()
        self._cancel_running()
        if self._won is not None:
            self._won.source.cancel()

    # what attempts tell

    def won(self, attempt: Attempt) -> Receiver | None:
        """The attempt has the first token: the others are freed. Who reads from now on."""
        if self._hedging is not None:
            # Of a race the slow one's, as far as it came: the winner's would make all look fast.
            self._hedging.first_token(self._loop.time() - self._since)
        self._stop_timer()
        self._running.remove(attempt)
        self._cancel_running()
        self._won = attempt
        self._candidates = ()  # they hold the request, and the stream may be long
        if attempt.route != self._asked:
            self.route = attempt.route
        if breaker := self._breakers.get(attempt.route):
            breaker.answered()
        receiver, self._receiver = self._receiver, None
        return receiver

    def failed(self, attempt: Attempt, error: HeadwaterError) -> None:
        """The attempt ended before its first token."""
        self._running.remove(attempt)
        self._tries.append(attempt.tried(error.code))
        means = verdict(error)
        if means == "forward":
            self._refusal = error
        if breaker := self._breakers.get(attempt.route):
            if means == "forward":  # it works: the request does not
                breaker.answered()
            else:
                breaker.failed(self._loop.time())
        if self._running:
            return  # the one that it raced goes on alone
        self._stop_timer()
        if self._refusal is None:
            if means == "retry" and attempt.at == self._at and self._retry(error):
                return
            if self._next():
                log.warning("%s failed, so the next was asked: %s", attempt.route, error.code)
                return
        self._end(self._refusal or error)

    # what comes next

    def _begin(self, source: ProviderSource) -> None:
        now = self._loop.time()
        route = self._candidates[self._at].route
        self.attempts += 1
        self._latest = source
        attempt = Attempt(self, source, route, self._at, hedge=bool(self._running))
        self._running.append(attempt)
        if breaker := self._breakers.get(route):
            breaker.asked(now)
        if len(self._running) == 1:
            self._since = now
            delay = None if self._hedging is None or self._raced else self._hedging.delay()
            if delay is not None:
                self._timer = self._loop.call_later(delay, self._race)
        attempt.start(self._limits)

    def _retry(self, error: HeadwaterError) -> bool:
        """Ask the same candidate again, later, where that is still of use."""
        until = self._began_at + self._limits.first_token_s
        if self._at + 1 < len(self._candidates):
            until = min(until, self._entered_at + _WITH_OTHERS_S)
        budget = self._budgets(self._candidates[self._at].route)
        wait = budget.wait(error, self._retries, until - self._loop.time())
        if wait is None:
            return False
        self._retries += 1
        self._timer = self._loop.call_later(wait, self._again)
        return True

    def _again(self) -> None:
        self._timer = None
        try:
            source = self._candidates[self._at].make()
        except HeadwaterError as error:  # it could be made before: this is no refusal
            if not self._running:
                self._end(error)
        else:
            self._begin(source)

    def _next(self) -> bool:
        """Ask the next candidate that can do the request; False when none is left."""
        while self._at + 1 < len(self._candidates):
            self._at += 1
            try:
                source = self._candidates[self._at].make()
            except HeadwaterError as error:
                self._tries.append(passed_over(self._candidates[self._at].route, error))
                continue  # what it cannot do is no news to a caller whom another one failed
            self._entered_at, self._retries = self._loop.time(), 0
            self._budgets(self._candidates[self._at].route).earn()
            self._begin(source)
            return True
        return False

    def _race(self) -> None:
        """The first token is late: ask the next candidate as well, or the only one again."""
        self._timer = None
        hedging = self._hedging
        alone = len(self._candidates) == 1
        possible = alone or self._at + 1 < len(self._candidates)
        if hedging is None or not possible or not hedging.take():
            return
        self._raced = True
        if alone:
            self._again()
        else:
            self._next()

    def _end(self, error: HeadwaterError) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.end(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_running(self) -> None:
        for attempt in self._running:
            attempt.cancel()
            self._tries.append(attempt.tried("cancelled"))
        self._running.clear()
