"""A stop returns when the stream has ended, though another process took it over meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from headwater.errors import HeadwaterError, UnavailableError
from headwater.events import StreamError, TextDelta, encode
from headwater.events.position import Position
from headwater.settings import Settings, StoreSettings
from headwater.stores.sqlite import SqliteStore
from headwater.streams import Hub, Opened
from headwater.wires.native import WIRE as NATIVE
from tests.helpers.hub import begin
from tests.helpers.polling import eventually_async

LEASE_S = 0.5
SETTINGS = structs.replace(Settings(), store=StoreSettings(lease_s=LEASE_S))


class Other:
    """Another process: takes a stream over, and ends it on request."""

    def __init__(self, path: Path) -> None:
        self.heard: list[tuple[str, str]] = []
        self.store = SqliteStore(path, lease_s=60)
        self._last = Position(2, 0)

    async def take(self, hub: Hub, stream: str) -> None:
        await self.store.open(lambda note, stream, _: self.heard.append((note, stream)))
        assert await self.store.takeover(stream, hub.store.node) is not None

    async def end(self, stream: str) -> None:
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        end = encode(StreamError("interrupted", "It died.", True, None, None))
        self.store.append(stream, self._last, Position(2, 1), end, True, done.set_result)
        assert await done == "ok"


def test_one_that_another_process_has_is_not_stopped_by_leaving_it(tmp_path: Path) -> None:
    async def run() -> None:
        hub = Hub(SETTINGS, SqliteStore(tmp_path / "s.db", lease_s=LEASE_S))
        other = Other(tmp_path / "s.db")
        stream, source = await begin(hub)
        source.say(TextDelta("Hi"))
        await eventually_async(lambda: stream.feed.position.seq == 2)
        await other.take(hub, stream.id)
        with pytest.raises(UnavailableError) as refused:
            await hub.stop(stream.id, "me")
        assert refused.value.code == "stop_unconfirmed"
        assert refused.value.retryable
        assert source.cancelled
        assert ("stop", stream.id) in other.heard
        await other.end(stream.id)
        await hub.stop(stream.id, "me")
        await hub.aclose()
        await other.store.aclose()
        await hub.store.aclose()

    asyncio.run(run())


def test_a_whole_answer_is_read_to_its_end_there(tmp_path: Path) -> None:
    async def run() -> None:
        hub = Hub(SETTINGS, SqliteStore(tmp_path / "s.db", lease_s=LEASE_S))
        other = Other(tmp_path / "s.db")
        stream, source = await begin(hub)
        whole = asyncio.ensure_future(Opened(hub, stream.record, stream).whole(NATIVE.format()))
        await other.take(hub, stream.id)
        source.say(TextDelta("Hi"))  # refused: it leaves the stream
        await eventually_async(lambda: stream.feed.ended)
        await other.end(stream.id)
        with pytest.raises(HeadwaterError) as error:
            async with asyncio.timeout(10):
                await whole
        assert error.value.code == "interrupted"
        await hub.aclose()
        await other.store.aclose()
        await hub.store.aclose()

    asyncio.run(run())
