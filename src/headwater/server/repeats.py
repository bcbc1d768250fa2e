"""What a repeated POST means: the stream that the first one began, never a second generation."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final

import msgspec

from headwater.adapters.bodies import label_of
from headwater.errors import HeadwaterError, RequestError, UnavailableError
from headwater.events import StreamError, encode
from headwater.position import Position
from headwater.runtime import Runtime
from headwater.stores.base import Record, Tail
from headwater.streams import Hub
from headwater.streams.finding import check_position
from headwater.wires.base import JSON, Wire

# How long a repeat waits for the first request, which may still ask which model there is.
_BEGINS_S: Final = 5.0
_LOOK_S: Final = 0.02
# Streams of the same body that are looked through for a position.
_LOOKED_AT: Final = 100
_LONGEST_KEY: Final = 255

Spoken = tuple[str, tuple[Any, ...]]


async def resumed(
    hub: Hub, label: str, principal: str | None, after: Position, spoken: Spoken
) -> tuple[Record, Position] | None:
    """The newest stream with this label that has the position, and where to read on.

    `spoken` is the request's wire with its options: those of a chat tell its requests apart.

    At its end its terminal event is read again: the caller's client repeats its POST until it has
    seen one. None when there is no such stream.
    """
    await hub.open()
    for record in await hub.store.labelled(label, _LOOKED_AT):
        if record.spoken != spoken:
            continue
        try:
            _, tail = await hub.find(record.stream, principal)
            await check_position(hub.store, record, after, tail)
        except HeadwaterError:  # dropped, trimmed, or without this position
            continue
        return record, _before_end(after, tail)
    return None


def _before_end(after: Position, tail: Tail) -> Position:
    if tail.closed and after == tail.last:
        return Position(after.epoch, after.seq - 1)
    return after


def nothing_to_resume(wire: Wire, options: tuple[Any, ...]) -> bytes:
    """The body of a response that is one error."""
    error = StreamError(
        "position_lost",
        "No stream of this request has the position in Last-Event-ID; ask again without it.",
        retryable=False,
        usage=None,
        timing=None,
    )
    return wire.fold(options).render(0, 0, [error], [encode(error)])


class Claim:
    """An `Idempotency-Key`: the first request with it begins `stream`, the others read it."""

    def __init__(self, runtime: Runtime, principal: str | None, path: str, key: str) -> None:
        if not key.isprintable() or not 0 < len(key) <= _LONGEST_KEY:
            raise RequestError(
                f"Idempotency-Key must have 1 to {_LONGEST_KEY} printable characters.",
                param="Idempotency-Key",
            )
        self._hub = runtime.hub
        self._key = label_of(principal, path, key.encode())
        self._principal = principal

    async def make(self, stream: str, body: JSON) -> Record | None:
        """None: this is the first, and is to begin `stream`. Else the stream of the first.

        `RequestError` (`idempotency_conflict`) when that one had another body.
        """
        await self._hub.open()
        canonical = msgspec.json.encode(body, order="deterministic")
        digest = hashlib.blake2b(canonical, digest_size=16).hexdigest()
        value = await self._hub.store.claim(self._key, f"{stream} {digest}")
        first, _, claimed = value.partition(" ")
        if claimed != digest:
            raise RequestError(
                "This Idempotency-Key was used for another request.",
                code="idempotency_conflict",
                param="Idempotency-Key",
            )
        return None if first == stream else await self._begun(first)

    async def drop(self) -> None:
        """What was claimed could not begin: the next request is a first one."""
        await self._hub.store.disclaim(self._key)

    async def _begun(self, stream: str) -> Record:
        try:
            async with asyncio.timeout(_BEGINS_S):
                while True:
                    record = await self._hub.store.record(stream)
                    if record is not None:
                        return record
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            await self.drop()  # its process died before it began anything
            raise UnavailableError(
                "overloaded",
                "The first request with this Idempotency-Key has begun nothing; ask again.",
                retry_after=1.0,
            ) from None
