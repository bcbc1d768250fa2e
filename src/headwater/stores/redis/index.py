"""Lists of streams: those of a principal, those with a label. Newest first, whatever clocks say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from headwater.stores.base import Record
from headwater.stores.redis import scripts
from headwater.stores.redis.client import Client, call
from headwater.stores.redis.connection import Command
from headwater.stores.redis.keys import Keys

# Records read at once.
_BATCH: Final = 100

_decoder: Final = msgspec.json.Decoder(Record)


def read_record(record: bytes | None, node: bytes | None) -> Record | None:
    """A stored record, with the process that writes the stream now."""
    if record is None or node is None:
        return None
    return msgspec.structs.replace(_decoder.decode(record), node=node.decode())


def keep(lists: Sequence[str], stream: str, time_ms: int) -> list[Command]:
    """The commands that keep a stream in these lists for so long from now. They may run twice."""
    return [call(scripts.KEEP, (key,), stream, time_ms) for key in lists]


class Index:
    """Reads the lists. Each name in a list has its own time, and the list goes with the last one.

    A name whose time is over is removed by whatever next writes or reads its list.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def read(self, key: str, limit: int) -> list[Record]:
        """The first `limit` streams of a list that still are."""
        found: dict[str, Record] = {}
        start = 0
        while len(found) < limit:
            count = min(_BATCH, limit - len(found))
            [names] = await self._client.ask(call(scripts.LIST, (key,), start, count))
            if not names:
                break
            # A new stream moves the rest on: the same name may come again.
            found |= await self._records([name[1:].decode() for name in names])
            start += count
        return list(found.values())[:limit]

    async def _records(self, streams: Sequence[str]) -> dict[str, Record]:
        replies = await self._client.ask(
            *(("HMGET", self._keys.stream(stream)[0], "record", "node") for stream in streams)
        )
        records = {s: read_record(*reply) for s, reply in zip(streams, replies, strict=True)}
        return {stream: record for stream, record in records.items() if record is not None}
