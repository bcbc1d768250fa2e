"""What the routes of one process share, and from which each request's source is made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from headwater.errors import HeadwaterError
from headwater.routing.breaker import Breaker
from headwater.routing.hedging import Hedging
from headwater.routing.retries import Retries
from headwater.routing.source import RoutedSource, UnstartedAttempt, passed_over
from headwater.settings import HedgeSettings, TimeoutSettings


class Router:
    """What the requests of one process share: breakers, budgets of retries, times of routes.

    `jitter` gives numbers from 0 to 1. Belongs to one event loop.
    """

    def __init__(
        self, limits: TimeoutSettings, jitter: Callable[[], float] = random.random
    ) -> None:
        self._limits = limits
        self._jitter = jitter
        self._retries: dict[str, Retries] = {}
        self._breakers: dict[str, Breaker] = {}
        self._hedging: dict[str, Hedging] = {}

    def source(
        self,
        candidates: Sequence[UnstartedAttempt],
        name: str,
        hedge: HedgeSettings | None = None,
        asked: str | None = None,
    ) -> RoutedSource:
        """The candidates as one source; times to the first token are kept under `name`.

        `asked` is the first choice, where that is not the first candidate. Raises the first
        candidate's `HeadwaterError` when all of them refuse the request.
        """
        ordered, breakers = self._ordered(candidates)
        refusals: dict[str, HeadwaterError] = {}
        for at, candidate in enumerate(ordered):
            try:
                first = candidate.make()
            except HeadwaterError as error:
                refusals[candidate.route] = error
            else:
                hedging = self._hedging_of(name, hedge) if hedge is not None else None
                asked = asked or candidates[0].route
                left = ordered[at:]
                refused = [passed_over(route, error) for route, error in refusals.items()]
                return RoutedSource(
                    left, first, asked, self._limits, self._budget, breakers, hedging, refused
                )
        raise refusals[candidates[0].route]

    def ended(self, route: str, error: HeadwaterError | None) -> None:
        """An answer of `route` has ended, after its first token."""
        breaker = self._breakers.get(route)
        if breaker is None:
            return
        if error is None:
            breaker.finished()
        elif error.retryable:
            breaker.broke(asyncio.get_running_loop().time())

    def _ordered(
        self, candidates: Sequence[UnstartedAttempt]
    ) -> tuple[Sequence[UnstartedAttempt], Mapping[str, Breaker]]:
        """In the user's order, those that are broken last.

        A route of one has no breaker: it would change nothing, and its name may be any text that a
        caller sends, to be kept for ever.
        """
        if len(candidates) == 1:
            return candidates, {}
        for candidate in candidates:
            if candidate.route not in self._breakers:
                self._breakers[candidate.route] = Breaker(self._jitter)
        now = asyncio.get_running_loop().time()
        return (
            sorted(candidates, key=lambda c: not self._breakers[c.route].ready(now)),
            self._breakers,
        )

    def _budget(self, route: str) -> Retries:
        """One for each provider, so that what fails at one takes no retries from the others.

        Providers are those of the configuration; the model's name may be any text.
        """
        provider = route.partition("/")[0]
        retries = self._retries.get(provider)
        if retries is None:
            retries = self._retries[provider] = Retries(self._jitter)
        return retries

    def _hedging_of(self, name: str, settings: HedgeSettings) -> Hedging:
        hedging = self._hedging.get(name)
        if hedging is None:
            hedging = self._hedging[name] = Hedging(settings)
        return hedging
