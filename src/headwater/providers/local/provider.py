"""The embedded model as a provider: one more OpenAI-compatible upstream, in a child of ours."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from headwater.generation import GenerationRequest, Said
from headwater.providers.base import Dialect, ProviderSource
from headwater.providers.forwarding import Forwarding
from headwater.providers.http import Client, Deferred, HttpProvider
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
        self, request: GenerationRequest, model: str, said: Said | None = None
    ) -> ProviderSource:
        if self._forwarding is not None:
            self._forwarding.check(request.options, self.name)
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
            return provider.source(request, model, said)

        return Deferred(make)

    async def aclose(self) -> None:
        """Stop the child."""
        await self._engine.aclose()
