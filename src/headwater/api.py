"""`Headwater`: settings in, streams out."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater import events as ev
from headwater.adapters.bridge import Bridge
from headwater.adapters.library import Question
from headwater.errors import ConfigurationError, RequestError
from headwater.generation import GenerationRequest
from headwater.models import ModelInfo
from headwater.observe import logs, observer_of_process
from headwater.providers.base import Source
from headwater.providers.iterator import Spawn, iterator_source
from headwater.runtime import Runtime, store_opener, wire_named
from headwater.settings import Settings, check_exposure, load
from headwater.wires.base import OnDisconnect
from headwater.wires.requests import chat_request

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from headwater.adapters.response import StreamResponse
    from headwater.server.auth import Authenticator, Owner

log = logging.getLogger("headwater.server")


class Headwater:
    """The streaming layer, as a library.

    Reads `headwater.toml` and the environment as the server does; keywords mirror the flags of
    `headwater serve` and beat both. `owner` names the principal of a request, for the routes that
    resume and stop. Made at import: it starts nothing until it is used, and is right after a fork.

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
        owner: Owner | None = None,
    ) -> None:
        flags = {
            "server.upstream": upstream,
            "server.host": host,
            "server.port": port,
            "server.workers": workers,
            "store.url": store,
        }
        # Read again when a server of ours is told that its keys have changed.
        self._load = partial(load, flags, config=Path(config) if config else None)
        self.settings: Settings = self._load()
        self.owner = owner
        self._runtimes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = (
            weakref.WeakKeyDictionary()
        )
        self._pid = os.getpid()
        self._metered = False  # whether somebody may ask for /metrics
        self._bridge: tuple[int, Bridge] | None = None
        self._lock = threading.Lock()

    def runtime(self) -> Runtime:
        """What serves the running event loop: made on first use, and anew after a fork."""
        if self._pid != os.getpid():
            self._runtimes.clear()
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        runtime = self._runtimes.get(loop)
        if runtime is None:
            runtime = self._runtimes[loop] = Runtime(
                self.settings, observer=observer_of_process(metered=self._metered)
            )
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
        store_opener(self.settings)
        logs.configure(self.settings.server.log_format, self.settings.server.log_level)
        auth = self._auth(served=True)
        renew = partial(self._renew, auth) if self.settings.auth.keys else None
        serve(self._app(auth), self.settings, self.runtime, on_ready=on_ready, renew=renew)

    def response(
        self,
        x: Question,
        *,
        model: str | None = None,
        wire: str = "plain",
        owner: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        **options: Any,
    ) -> StreamResponse:
        """A Starlette response that streams the answer to `x`, or what the generator `x` yields.

        `wire` is the wire it is spoken in; `owner` the principal who may resume and stop it;
        `on_disconnect` what happens when nobody reads ("cancel", "continue", or seconds), by
        default what suits the wire; `options` are sampling parameters. Errors known before the head
        is sent become statuses.
        """
        from headwater.adapters.response import StreamResponse
        from headwater.streams import Opened

        spoken = wire_named(wire)
        asked = self.asked(x, model, options)

        async def begin() -> Opened:
            runtime = self.runtime()
            stream = await runtime.generate(
                asked,
                principal=owner,
                on_disconnect=spoken.on_disconnect if on_disconnect is None else on_disconnect,
            )
            return Opened(runtime.hub, stream.record, stream)

        return StreamResponse(begin, spoken)

    async def stream(
        self, x: Question, *, model: str | None = None, **options: Any
    ) -> AsyncIterator[ev.Event]:
        """The events of the answer to `x`, the terminal event last.

        Leaving the loop cancels the upstream.
        """
        asked = self.asked(x, model, options)
        stream = await self.runtime().generate(asked, principal=None, on_disconnect="cancel")
        async for event in stream.events():
            yield event

    async def models(self) -> list[ModelInfo]:
        """Every model that can be named, those that can be used now marked so."""
        return await self.runtime().models.available()

    async def aclose(self) -> None:
        """Stop what serves the running event loop."""
        with suppress(KeyError):
            await self._runtimes.pop(asyncio.get_running_loop()).aclose()

    def _app(self, auth: Authenticator) -> ASGIApp:
        from headwater.server.app import create_app

        self._metered = True
        return create_app(self.settings, self.runtime, auth)

    def _auth(self, *, served: bool) -> Authenticator:
        from headwater.server.auth import Authenticator

        return Authenticator(self.settings.auth, owner=self.owner, served=served)

    def _renew(self, auth: Authenticator) -> frozenset[str]:
        """Read the keys again; who is no caller any more. A mistake changes nothing."""
        try:
            settings = self._load()
            check_exposure(settings)
            return auth.renew(settings.auth)
        except ConfigurationError as error:
            log.error("the keys stay as they were: %s", error.message)  # noqa: TRY400 - one line
            return frozenset()

    def asked(
        self, x: Question, model: str | None, options: dict[str, Any], spawn: Spawn | None = None
    ) -> GenerationRequest | Source:
        """What is to be generated. For adapters: `spawn` runs a sync generator beside the loop."""
        if isinstance(x, (str, list)):
            messages = [{"role": "user", "content": x}] if isinstance(x, str) else x
            return chat_request({**options, "model": model}, messages)
        if not _is_generator(x):
            raise RequestError(
                f"A prompt is a string or a list of messages, not {type(x).__name__}.",
                param="prompt",
            )
        if model is not None or options:
            raise RequestError("A generator of one's own takes no model and no options.")
        return iterator_source(x, spawn)


def _is_generator(x: object) -> bool:
    """Whether it may be someone's generator: what a client's JSON holds instead of text is not."""
    return isinstance(x, (AsyncIterable, Iterable)) and not isinstance(x, Mapping)
