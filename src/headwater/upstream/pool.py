"""Connections kept for the next request."""

from __future__ import annotations

import asyncio
from typing import Final

from headwater.errors import UpstreamError
from headwater.observe.logs import without_request
from headwater.upstream.connection import Connection
from headwater.upstream.dial import Dialler
from headwater.upstream.exchange import Exchange, Origin, Request, ResponseReceiver

# Below the idle time of nearly every server (Node 5 s is the exception, and the retry below serves
# it; uvicorn 5 s, nginx 75 s, the large providers 60 s or more).
_KEEP_S: Final = 50.0


class Pool:
    """Sends requests over kept or new connections. Belongs to one event loop.

    `connect_s` bounds name resolution, connecting and the TLS handshake together.
    """

    def __init__(self, *, connect_s: float = 5.0, dialler: Dialler | None = None) -> None:
        self._connect_s = connect_s
        self._dialler = dialler or Dialler()
        self._idle: dict[Origin, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, request: Request, receiver: ResponseReceiver) -> Exchange:
        """Begin the exchange; its receiver is called from the event loop from now on."""
        exchange = Exchange(request, receiver, self._dial)
        connection = self._kept(exchange.origin)
        if connection is not None:
            exchange.reused = True
            connection.start(exchange)
        else:
            self._dial(exchange)
        return exchange

    async def aclose(self) -> None:
        """Close what is idle and give up what is being dialled."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kept(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        now = asyncio.get_running_loop().time()
        while kept:
            connection = kept.pop()  # the newest first: it is the least likely to have been closed
            if connection.usable and now - connection.idle_since < _KEEP_S:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: Connection, origin: Origin) -> None:
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(_KEEP_S, self._close_old)

    def _close_old(self) -> None:
        """One timer for all: a connection is closed after one to two times `_KEEP_S`."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _KEEP_S
        for origin, kept in list(self._idle.items()):
            for connection in kept:
                if connection.idle_since <= oldest:
                    connection.abort()
            self._idle[origin] = [c for c in kept if c.usable and c.idle_since > oldest]
            if not self._idle[origin]:
                del self._idle[origin]
        self._sweep = loop.call_later(_KEEP_S, self._close_old) if self._idle else None

    def _dial(self, exchange: Exchange) -> None:
        exchange.reused = False
        task = asyncio.get_running_loop().create_task(
            self._connect(exchange), context=without_request()
        )
        exchange.dialling = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, exchange: Exchange) -> None:
        origin = exchange.origin
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._dialler.connect(
                    origin, lambda: Connection(lambda connection: self._keep(connection, origin))
                )
        except TimeoutError:
            message = f"No connection to {origin.authority} within {self._connect_s:g} s."
            exchange.end(UpstreamError("upstream_timeout", message))
        except UpstreamError as error:
            exchange.end(error)
        else:
            exchange.dialling = None
            if exchange.over:
                connection.abort()
            else:
                connection.start(exchange)
