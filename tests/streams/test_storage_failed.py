"""What could not be stored was not delivered: its readers are told, or cut, and nobody spins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headwater import wires
from headwater.events import TextDelta
from headwater.events.position import Position
from headwater.settings import Settings
from headwater.stores.base import Appended, Entry
from headwater.stores.memory import MemoryStore
from headwater.streams import Hub
from headwater.wires.base import Wire
from tests.helpers.hub import BucketSink, begin
from tests.helpers.polling import eventually_async


class FullDisk(MemoryStore):
    """Takes appends until it is full."""

    full = False
    reads = 0

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        if self.full:
            return "failed"
        return super().append(stream, prev, last, data, closes, done)

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        self.reads += 1
        return await super().read(stream, after, limit)


@pytest.mark.parametrize("wire", [wires.get(name) for name in wires.names()], ids=wires.names())
def test_readers_are_told_without_a_position_and_the_upstream_is_freed(wire: Wire[Any]) -> None:
    async def run() -> None:
        store = FullDisk()
        hub = Hub(Settings(), store)
        stream, source = await begin(hub)
        sink = BucketSink()
        hub.read(stream.id, wire.format(), sink)
        source.say(TextDelta("stored"))
        before = sink.data
        store.full = True
        source.say(TextDelta("lost"))
        assert source.cancelled
        assert sink.closed
        said = sink.data.removeprefix(before)
        assert b"lost" not in said
        assert b"id:" not in said
        assert b"cannot be written" in said

    asyncio.run(run())


def test_a_reader_who_was_behind_is_cut_and_does_not_spin() -> None:
    async def run() -> None:
        store = FullDisk()
        hub = Hub(Settings(), store)
        stream, source = await begin(hub)
        sink = BucketSink(room=1)
        hub.read(stream.id, wires.get("native").format(), sink)
        source.say(TextDelta("a"))
        store.full = True
        source.say(TextDelta("b"))
        sink.empty(1 << 30)
        await eventually_async(lambda: sink.aborted or sink.closed)
        assert sink.aborted  # what it has is not the whole: it must not take it for that
        reads = store.reads
        for _ in range(100):
            await asyncio.sleep(0)
        assert store.reads == reads

    asyncio.run(run())
