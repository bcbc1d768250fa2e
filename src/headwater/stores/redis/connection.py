"""Connections to Redis: redis-py begins them, and on the busy ones we read and write ourselves.

redis-py knows addresses, TLS, AUTH and SELECT. Its commands cost 50 to 160 µs each, though, and an
append is on the path of every token: so what follows the handshake is a protocol of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
import redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from headwater.errors import ConfigurationError
from headwater.settings.store_url import resolved

log = logging.getLogger("headwater.stores.redis")

#: A command and its arguments, as they are.
Command = tuple[str | bytes | int, ...]
#: A command as it goes over the wire. hiredis declares it for a single argument.
pack: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]

#: What stands between us and Redis when it cannot be asked.
UNREACHABLE: Final = (RedisError, OSError, TimeoutError)

# The first attempt to connect again comes at once, the last ones this far apart, in seconds.
_BACKOFF_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)


_OPTIONS: Final = "redis-py does not know one of the options behind its ?, or takes another value"


class Dialler:
    """Connects to the Redis of a URL; a step of connecting takes at most `timeout_s`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        url = resolved(url, {})
        try:
            self._pool = ConnectionPool.from_url(url)
        except (ValueError, RedisError):
            # Without the cause: its message quotes the URL.
            raise ConfigurationError(f"store.url: {_OPTIONS}") from None
        # After the URL's own options: replies are read as bytes of version 2 of the protocol, and
        # who repeats a command decides that by what it does.
        self._pool.connection_kwargs.update(
            protocol=2, decode_responses=False, retry=Retry(NoBackoff(), 0)
        )
        self._pool.connection_kwargs.setdefault("socket_timeout", timeout_s)
        self._pool.connection_kwargs.setdefault("socket_connect_timeout", timeout_s)

    async def connect(self) -> AbstractConnection:
        """A new connection, past its handshake; raises one of `UNREACHABLE`."""
        try:
            connection: AbstractConnection = self._pool.make_connection()
        except TypeError:
            raise ConfigurationError(f"store.url: {_OPTIONS}") from None
        try:
            async with asyncio.timeout(2 * self.timeout_s):
                await connection.connect()
        except BaseException:
            await discard(connection)
            raise
        return connection


def transport_of(connection: AbstractConnection) -> asyncio.Transport | None:
    """What the connection writes to, while it is one. redis-py has only a private name for it."""
    try:
        writer = connection._writer
    except AttributeError as error:
        raise ConfigurationError(
            f"redis-py {redis.__version__} is not supported: AbstractConnection has no _writer; "
            "install the version that requirements/ names"
        ) from error
    return None if writer is None else cast(asyncio.Transport, writer.transport)


async def discard(connection: AbstractConnection) -> None:
    """Close a connection at once: a polite end of TLS would wait for a server that may be dead."""
    transport = transport_of(connection)
    if transport is not None:
        transport.abort()
    with contextlib.suppress(*UNREACHABLE):
        await connection.disconnect()


class Link(asyncio.Protocol):
    """One connection, from its handshake on.

    `on_replies` gets what one read brought, errors among it as `hiredis.ReplyError`; `on_lost` is
    called once, and nothing after it.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        on_replies: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        transport = transport_of(connection)
        if transport is None or transport.is_closing():
            raise ConnectionError("the connection was lost after its handshake")
        self._transport = transport
        self._connection = connection
        self._on_replies = on_replies
        self._on_lost: Callable[[], None] | None = on_lost
        self._reader = hiredis.Reader()
        self._closed = asyncio.get_running_loop().create_future()
        transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Send whole commands."""
        self._transport.write(data)

    def drop(self) -> None:
        """Give the connection up, with every reply that is still to come."""
        self._transport.abort()
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()

    async def aclose(self) -> None:
        """Wait until the socket is closed."""
        self.drop()
        # It cannot wait itself: its own protocol hears nothing any more.
        await self._connection.disconnect(nowait=True)
        if not self._closed.done():
            await asyncio.wait((self._closed,), timeout=1.0)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._on_lost is None:
            return
        replies = []
        try:
            self._reader.feed(data)
            gets = self._reader.gets
            while (reply := gets()) is not False:
                replies.append(reply)
        except hiredis.HiredisError:
            log.exception("what Redis sent cannot be read")
            self.drop()
            return
        if replies:
            self._on_replies(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop()
        if not self._closed.done():
            self._closed.set_result(None)


class Line:
    """Keeps one link: when it is lost, connects again until it succeeds.

    `on_up` is called with the store reachable and `link` set, `on_down` when `link` is gone.
    """

    def __init__(
        self,
        dialler: Dialler,
        on_up: Callable[[Link], None],
        on_replies: Callable[[list[Any]], None],
        on_down: Callable[[], None],
    ) -> None:
        self.link: Link | None = None
        self._dialler = dialler
        self._on_up = on_up
        self._on_replies = on_replies
        self._on_down = on_down
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect for the first time; raises one of `UNREACHABLE`."""
        link = await self._dial()
        self._task = asyncio.create_task(self._keep(link))

    async def aclose(self) -> None:
        """Close the link and connect no more."""
        while self._task is not None and not self._task.done():
            # Again and again: before Python 3.12 `wait_for`, which redis-py uses, may lose one.
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=0.1)

    async def _keep(self, link: Link) -> None:
        try:
            while True:
                began = asyncio.get_running_loop().time()
                await self._lost.wait()
                await link.aclose()
                lived = asyncio.get_running_loop().time() - began
                log.warning("lost a connection to Redis")
                link = await self._dial_again(int(lived < _BACKOFF_S[-1]))
        finally:
            if self.link is not None:
                await self.link.aclose()

    async def _dial_again(self, failed: int) -> Link:
        while True:
            wait = _BACKOFF_S[min(failed, len(_BACKOFF_S) - 1)]
            # Who waits for an answer must not be told that there is none while nobody asks.
            wait = min(wait, self._dialler.timeout_s / 4)
            # Many processes lose Redis at the same moment; they need not come back at the same.
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                return await self._dial()
            except Exception as error:
                failed += 1
                if failed == len(_BACKOFF_S):
                    log.warning("Redis cannot be reached: %s", type(error).__name__)

    async def _dial(self) -> Link:
        connection = await self._dialler.connect()
        try:
            link = Link(connection, self._on_replies, self._down)
        except BaseException:
            await discard(connection)
            raise
        self._lost.clear()
        self.link = link
        self._on_up(link)
        return link

    def _down(self) -> None:
        self.link = None
        self._lost.set()
        self._on_down()
