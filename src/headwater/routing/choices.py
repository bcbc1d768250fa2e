"""Who will answer a request: what a model's name comes down to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Provider, Source
from headwater.routing.recovery import Recovery
from headwater.routing.router import Router
from headwater.routing.source import Candidate
from headwater.settings import HedgeSettings


class Way(msgspec.Struct, frozen=True):
    """A provider and the name that the model has there."""

    provider: Provider
    model: str

    @property
    def route(self) -> str:
        return f"{self.provider.name}/{self.model}"


class Choice(msgspec.Struct, frozen=True):
    """Who will answer: `ways` are asked in order until there is a first token."""

    name: str
    ways: tuple[Way, ...]
    router: Router
    hedge: HedgeSettings | None = None

    @property
    def route(self) -> str:
        """The first choice, `provider/model` as readers see it."""
        return self.ways[0].route

    def source(self, request: GenerationRequest) -> Source:
        """A source that has not begun; `RequestError` for what nobody here can do."""
        candidates = [
            Candidate(way.route, partial(way.provider.source, request, way.model))
            for way in self.ways
        ]
        return self.router.source(candidates, self.name, self.hedge)

    def recovery(
        self, request: GenerationRequest, wrap: Callable[[Source], Source] | None = None
    ) -> Recovery:
        """What happens when an answer to it breaks off; `wrap` is put around whoever goes on."""
        ways = [way for way in self.ways if way.provider.continues]

        def candidates(said: PartialText) -> list[Candidate]:
            return [
                Candidate(way.route, partial(way.provider.source, request, way.model, said))
                for way in ways
            ]

        return Recovery(
            self.router, self.name, self.route, request, candidates if ways else None, wrap
        )
