"""`Idempotency-Key`: the first request with it begins a stream, the others read that one."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import msgspec

from headwater.errors import RequestError, UnavailableError
from headwater.stores.base import Record
from headwater.streams.hub import Hub
from headwater.streams.opened import Opened

# How long a repeat waits for the first request, which may still ask which model there is: longer
# than that may take, or a first that is slow would be taken for one that has died.
_BEGINS_S: Final = 10.0
_LOOK_S: Final = 0.02
_LONGEST_KEY: Final = 255


def label_of(principal: str | None, path: str, body: bytes) -> str:
    """What the streams of the same caller, path and body have in common."""
    digest = hashlib.blake2b(f"{principal}\0{path}\0".encode(), digest_size=16)
    digest.update(body)
    return digest.hexdigest()


def digest_of(request: object) -> str:
    """A digest of a request's canonical JSON."""
    canonical = msgspec.json.encode(request, order="deterministic")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


async def is_claimed(hub: Hub, principal: str | None, path: str, key: str) -> bool:
    """Whether a request with this key has begun a stream before, whatever it asked for."""
    await hub.open()
    return await hub.store.claimed(_claim_key(principal, path, key)) is not None


class Claim:
    """A key of one principal on one path; `digest` tells requests with the same key apart."""

    def __init__(self, hub: Hub, principal: str | None, path: str, key: str, digest: str) -> None:
        self._hub = hub
        self._sound = key.isprintable() and 0 < len(key) <= _LONGEST_KEY
        self._key = _claim_key(principal, path, key)
        self._digest = digest

    async def make(self, stream: str) -> Record | None:
        """None: this is the first, and is to begin `stream`. Else the stream of the first.

        `RequestError` for what is no key, and (`idempotency_conflict`) when that one asked for
        something else.
        """
        if not self._sound:
            raise RequestError(
                f"Idempotency-Key must have 1 to {_LONGEST_KEY} printable characters.",
                param="Idempotency-Key",
            )
        await self._hub.open()
        value = await self._hub.store.claim(self._key, self._value(stream))
        first, _, claimed = value.partition(" ")
        if claimed != self._digest:
            raise RequestError(
                "This Idempotency-Key was used for another request.",
                code="idempotency_conflict",
                param="Idempotency-Key",
            )
        return None if first == stream else await self._begun(first)

    async def drop(self, stream: str) -> None:
        """`stream` could not begin: the next request is a first one, unless one is already."""
        await self._hub.store.disclaim(self._key, self._value(stream))

    def _value(self, stream: str) -> str:
        return f"{stream} {self._digest}"

    async def _begun(self, stream: str) -> Record:
        try:
            async with asyncio.timeout(_BEGINS_S):
                while True:
                    record = await self._hub.store.record(stream)
                    if record is not None:
                        return record
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            await self.drop(stream)  # its process died before it began anything
            raise UnavailableError(
                "overloaded",
                "The first request with this Idempotency-Key has begun nothing; ask again.",
                retry_after=1.0,
            ) from None


def _claim_key(principal: str | None, path: str, key: str) -> str:
    return label_of(principal, path, key.encode(errors="replace"))


async def reopened(hub: Hub, stream: str, principal: str | None) -> Opened:
    """A stream that was begun before, for whoever may read it."""
    record, tail = await hub.find(stream, principal)
    return Opened(hub, record, hub.live(record, tail))
