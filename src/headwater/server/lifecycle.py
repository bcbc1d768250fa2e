"""From sockets to signals: a server that starts, says where it is, and drains before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
from collections.abc import Callable, Collection
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from headwater.errors import ConfigurationError, HeadwaterError
from headwater.observe import shared_metrics
from headwater.requests.runtime import Runtime
from headwater.server.descriptors import Descriptors
from headwater.server.protocol import StreamProtocol
from headwater.server.supervisor import Supervisor
from headwater.settings import Settings

log = logging.getLogger("headwater.server")

# Longer than proxies keep idle connections to us (nginx: 60 s), or they would send requests into
# connections that are being closed.
_KEEP_ALIVE_S = 75
# Beyond the drain: readers that do not take their last bytes do not keep the process.
_LAST_BYTES_S = 2.0


def serve(
    app: ASGIApp,
    settings: Settings,
    runtime: Callable[[], Runtime],
    *,
    on_ready: Callable[[str], None] | None = None,
    renew: Callable[[], Collection[str]] | None = None,
) -> None:
    """Serve `app` until SIGINT or SIGTERM; `on_ready` is told the URL once connections are taken.

    With several workers each is a process of its own, and one of them tells. At SIGHUP `renew`
    reads the keys again and says who is no caller any more; their streams are stopped.
    `HeadwaterError` when the address cannot be listened on.
    """
    sock = _listen(settings.server.host, settings.server.port)
    if settings.server.workers == 1:
        _work(app, settings, runtime, sock, on_ready, renew)
        return

    def work(number: int, alive: int) -> None:
        _work(app, settings, runtime, sock, on_ready if number == 0 else None, renew, alive)

    with shared_metrics() as forget:
        Supervisor(settings.server.workers, work, forget, renew).run()


def _work(
    app: ASGIApp,
    settings: Settings,
    runtime: Callable[[], Runtime],
    sock: socket.socket,
    on_ready: Callable[[str], None] | None,
    renew: Callable[[], Collection[str]] | None,
    alive: int | None = None,
) -> None:
    """One process. It stops, too, when there is something to be read from `alive`, or its end."""
    config = uvicorn.Config(
        app,
        http=cast(
            type[StreamProtocol],
            partial(StreamProtocol, write_timeout_s=settings.limits.write_timeout_s),
        ),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,  # `observe.logs` writes its warnings too
        log_level="warning",
        server_header=False,
        callback_notify=Descriptors().check,
        timeout_notify=1,
        proxy_headers=False,  # what they claim is for `auth` to see, not to be believed
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.server.drain_s + _LAST_BYTES_S) + 1,
    )
    server = _Server(config, settings, runtime, on_ready, renew, alive)
    # uvicorn raises the signal that ended it once more; being asked to stop is not a failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[sock])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        runtime: Callable[[], Runtime],
        on_ready: Callable[[str], None] | None,
        renew: Callable[[], Collection[str]] | None,
        alive: int | None,
    ) -> None:
        super().__init__(config)
        self._alive = alive
        self._settings = settings
        self._runtime = runtime
        self._on_ready = on_ready
        self._renew = renew

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._alive is not None:
            asyncio.get_running_loop().add_reader(self._alive, self._left_alone)
        if self._renew is not None and hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._revoke, self._renew)
            self._revoke(self._renew)  # the signal may have come before there was a handler
        try:
            await self._runtime().hub.open()  # what dead processes left is ended now
        except ConfigurationError:
            raise
        except HeadwaterError as error:
            log.warning("%s New streams are refused until the store is there.", error.message)
        _calm_collector()
        if self._on_ready is not None and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn tells open streams nothing of a shutdown; the drain does, while it waits."""
        runtime, drain_s = self._runtime(), self._settings.server.drain_s
        drain = asyncio.create_task(runtime.hub.drain(drain_s))
        # Before uvicorn cancels what is left, which it tells as failures of the application.
        cut = asyncio.get_running_loop().call_later(drain_s + _LAST_BYTES_S, self._cut)
        await super().shutdown(sockets)
        cut.cancel()
        if self.force_exit:
            drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        await runtime.aclose()

    def _revoke(self, renew: Callable[[], Collection[str]]) -> None:
        self._runtime().hub.revoke(renew())

    def _left_alone(self) -> None:
        """The supervisor has died, or been killed."""
        if self._alive is not None:
            asyncio.get_running_loop().remove_reader(self._alive)
        self.should_exit = True

    def _cut(self) -> None:
        """Leave the readers who do not take their last bytes."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _calm_collector() -> None:
    """Let the cyclic collector run for what a thousand streams leave, not for every few tokens.

    What exists after start lives as long as the process; what streams make is freed by counting.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            why = "something else listens there: stop it, or take another --port"
        raise HeadwaterError("internal", f"cannot listen on {host}:{port}: {why}") from error
    sock.setblocking(False)
    return sock
