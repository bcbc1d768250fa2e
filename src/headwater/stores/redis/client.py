"""What is asked and awaited: a few commands in one write, their replies in one go."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as LostError

from headwater.errors import ConfigurationError, StorageError
from headwater.stores.redis.connection import (
    UNREACHABLE,
    Command,
    Dialler,
    discard,
    pack,
    transport_of,
)
from headwater.stores.redis.scripts import ALL, Script
from headwater.timers import HELD_S

log = logging.getLogger("headwater.stores.redis")

_OLDEST: Final = (6, 2)
# Reads of long logs must not keep a lease from being renewed, nor a crowd of readers open a
# connection each.
_CONNECTIONS: Final = 16


def call(script: Script, keys: tuple[str, ...], *arguments: str | bytes | int) -> Command:
    """The command that runs a script."""
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)


class Client:
    """Connections that are used by one at a time and kept.

    A connection whose replies were not all read is closed: the next to use it would be given
    another caller's. A question waits for a connection for at most `turn_s`, and then for its
    answer for at most `timeout_s`: `StorageError` (`store_unavailable`) is raised after that.
    Commands are such as may run twice.
    """

    def __init__(self, dialler: Dialler, timeout_s: float, turn_s: float = 5.0) -> None:
        self._dialler = dialler
        self._timeout_s = timeout_s
        self._turn_s = turn_s
        self._kept: list[AbstractConnection] = []
        self._room = asyncio.Semaphore(_CONNECTIONS)

    async def check(self) -> None:
        """See that this is a Redis we can work with; `ConfigurationError` when it is not."""
        try:
            connection = await self._dialler.connect()
        except AuthenticationError as error:
            raise ConfigurationError(
                "store.url: Redis does not accept its user and password"
            ) from error
        except UNREACHABLE as error:
            raise unavailable() from error
        self._kept.append(connection)
        [info] = await self.ask(("INFO",))
        _check(dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line))
        await self._load()

    async def ask(self, *commands: Command) -> list[Any]:
        """Send the commands together; a reply each, in order."""
        # A burst of streams that begin waits here: that is no sign that Redis does not answer.
        try:
            async with asyncio.timeout(self._turn_s):
                await self._room.acquire()
        except TimeoutError as error:
            log.warning("no connection to Redis was free for %.1f s", self._turn_s)
            raise unavailable() from error
        try:
            return await self.ask_now(*commands)
        finally:
            self._room.release()

    async def ask_now(self, *commands: Command) -> list[Any]:
        """As `ask`, on a connection beyond those that questions share: a lease waits for none."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._timeout_s
        try:
            return await self._in_time(commands)
        except StorageError:
            if loop.time() - due < HELD_S:
                raise
        return await self._in_time(commands)  # the answers were there, and the loop held up

    async def _in_time(self, commands: tuple[Command, ...]) -> list[Any]:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    replies = await self._ask(commands)
                except NoScriptError:
                    await self._load()
                    replies = await self._ask(commands)
        except UNREACHABLE as error:
            log.warning("Redis could not be asked: %s", type(error).__name__)
            await self.aclose()  # they may lead to a server that is not the master any more
            raise unavailable() from error
        if task is not None and task.cancelling() > before:
            # Before Python 3.12 `wait_for`, which redis-py uses, may lose a cancellation.
            raise asyncio.CancelledError
        return replies

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._kept:
            await discard(self._kept.pop())

    async def _load(self) -> None:
        await self._ask([("SCRIPT", "LOAD", script.source) for script in ALL])

    async def _ask(self, commands: Any) -> list[Any]:
        data = b"".join([pack(command) for command in commands])
        while self._kept:
            try:
                return await self._exchange(self._kept.pop(), data, len(commands))
            except LostError:
                continue  # Redis may have closed it while nobody looked
        return await self._exchange(await self._dialler.connect(), data, len(commands))

    async def _exchange(self, connection: AbstractConnection, data: bytes, count: int) -> list[Any]:
        transport = transport_of(connection)
        try:
            await connection.send_packed_command(data)
            replies = [await connection.read_response() for _ in range(count)]
        except BaseException:
            if transport is not None:
                transport.abort()  # redis-py has forgotten it by now, and closes it politely
            await discard(connection)
            raise
        self._kept.append(connection)
        return replies


def unavailable() -> StorageError:
    """What a caller is told when Redis cannot be asked."""
    return StorageError("store_unavailable", "The store cannot be asked now. Try again.")


# What an operator does about an error: by its class, and by its code in the text of what a script
# met before Redis 7.
_REMEDIES: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (OutOfMemoryError, "OOM", "Redis is full: raise its maxmemory, or lower store.ttl_s."),
    (
        NoPermissionError,
        "NOPERM",
        "Redis refuses a command or a key to its user: allow them in the user's ACL.",
    ),
    (
        AuthenticationError,
        "NOAUTH",
        "Redis does not accept its user and password: check those of store.url.",
    ),
    (ReadOnlyError, "READONLY", "Redis is a replica: let store.url name the master."),
    (BusyLoadingError, "LOADING", "Redis is still loading its data: wait."),
    (
        MasterDownError,
        "MISCONF",
        "Redis takes no writes: its own log says why.",
    ),
)


def remedy(error: BaseException | None) -> str:
    """Why Redis could not be asked and what to do; holds nothing of `store.url`."""
    text = str(error)
    for kind, code, what in _REMEDIES:
        if isinstance(error, kind) or re.search(rf"(?:^|\W){code}\b", text):
            return what
    return "Redis does not answer: check that it runs, and that store.url names it."


def _check(info: dict[str, str]) -> None:
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < _OLDEST:
        raise ConfigurationError(f"store.url: Redis 6.2 or newer is needed, this is {version}")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        log.warning(
            "Redis drops keys when its memory is full (maxmemory-policy %s): running streams may "
            "be lost. Set it to noeviction.",
            policy,
        )
