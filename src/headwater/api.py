"""`Headwater`: settings in, streams out."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self, Unpack, cast

from msgspec import structs

from headwater import events as ev
from headwater import stores, wires
from headwater.adapters.bridge import Bridge
from headwater.adapters.signals import drain_on_sigterm
from headwater.adapters.writer import StreamWriter
from headwater.errors import ConfigurationError, RequestError
from headwater.observe import logs, observer_of_process
from headwater.providers.base import Spawn
from headwater.providers.pushed import PushedSource
from headwater.requests.options import (
    GenerationOptions,
    ResponseOptions,
    check_on_disconnect,
    check_options,
    check_principal,
)
from headwater.requests.parsing import Question, StreamRequest, parse
from headwater.requests.pipeline import OWN_MODEL, begin, open_stream
from headwater.requests.reading import Reading, find
from headwater.requests.runtime import Runtime
from headwater.routing.models import ModelInfo
from headwater.settings import Settings, check_exposure, load
from headwater.streams import LocalStream
from headwater.streams.ending import EndCallback, OnEnd
from headwater.streams.generation import Generation, StreamOptions
from headwater.wires.base import OnDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

    from headwater.adapters.response import StreamResponse
    from headwater.server.auth import Authenticator, PrincipalOf

log = logging.getLogger("headwater.server")


class Headwater:
    """The streaming layer, as a library.

    Reads `headwater.toml` and the environment as the server does; keywords mirror the flags of
    `headwater serve` and beat both. `principal` gives the principal of a request, for the routes
    that resume and stop. `on_end` is called once for every stream that ends in this process,
    including those that a dead process left. `signals`: SIGTERM begins the drain, before
    the host's own handling of it, where the host has an event loop in its main thread. Made at
    import: it starts nothing until it is used, and is right after a fork. `async with hw`, in the
    lifespan of an app, begins at once and drains at the end.

    Raises `ConfigurationError` for settings that are wrong.
    """

    def __init__(
        self,
        *,
        config: str | Path | None = None,
        upstream: str | None = None,
        store: str | None = None,
        host: str | None = None,
        port: int | None = None,
        workers: int | None = None,
        anonymous: bool | None = None,
        principal: PrincipalOf | None = None,
        on_end: OnEnd | None = None,
        signals: bool = False,
    ) -> None:
        flags = {
            "server.upstream": upstream,
            "server.host": host,
            "server.port": port,
            "server.workers": workers,
            "store.url": store,
            "auth.anonymous": anonymous,
        }
        # Read again when a server of ours is told that its keys have changed.
        self._load = partial(load, flags, config=Path(config) if config else None)
        self.settings: Settings = self._load()
        self.principal = principal
        self._on_end = on_end
        self._signals = signals
        self._runtimes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = (
            weakref.WeakKeyDictionary()
        )
        #: While `serve` runs without keys: what callers send that are not this process's user.
        self.token: str | None = None
        self._pid = os.getpid()
        self._metered = False  # whether somebody may ask for /metrics
        self._bridge: tuple[int, Bridge] | None = None
        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        """Open the store, and go on with what dead processes left, before anybody asks.

        Otherwise the first use does so. `StorageError` when the store cannot be reached.
        """
        await self.runtime().hub.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drain, and close; whoever `on_end` tells is waited for."""
        await self.drain()
        await self.aclose()

    def runtime(self) -> Runtime:
        """What serves the running event loop: made on first use, and anew after a fork."""
        if self._pid != os.getpid():
            self._runtimes.clear()
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        runtime = self._runtimes.get(loop)
        if runtime is None:
            runtime = self._runtimes[loop] = Runtime(
                self.settings,
                observer=observer_of_process(metered=self._metered),
                on_end=None if self._on_end is None else EndCallback(self._on_end, self._spawner()),
            )
            if self._signals:
                drain_on_sigterm(loop, runtime.hub, self.settings.server.drain_s)
        return runtime

    def bridge(self) -> Bridge:
        """The loop beside a synchronous host: made on first use, and anew after a fork."""
        with self._lock:
            if self._bridge is None or self._bridge[0] != os.getpid():
                self._bridge = (os.getpid(), Bridge())
            return self._bridge[1]

    def asgi(self) -> ASGIApp:
        """Every endpoint as an ASGI application, to be mounted in one's own."""
        return self._app(self._auth(served=False))

    def serve(self, *, on_ready: Callable[[str], None] | None = None) -> None:
        """What `headwater serve` does: listen, and return after SIGINT or SIGTERM."""
        from headwater.server.lifecycle import serve

        check_exposure(self.settings)
        stores.check(self.settings)
        logs.configure(self.settings.server.log_format, self.settings.server.log_level)
        auth = self._auth(served=True)
        self.token = auth.token
        renew = partial(self._renew, auth) if self.settings.auth.keys else None
        serve(self._app(auth), self.settings, self.runtime, on_ready=on_ready, renew=renew)

    def response(self, question: Question, **options: Unpack[ResponseOptions]) -> StreamResponse:
        """A Starlette response that streams the answer to `question`.

        Args:
            question: a prompt, a list of messages, a `RequestBody`, or a generator.
            **options: those of `ResponseOptions`: the wire format, the principal, sampling
                parameters (`temperature=0.2`), `extra` members of the request, and more.

        A request that is repeated with its `Idempotency-Key` gets the stream of the first; one with
        `Last-Event-ID` gets the rest of it. Errors known before the head is sent become statuses.

        Raises:
            TypeError: there is no such keyword.
            ConfigurationError: a keyword or the question can never be right.

        """
        from starlette.datastructures import Headers

        from headwater.adapters.response import StreamResponse

        check_options("response()", options, ResponseOptions)
        wire = wires.get(options.get("wire", "plain"))
        try:
            request = parse(question, options)
        except RequestError as error:  # a client's mistake, as in any of its bodies
            return StreamResponse(partial(_refuse, error), wire)

        async def reading(scope: Scope) -> Reading:
            headers = Headers(scope=scope)
            head = structs.replace(
                request,
                path=scope["path"],
                key=headers.get("idempotency-key"),
                after=headers.get("last-event-id"),
            )
            return await open_stream(self.runtime(), head)

        return StreamResponse(reading, wire)

    def resume(
        self, stream: str, *, wire: str = "plain", principal: str | None = None
    ) -> StreamResponse:
        """A Starlette response that reads a stream that was begun before, wherever it is written.

        From its start, or behind the request's `Last-Event-ID` or `?after=`; a status where it is
        not the principal's, or has no such position.
        """
        from starlette.requests import Request

        from headwater.adapters.response import StreamResponse

        spoken = wires.get(wire)

        async def reading(scope: Scope) -> Reading:
            request = Request(scope)
            query = {"wire": wire, **request.query_params}
            return await find(
                self.runtime(), stream, principal, headers=request.headers, query=query
            )

        return StreamResponse(reading, spoken)

    async def stop(self, stream: str, *, principal: str | None = None) -> None:
        """Stop a stream, wherever it is written; returns when it has ended.

        `RequestError` when the principal has no such stream, `UnavailableError`
        (`stop_unconfirmed`) when the process that writes it does not answer.
        """
        await self.runtime().hub.stop(stream, principal)

    def start(
        self,
        *,
        model: str = OWN_MODEL,
        principal: str | None = None,
        on_disconnect: OnDisconnect = "continue",
        on_end: OnEnd | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> StreamWriter:
        """A stream to write piece by piece, in any process: `async with hw.start() as s`.

        `await s.text(…)` writes, `s.id` is what readers need; `with` does the same where there is
        no event loop. For readers in another process the store must be shared.
        """
        check_principal(principal)
        check_on_disconnect(on_disconnect)

        async def start(source: PushedSource) -> LocalStream:
            return await self.runtime().hub.start(
                Generation(source, model, timed="never"),
                StreamOptions(
                    principal=principal,
                    on_disconnect=on_disconnect,
                    metadata=metadata,
                    on_end=None if on_end is None else EndCallback(on_end),
                ),
            )

        return StreamWriter(start, self.bridge)

    async def stream(
        self, question: Question, **options: Unpack[GenerationOptions]
    ) -> AsyncIterator[ev.Event]:
        """The events of the answer to `question`, the terminal event last.

        The keywords are those of `GenerationOptions`. Leaving the loop cancels the upstream.
        """
        check_options("stream()", options, GenerationOptions)
        events = self._events(parse(question, cast(ResponseOptions, options)))
        async with aclosing(events):
            async for event in events:
                yield event

    def stream_sync(
        self, question: Question, **options: Unpack[GenerationOptions]
    ) -> Iterator[ev.Event]:
        """The same from a thread or greenlet: blocks for each event."""
        check_options("stream_sync()", options, GenerationOptions)
        bridge = self.bridge()
        events = self._events(
            parse(question, cast(ResponseOptions, options), spawn=bridge.host.spawner())
        )
        try:
            while (event := bridge.call(lambda: _next(events))) is not None:
                yield event
        finally:
            bridge.call(events.aclose)

    async def _events(self, request: StreamRequest) -> AsyncGenerator[ev.Event, None]:
        stream = await begin(self.runtime(), structs.replace(request, on_disconnect="cancel"))
        async with aclosing(stream.events()) as events:
            async for event in events:
                yield event

    async def drain(self, deadline_s: float | None = None) -> None:
        """Take no new streams, and return when those that run have ended, or at the deadline.

        At the deadline (`server.drain_s`) what still runs is left to other processes, where the
        store is shared; in memory it ends `interrupted`.
        """
        wanted = self.settings.server.drain_s if deadline_s is None else deadline_s
        await self.runtime().hub.drain(wanted)

    async def models(self) -> list[ModelInfo]:
        """Every model that can be named, those that can be used now marked so."""
        return await self.runtime().models.available()

    async def aclose(self) -> None:
        """Stop what serves the running event loop."""
        runtime = self._runtimes.pop(asyncio.get_running_loop(), None)
        if runtime is not None:
            await runtime.aclose()

    def _spawner(self) -> Spawn | None:
        """How a plain `on_end` is run beside the loop that runs now."""
        if self._bridge is None or self._bridge[1].loop is not asyncio.get_running_loop():
            return None
        return self._bridge[1].spawn

    def _app(self, auth: Authenticator) -> ASGIApp:
        from headwater.server.app import create_app

        self._metered = True
        return create_app(self.settings, self.runtime, auth)

    def _auth(self, *, served: bool) -> Authenticator:
        from headwater.server.auth import Authenticator
        from headwater.server.proxies import TrustedProxies
        from headwater.server.sessions import Sessions

        return Authenticator(
            self.settings.auth,
            principal=self.principal,
            served=served,
            sessions=Sessions(lambda: self.runtime().hub),
            proxies=TrustedProxies(self.settings.server.trusted_proxies),
        )

    def _renew(self, auth: Authenticator) -> frozenset[str]:
        """Read the keys again; who is no caller any more. A mistake changes nothing."""
        try:
            settings = self._load()
            check_exposure(settings)
            gone = auth.renew(settings.auth)
        except ConfigurationError as error:
            log.error("the keys stay as they were: %s", error.message)  # noqa: TRY400 - one line
            return frozenset()
        # Runtimes to come, of workers that are started again, are made of these settings.
        self.settings = structs.replace(self.settings, auth=settings.auth)
        for runtime in self._runtimes.values():
            runtime.rights.renew(settings.auth.keys)
        return gone


async def _refuse(error: RequestError, _: Scope) -> NoReturn:
    raise error


async def _next(events: AsyncIterator[ev.Event]) -> ev.Event | None:
    return await anext(events, None)
