"""What serves the streams of one event loop: store, hub, models and connections, joined once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from headwater.errors import ConfigurationError
from headwater.generation import GenerationRequest
from headwater.observe import Observer
from headwater.providers.base import Source
from headwater.providers.transformed import Transformed
from headwater.requests.limits import Limits, Ticket
from headwater.requests.rights import Rights
from headwater.routing.models import Models
from headwater.routing.recovery import Recovery
from headwater.settings import Settings, plugins
from headwater.settings.store_url import REDIS, resolved, sqlite_path
from headwater.stores.base import Record, Store
from headwater.stores.memory import MemoryStore
from headwater.stores.sqlite import SqliteStore
from headwater.streams import Hub, LocalStream
from headwater.streams.ending import EndCallback
from headwater.streams.generation import Generation, StreamOptions
from headwater.transforms import Change, Transforms, made
from headwater.upstream import Pool
from headwater.wires.agui import WIRE as AGUI
from headwater.wires.anthropic import WIRE as ANTHROPIC
from headwater.wires.base import OnDisconnect, Wire
from headwater.wires.native import WIRE as NATIVE
from headwater.wires.openai_chat import WIRE as OPENAI
from headwater.wires.openai_responses import WIRE as RESPONSES
from headwater.wires.plain import WIRE as PLAIN
from headwater.wires.ui import WIRE as UI

#: Every wire by the name that `?wire=` and `wire=` take.
WIRES: Final[dict[str, Wire]] = {
    wire.name: wire for wire in (NATIVE, PLAIN, OPENAI, RESPONSES, ANTHROPIC, UI, AGUI)
}

#: The model of a stream that a generator of the user's own writes.
OWN_MODEL: Final = "generator"


def store_opener(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> Callable[[], Store]:
    """What opens the store that `store.url` names; `ConfigurationError` for one that is not there.

    `environ` is the process's environment unless given. Nothing is opened yet: a server that cannot
    have its store is to say so before it listens. No error holds anything of the URL.
    """
    url = resolved(settings.store.url, os.environ if environ is None else environ)
    ttl_s, lease_s = settings.store.ttl_s, settings.store.lease_s
    scheme, _, _ = url.partition(":")
    if scheme == "memory":
        return partial(MemoryStore, ttl_s=ttl_s, max_bytes=settings.store.max_bytes)
    if scheme == "sqlite":
        return partial(SqliteStore, Path(sqlite_path(url)), ttl_s=ttl_s, lease_s=lease_s)
    if scheme in REDIS:
        try:
            from headwater.stores.redis import RedisStore
        except ImportError as error:
            raise ConfigurationError(
                f"store.url: {scheme} needs redis-py: pip install 'headwater[redis]'"
            ) from error
        return partial(
            RedisStore,
            url,
            ttl_s=ttl_s,
            lease_s=lease_s,
            turn_s=settings.timeouts.connect_s,
            prefix=settings.store.prefix,
        )
    if scheme in plugins.names("headwater.stores"):
        return partial(plugins.load("headwater.stores", scheme), url, settings.store)
    known = ", ".join(("memory", "sqlite", "redis", *plugins.names("headwater.stores")))
    raise ConfigurationError(f"store.url: {scheme!r} is no store here; use one of {known}")


def wire_named(name: str) -> Wire:
    """The wire, ours or a package's, or `ConfigurationError` that names those there are."""
    wire = WIRES.get(name)
    if wire is None and name in plugins.names("headwater.wires"):
        wire = plugins.load("headwater.wires", name)
    if wire is None:
        known = ", ".join(wire_names())
        raise ConfigurationError(f"There is no wire {name[:50]!r}; use one of {known}.")
    return wire


def wire_names() -> tuple[str, ...]:
    """Those that can be used."""
    brought = plugins.names("headwater.wires")
    return (
        *WIRES,
        *(n for n in brought if n not in WIRES and plugins.usable("headwater.wires", n)),
    )


class Runtime:
    """Made inside a running event loop, and belongs to it."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        observer: Observer | None = None,
        on_end: EndCallback | None = None,
    ) -> None:
        self.settings = settings
        self.pool = Pool(connect_s=settings.timeouts.connect_s)
        self.models = Models(settings, self.pool, environ)
        self.store = store_opener(settings, environ)()
        self.hub = Hub(settings, self.store, self._recover, observer, on_end)
        self.rights = Rights(settings)
        self.limits = Limits(self.rights.limits)
        self.turns = self.hub.turns

    async def generate(
        self,
        asked: GenerationRequest | Source,
        *,
        principal: str | None,
        on_disconnect: OnDisconnect,
        asked_at: float | None = None,
        spoken: tuple[str, tuple[Any, ...]] | None = None,
        label: str | None = None,
        stream_id: str | None = None,
        on_end: EndCallback | None = None,
        metadata: Mapping[str, str] | None = None,
        transform: Transforms | Change | None = None,
        ticket: Ticket | None = None,
    ) -> LocalStream:
        """Begin a stream, from a provider or from a source of the user's own.

        `ticket` is the leave to begin it, where the caller has one already and gives it back if
        this fails. `RequestError` for what cannot be asked, `HeadwaterError` (`rate_limited`) for
        a principal who has used what `[limits]` allows.
        """
        wrap = None if transform is None else partial(_transformed, transform=transform)
        source, model, route, recovery = await self._who(asked, wrap, principal)
        if ticket is None:
            ticket = self.limits.admit(principal)
        ticket.asks(asked)
        try:
            stream = await self.hub.start(
                # The deadlines are for upstreams; an agent may work for an hour.
                Generation(
                    source if wrap is None else wrap(source),
                    model,
                    route,
                    recovery,
                    "never" if route is None else "once begun",
                ),
                StreamOptions(
                    principal=principal,
                    on_disconnect=on_disconnect,
                    spoken=spoken,
                    label=label,
                    metadata=metadata,
                    on_end=on_end,
                    asked_at=asked_at,
                ),
                stream_id,
            )
        except BaseException:
            ticket.unused()
            raise
        ticket.begun(stream)
        return stream

    async def _who(
        self,
        asked: GenerationRequest | Source,
        wrap: Callable[[Source], Source] | None,
        principal: str | None,
    ) -> tuple[Source, str, str | None, Recovery | None]:
        """Who generates, by which model and route, and who goes on when that breaks off."""
        if not isinstance(asked, GenerationRequest):
            return asked, OWN_MODEL, None, None
        # Before it is looked for: a model that may not be asked for is not there.
        if asked.model is not None:
            self.rights.check_model(principal, asked.model)
        choice = await self.models.resolve(asked.model)
        self.rights.check_model(principal, choice.name)
        asked = msgspec.structs.replace(self.limits.capped(principal, asked), principal=principal)
        return choice.source(asked), choice.name, choice.route, choice.recovery(asked, wrap)

    async def _recover(self, record: Record, asked: GenerationRequest) -> Recovery:
        """What continues the stream of another process."""
        choice = await self.models.resolve(record.model)
        return choice.recovery(asked)

    async def aclose(self) -> None:
        """End what still runs, stop what was started, close what is open."""
        await self.hub.aclose()
        await self.models.aclose()
        await self.pool.aclose()
        await self.store.aclose()


def _transformed(source: Source, transform: Transforms | Change) -> Source:
    return Transformed(source, made(transform))
