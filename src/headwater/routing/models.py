"""Which models there are, and which provider answers for a name.

Explicit beats implicit: a name of `[models]`, then `provider/name`, then the `--upstream`, then the
catalogue's entries whose key or engine is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import structs

from headwater.errors import ConfigurationError, HeadwaterError, RequestError, UnavailableError
from headwater.providers import catalogue, dialects, local, tape
from headwater.providers.base import Provider
from headwater.providers.forwarding import Forwarding
from headwater.providers.http import HttpProvider
from headwater.providers.local.provider import LocalProvider
from headwater.providers.openai_chat import ChatCompletions
from headwater.routing.choices import Candidate, Choice
from headwater.routing.listings import Listings, UpstreamNames
from headwater.routing.router import Router
from headwater.settings import Endpoint, ProviderSettings, Settings, folder_of
from headwater.upstream import Pool

EMBEDDED: Final = "smollm2-135m"
_UPSTREAM: Final = "upstream"
UPSTREAM_KEY: Final = "HEADWATER_UPSTREAM_API_KEY"


class ModelInfo(msgspec.Struct, frozen=True):
    """A model as `/v1/models` shows it; `needs` says what is missing when it is not available.

    `context` is its window in tokens, `can` what it takes and does besides text (tools, images,
    reasoning, json): None where nobody said. `source` is the page that was read, on the day
    `checked`; None for what the provider itself lists.
    """

    id: str
    provider: str
    available: bool
    needs: str | None = None
    context: int | None = None
    can: tuple[str, ...] | None = None
    source: str | None = None
    checked: str | None = None


class Models:
    """The catalogue as these settings and this environment make it. Belongs to one event loop."""

    def __init__(
        self, settings: Settings, client: Pool, environ: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._client = client
        self._router = Router(settings.timeouts)
        self._environ = os.environ if environ is None else environ
        self._catalogue = catalogue.load()
        self._endpoints = dict(self._catalogue.providers)
        for name, table in settings.providers.items():
            if name == _UPSTREAM and settings.server.upstream is not None:
                continue  # it changes what `--upstream` is, and makes no other provider
            self._endpoints[name] = table.endpoint(name, self._catalogue.providers.get(name))
        self._providers: dict[str, Provider] = {}
        key = self._environ.get(UPSTREAM_KEY) or None
        self._upstream = UpstreamNames(client, settings.server.upstream or "", key)
        self._listings = Listings(client)

    async def available(self, *, ask: bool = True) -> list[ModelInfo]:
        """Every model that can be named here, by a name that reaches it.

        With `ask` also what the providers that can be used now list themselves.
        """
        listed = await self._listings.models(self._usable()) if ask else {}
        infos = [
            ModelInfo(name, model.route[0].partition("/")[0], True)
            for name, model in self._settings.models.items()
        ]
        if self._settings.server.upstream is not None:
            infos += [ModelInfo(model, "upstream", True) for model in await self._upstreams()]
        offered = list(self._local_infos())
        for entry in self._catalogue.models:
            infos_of_entry = [self._info(entry, provider) for provider in entry.providers]
            offered += sorted(infos_of_entry, key=lambda info: not info.available)
        said = {(name, model.id): model for name, models in listed.items() for model in models}
        taken = {info.id for info in infos}
        for info in offered:
            # A bare name goes to the upstream, where there is one, else to the first of its
            # providers that is ready: the others are reached by `provider/name`.
            name = self._name(info.provider, info.id)
            if self._settings.server.upstream is not None or name in taken:
                name = f"{info.provider}/{info.id}"
            taken.add(name)
            if live := said.pop((info.provider, info.id), None):
                context, can = live.context or info.context, live.can or info.can
                info = structs.replace(info, context=context, can=can)
            infos.append(structs.replace(info, id=name))
        for (provider, model), live in said.items():
            name = f"{provider}/{model}"
            if name not in taken:
                more = ModelInfo(name, provider, True, context=live.context, can=live.can)
                infos.append(more)
        infos += [ModelInfo(name, name.partition("/")[0], True) for name in self._tapes()]
        return infos

    def _usable(self) -> dict[str, tuple[Endpoint, str | None]]:
        """The providers whose key is there, or that want none; each with its key."""
        return {
            name: (endpoint, self._environ.get(endpoint.api_key_env or "") or None)
            for name, endpoint in self._endpoints.items()
            if self._missing_key(name) is None and endpoint.dialect in dialects.BUILT_IN
        }

    async def _upstreams(self) -> list[str]:
        try:
            return await self._upstream.names()
        except HeadwaterError:
            return []  # a list is still of use while the upstream is down

    async def resolve(self, name: str | None) -> Choice:
        """Who answers for `name`, or for a request that names no model."""
        if name is None:
            name = await self._default()
        configured = self._settings.models.get(name)
        if configured is not None:
            return Choice(
                name, self._candidates(name, configured.route), self._router, configured.hedge
            )
        candidate = self._qualified(name)
        if candidate is not None:
            return Choice(name, (candidate,), self._router)
        if self._settings.server.upstream is not None:
            return Choice(name, (Candidate(self._provider("upstream"), name),), self._router)
        return Choice(name, self._from_catalogue(name), self._router)

    async def default(self) -> str | None:
        """The name of what answers where none is named; None where nothing can."""
        try:
            return await self._default()
        except HeadwaterError:
            return None

    async def aclose(self) -> None:
        """Stop what was started."""
        await self._listings.aclose()
        for provider in self._providers.values():
            await provider.aclose()

    async def _default(self) -> str:
        server = self._settings.server
        if server.default_model is not None:
            return server.default_model
        if server.upstream is not None:
            ids = await self._upstream.names()
            if ids:
                return ids[0]
        if self._settings.models:
            return next(iter(self._settings.models))
        if local.available(EMBEDDED):
            return EMBEDDED
        for entry in self._catalogue.models:
            for provider in entry.providers:
                if self._missing_key(provider) is None:
                    return self._name(provider, entry.id)
        raise UnavailableError(
            "provider_not_configured",
            f"No model is ready: get the embedded one with `{local.missing(EMBEDDED)}`, or set a "
            "provider's key, such as CELUXE_API_KEY.",
            retryable=False,
        )

    def _candidates(self, name: str, route: tuple[str, ...]) -> tuple[Candidate, ...]:
        """The entries of a route whose key or engine is there; at least one."""
        candidates: list[Candidate] = []
        missing: list[UnavailableError] = []
        for entry in route:
            try:
                candidate = self._qualified(entry)
            except UnavailableError as error:
                missing.append(error)
                continue
            if candidate is None:
                raise ConfigurationError(
                    f"models.{name}: there is no provider for {entry!r}; add a table "
                    f"[providers.{entry.partition('/')[0]}], or use one of "
                    f"{', '.join(sorted({*self._endpoints, 'local'}))}"
                )
            candidates.append(candidate)
        if not candidates:
            raise missing[0]
        return tuple(candidates)

    def _qualified(self, name: str) -> Candidate | None:
        """`provider/model`, where there is such a provider."""
        provider, slash, model = name.partition("/")
        if not slash or not model:
            return None
        if provider == "local" and model in local.MODELS:
            return self._embedded(model)
        if provider not in self._endpoints:
            return None
        self._require_key(provider, name)
        return Candidate(self._provider(provider), model)

    def _from_catalogue(self, name: str) -> tuple[Candidate, ...]:
        if name in local.MODELS:
            return (self._embedded(name),)
        entry = next((entry for entry in self._catalogue.models if entry.id == name), None)
        if entry is None:
            raise RequestError(self._unknown(name), code="model_not_found", param="model")
        ready = [p for p in entry.providers if self._missing_key(p) is None]
        if ready:
            return tuple(Candidate(self._provider(provider), name) for provider in ready)
        variables = " or ".join(str(self._missing_key(p)) for p in entry.providers)
        raise UnavailableError(
            "provider_not_configured",
            f"{name} needs a provider's key: set {variables}.",
            retryable=False,
            param="model",
        )

    def _embedded(self, name: str) -> Candidate:
        if not local.available(name):
            raise UnavailableError(
                "provider_not_configured",
                f"{name} is not here yet: get it with `{local.missing(name)}`.",
                retryable=False,
                param="model",
            )
        return Candidate(self._provider("local"), name)

    def _provider(self, name: str) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            provider = self._providers[name] = self._make(name)
        return provider

    def _make(self, name: str) -> Provider:
        if name == "local":
            # The engine that comes with us does not repeat what it goes on from.
            dialect = ChatCompletions(echoes=False)
            forwarding = Forwarding(self._catalogue.members_of("local"), extensible=False)
            return LocalProvider(local.Engine(EMBEDDED), dialect, self._client, forwarding)
        if name == _UPSTREAM and self._settings.server.upstream is not None:
            table = self._settings.providers.get(name, ProviderSettings())
            endpoint = table.endpoint(name, Endpoint(base_url=self._settings.server.upstream))
            variable: str | None = UPSTREAM_KEY
        else:
            endpoint = self._endpoints[name]
            variable = endpoint.api_key_env
        key = self._environ.get(variable or "") or None
        if endpoint.dialect == "tape":
            return tape.TapeProvider(name, folder_of(endpoint.base_url))
        return HttpProvider(
            name,
            dialects.get(endpoint.dialect)(endpoint),
            endpoint.base_url,
            key,
            self._client,
            variable=variable if key else None,
            continues=endpoint.continues,
            forwarding=Forwarding(self._catalogue.members_of(endpoint.dialect), endpoint.members),
            log_bodies=self._settings.server.log_upstream_errors,
        )

    def _name(self, provider: str, model: str) -> str:
        """`model`, or `provider/model` where the bare id would be read as another provider's."""
        owner, slash, _ = model.partition("/")
        return f"{provider}/{model}" if slash and owner in self._endpoints else model

    def _missing_key(self, provider: str) -> str | None:
        variable = self._endpoints[provider].api_key_env
        return variable if variable and not self._environ.get(variable) else None

    def _require_key(self, provider: str, name: str) -> None:
        variable = self._missing_key(provider)
        if variable is not None:
            raise UnavailableError(
                "provider_not_configured",
                f"{name} needs the key of {provider}: set {variable}.",
                retryable=False,
                param="model",
            )

    def _info(self, entry: catalogue.Entry, provider: str) -> ModelInfo:
        missing = self._missing_key(provider)
        facts = (entry.context, entry.can, entry.source, entry.checked)
        return ModelInfo(entry.id, provider, missing is None, missing, *facts)

    def _local_infos(self) -> Iterator[ModelInfo]:
        for name in local.MODELS:
            steps = local.missing(name)
            yield ModelInfo(name, "local", not steps, steps or None)

    def _tapes(self) -> Iterator[str]:
        for provider, endpoint in self._endpoints.items():
            if endpoint.dialect == "tape" and self._missing_key(provider) is None:
                for name in sorted(tape.names(folder_of(endpoint.base_url))):
                    yield f"{provider}/{name}"

    def _unknown(self, name: str) -> str:
        known = (self._name(entry.providers[0], entry.id) for entry in self._catalogue.models)
        names = [*self._settings.models, *local.MODELS, *known, *self._tapes()]
        near = tape.nearest(name, names)
        return f"There is no model {name[:200]!r}; the nearest are {', '.join(near)}."
