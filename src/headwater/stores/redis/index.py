"""Lists of streams: those of a principal, those with a label. Newest first, whatever clocks say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from headwater.stores.base import Record
from headwater.stores.redis.client import Client
from headwater.stores.redis.connection import Command
from headwater.stores.redis.keys import stream_keys

# Records read at once, and names looked at in one turn of tidying.
_BATCH: Final = 100

_decoder: Final = msgspec.json.Decoder(Record)


def read_record(record: bytes | None, node: bytes | None) -> Record | None:
    """A record as it is kept, and its owner of now."""
    if record is None or node is None:
        return None
    return msgspec.structs.replace(_decoder.decode(record), node=node.decode())


class Index:
    """Redis lists to which names of streams are put in front.

    A stream expires by itself and its name does not, so names without a stream are removed as they
    are met: by who reads a list, and by `tidy`, which goes round the lists that this process wrote.
    """

    def __init__(self, client: Client, expiry_ms: int) -> None:
        self._client = client
        self._expiry_ms = expiry_ms
        # Where tidying goes on in each list, counted from its old end.
        self._written: OrderedDict[str, int] = OrderedDict()

    def put(self, key: str, stream: str) -> list[Command]:
        """The commands that put a stream into a list."""
        self._written.setdefault(key, 0)
        return [("LPUSH", key, stream), ("PEXPIRE", key, self._expiry_ms)]

    async def read(self, key: str, limit: int) -> list[Record]:
        """The first `limit` streams of a list that still are."""
        found: dict[str, Record] = {}
        gone: list[str] = []
        start = 0
        while len(found) < limit:
            end = start + min(_BATCH, limit - len(found))
            [names] = await self._client.ask(("LRANGE", key, start, end - 1))
            if not names:
                break
            # What is put in front meanwhile moves the rest on: the same name may come again.
            found |= await self._records(names, gone)
            start = end
        await self._remove(key, gone)
        return list(found.values())[:limit]

    async def tidy(self) -> None:
        """Look at some names of one list, and keep it for as long as this process lives."""
        if not self._written:
            return
        key, done = self._written.popitem(last=False)
        names, _ = await self._client.ask(
            ("LRANGE", key, -done - _BATCH, -done - 1), ("PEXPIRE", key, self._expiry_ms)
        )
        if names:
            gone: list[str] = []
            await self._records(names, gone)
            await self._remove(key, gone)
            self._written.setdefault(key, done + len(names) - len(gone))
        elif done:
            self._written.setdefault(key, 0)

    async def _records(self, names: Sequence[bytes], gone: list[str]) -> dict[str, Record]:
        """The records there are; the names of the others are added to `gone`."""
        found: dict[str, Record] = {}
        streams = [name.decode() for name in names]
        replies = await self._client.ask(
            *(("HMGET", stream_keys(stream)[0], "record", "node") for stream in streams)
        )
        for stream, reply in zip(streams, replies, strict=True):
            record = read_record(*reply)
            if record is None:
                gone.append(stream)
            else:
                found[stream] = record
        return found

    async def _remove(self, key: str, streams: Sequence[str]) -> None:
        if streams:
            await self._client.ask(*(("LREM", key, 0, stream) for stream in streams))
