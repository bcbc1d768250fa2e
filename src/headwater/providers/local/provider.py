"""The embedded model as a provider: one more OpenAI-compatible upstream, in a child process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import Event, Usage
from headwater.generation import GenerationRequest, PartialText
from headwater.observe import Try
from headwater.providers.base import Dialect, Outcome, ProviderSource, Receiver
from headwater.providers.forwarding import Forwarding
from headwater.providers.http import Client, Deferred, HttpProvider
from headwater.providers.local import bounds
from headwater.providers.local.engine import Engine

#: A model this small often does not find its end; what it writes after a page is of no use.
DEFAULT_TOKENS: Final = 512
_CAPS: Final = {"max_tokens", "max_completion_tokens"}


class LocalProvider:
    """Starts `engine` when it is first asked; its model speaks `dialect`."""

    name = "local"
    continues = True

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        client: Client,
        forwarding: Forwarding | None = None,
    ) -> None:
        self._forwarding = forwarding
        self._engine = engine
        self._dialect = dialect
        self._client = client

    def source(
        self, request: GenerationRequest, model: str, said: PartialText | None = None
    ) -> ProviderSource:
        if self._forwarding is not None:
            self._forwarding.check(request.options, self.name)
        bounds.check(request)
        if said is None:
            self._engine.crashes.check(request.principal)
        if not _CAPS & request.options.keys():
            options = {**request.options, "max_tokens": DEFAULT_TOKENS}
            request = structs.replace(request, options=options)

        async def make() -> ProviderSource:
            # An answer that broke off may mean that the child is dying: its port outlives it.
            base_url = await self._engine.base_url(doubted=said is not None)
            key = self._engine.api_key
            provider = HttpProvider(
                self.name, self._dialect, base_url, key, self._client, continues=True
            )
            source = provider.source(request, model, said)
            return Watched(source, self._engine, request.principal)

        return Deferred(make)

    async def aclose(self) -> None:
        """Stop the child."""
        await self._engine.aclose()


class Watched:
    """One request to the engine, which may be the one that crashes it.

    It stands between the request and its receiver until the first token, and not after it.
    """

    attempts = 1
    tries: Sequence[Try] = ()
    route: str | None = None

    def __init__(self, source: ProviderSource, engine: Engine, principal: str | None) -> None:
        self._source = source
        self._engine = engine
        self._suspect = engine.crashes.suspect(principal, lambda: source.connected_at is not None)
        self._receiver: Receiver | None = None
        self._judging: asyncio.Task[None] | None = None

    @property
    def connected_at(self) -> float | None:
        return self._source.connected_at

    @property
    def usage(self) -> Usage | None:
        return self._source.usage

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._source.start(self)

    def hand_over(self, receiver: Receiver) -> None:
        self._receiver = None
        self._engine.crashes.clear(self._suspect)
        self._source.hand_over(receiver)

    def cancel(self) -> None:
        self._receiver = None
        self._engine.crashes.left(self._suspect)
        if self._judging is not None:
            self._judging.cancel()
        self._source.cancel()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        if self._receiver is not None:
            self._receiver.events(events)

    def alive(self, data: bool) -> None:
        if self._receiver is not None:
            self._receiver.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        if isinstance(outcome, HeadwaterError) and outcome.retryable and not events:
            # The child may have died of this request: that is known a moment later.
            self._judging = asyncio.get_running_loop().create_task(self._judge(outcome))
        else:
            self._end(outcome, events)

    async def _judge(self, error: HeadwaterError) -> None:
        await self._engine.settled()
        if self._suspect.guilty:
            error = UpstreamError(
                "upstream_error",
                "The embedded model crashed on this request, so it is not asked again.",
                retryable=False,
            )
        self._end(error)

    def _end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        self._engine.crashes.clear(self._suspect)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.end(outcome, events)
