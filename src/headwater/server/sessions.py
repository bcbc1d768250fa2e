"""Sessions of the page: a cookie that no script can read, in place of a key.

The cookie is a random number that says nothing; whose it is, the store knows, under its SHA-256.
So there is no secret with which to make one, a process that shares the store knows it, and a
session that has ended is over for every copy of its cookie.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from headwater.errors import HeadwaterError
from headwater.requests.limits import Bucket
from headwater.server.keys import Keys
from headwater.stores.base import Store
from headwater.streams import Hub

#: A working day and a night: longer than a conversation, short enough to be lost.
LASTS_S: Final = 12 * 3600

_BYTES: Final = 32
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
# Each is kept for 12 hours: a key that is held down must not fill the store.
_PER_MINUTE: Final = 60


class _Session(msgspec.Struct, frozen=True):
    """As it is in the store. `expires` is Unix time in seconds; `mark` ends it with its key."""

    name: str
    mark: str
    expires: int


class Sessions:
    """Begins, knows and ends sessions, in the store of the running event loop's hub."""

    def __init__(self, hub: Callable[[], Hub]) -> None:
        self._hub = hub
        self._begun: dict[str, Bucket] = {}

    async def begin(self, name: str, keys: Keys) -> str:
        """The value of the cookie of a new session of `name`, whose key was sent.

        `HeadwaterError` (`rate_limited`) when a key begins more than 60 a minute.
        """
        self._admit(name)
        value = secrets.token_urlsafe(_BYTES)
        session = _Session(name, keys.mark(name) or "", int(time.time()) + LASTS_S)
        store = await self._store()
        await store.claim(_claim(value), msgspec.json.encode(session).decode(), LASTS_S)
        return value

    async def name_of(self, value: str, keys: Keys) -> str | None:
        """Whose session it is; None when there is none, and when its key is not known any more."""
        if _VALUE.fullmatch(value) is None:
            return None
        held = await (await self._store()).claimed(_claim(value))
        if held is None:
            return None
        session = msgspec.json.decode(held, type=_Session)
        over = session.expires <= time.time() or session.mark != keys.mark(session.name)
        return None if over else session.name

    async def end(self, value: str) -> None:
        """End a session, wherever it was begun; nothing when there is none."""
        if _VALUE.fullmatch(value) is None:
            return
        store = await self._store()
        held = await store.claimed(_claim(value))
        if held is not None:
            await store.disclaim(_claim(value), held)

    async def _store(self) -> Store:
        hub = self._hub()
        await hub.open()
        return hub.store

    def _admit(self, name: str) -> None:
        now = time.monotonic()
        bucket = self._begun.setdefault(name, Bucket(_PER_MINUTE, now))
        wait = bucket.wait(1, now)
        if wait:
            raise HeadwaterError(
                "rate_limited", "This key begins too many sessions.", retry_after=wait
            )
        bucket.draw(1, now)


def _claim(value: str) -> str:
    return f"session:{hashlib.sha256(value.encode()).hexdigest()}"
