"""Who will answer a request: what a model's name comes down to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Provider, Source
from headwater.routing.recovery import Recovery
from headwater.routing.router import Router
from headwater.routing.source import UnstartedAttempt
from headwater.settings import HedgeSettings


class Candidate(msgspec.Struct, frozen=True):
    """A provider and the name that the model has there."""

    provider: Provider
    model: str

    @property
    def route(self) -> str:
        return f"{self.provider.name}/{self.model}"


class Choice(msgspec.Struct, frozen=True):
    """Who will answer: `candidates` are asked in order until there is a first token."""

    name: str
    candidates: tuple[Candidate, ...]
    router: Router
    hedge: HedgeSettings | None = None

    @property
    def route(self) -> str:
        """The first choice, `provider/model` as readers see it."""
        return self.candidates[0].route

    def source(self, request: GenerationRequest) -> Source:
        """A source that has not begun; `RequestError` for what nobody here can do."""
        attempts = [
            UnstartedAttempt(each.route, partial(each.provider.source, request, each.model))
            for each in self.candidates
        ]
        return self.router.source(attempts, self.name, self.hedge)

    def recovery(
        self, request: GenerationRequest, wrap: Callable[[Source], Source] | None = None
    ) -> Recovery:
        """What happens when an answer to it breaks off; `wrap` is put around whoever goes on."""
        able = [each for each in self.candidates if each.provider.continues]

        def attempts(said: PartialText) -> list[UnstartedAttempt]:
            return [
                UnstartedAttempt(
                    each.route, partial(each.provider.source, request, each.model, said)
                )
                for each in able
            ]

        return Recovery(
            self.router, self.name, self.route, request, attempts if able else None, wrap
        )
