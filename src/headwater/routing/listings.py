"""What providers say they have: asked when somebody wants to know, and remembered for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from headwater.errors import HeadwaterError
from headwater.json_text import UNREADABLE
from headwater.observe.logs import without_request
from headwater.providers.listing import Listed, list_request, read_list
from headwater.settings import Endpoint
from headwater.upstream import Pool, Request, fetch

log = logging.getLogger("headwater.upstream")

# A page that shows the models waits for the slowest provider that long, once.
_TIMEOUT_S: Final = 3.0
# Long enough for a slow local server; without an answer a request that names no model has to fail.
_UPSTREAM_TIMEOUT_S: Final = 5.0
# New models come every few weeks; one that was pulled to one's own machine is wanted soon.
_LASTS_S: Final = 300.0
# A provider that failed is not waited for by the next few who ask.
_FAILED_LASTS_S: Final = 30.0


class _Known(NamedTuple):
    models: list[Listed]
    until: float


class Listings:
    """The lists of one event loop's providers."""

    def __init__(self, client: Pool) -> None:
        self._client = client
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[list[Listed]]] = {}

    async def models(
        self, providers: Mapping[str, tuple[Endpoint, str | None]]
    ) -> dict[str, list[Listed]]:
        """What each of these has, by the provider's name; asked at once, each with its key.

        A provider that fails has nothing: it never takes the others with it.
        """
        lists = await asyncio.gather(*(self._of(name, *how) for name, how in providers.items()))
        return dict(zip(providers, lists, strict=True))

    async def aclose(self) -> None:
        """Ask no longer."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _of(self, name: str, endpoint: Endpoint, key: str | None) -> list[Listed]:
        known = self._known.get(name)
        if known is not None and asyncio.get_running_loop().time() < known.until:
            return known.models
        task = self._asking.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._ask(name, endpoint, key), context=without_request()
            )
            self._asking[name] = task
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(task)  # whoever leaves takes nothing from the others

    async def _ask(self, name: str, endpoint: Endpoint, key: str | None) -> list[Listed]:
        request = list_request(endpoint.dialect, endpoint.base_url, key)
        models: list[Listed] = []
        try:
            answer = await fetch(self._client, request, _TIMEOUT_S)
        except HeadwaterError as error:
            log.info("%s did not list its models: %s", name, error.code)
        else:
            if answer.status == 200:
                models = read_list(endpoint.dialect, answer.body)
            if not models:
                log.info("%s listed no models (HTTP %d)", name, answer.status)
        lasts = _LASTS_S if models else _FAILED_LASTS_S
        self._known[name] = _Known(models, asyncio.get_running_loop().time() + lasts)
        return models


class UpstreamNames:
    """The models of `--upstream`, whose names pass unchanged: asked once, then remembered."""

    def __init__(self, client: Pool, base_url: str, key: str | None) -> None:
        self._client = client
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._request = Request("GET", f"{base_url.rstrip('/')}/models", headers)
        self._names: list[str] | None = None

    async def names(self) -> list[str]:
        """Its models in its order; none where it lists none. `HeadwaterError` when it fails."""
        if self._names is None:
            answer = await fetch(self._client, self._request, _UPSTREAM_TIMEOUT_S)
            if answer.status != 200:
                return []
            self._names = _names(answer.body) or None
        return self._names or []


class _Named(msgspec.Struct):
    id: str


class _Names(msgspec.Struct):
    data: list[_Named] = []


def _names(body: bytes) -> list[str]:
    try:
        return [model.id for model in msgspec.json.decode(body, type=_Names).data]
    except UNREADABLE:
        return []
