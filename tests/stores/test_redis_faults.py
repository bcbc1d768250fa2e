"""What Redis and the way to it can do to a store: stop, die, forget, refuse, cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from headwater.errors import StorageError
from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Note, Record, Tail
from headwater.stores.redis import RedisStore
from tests.helpers.cutting import cutting
from tests.helpers.polling import eventually_async
from tests.helpers.redis import RedisServer, redis_server

pytestmark = pytest.mark.system

Heard = list[tuple[Note, str, str]]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def store_of(
    server: RedisServer, heard: Heard | None = None, *, port: int | None = None, **options: Any
) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"redis://127.0.0.1:{port or server.port}/0", **options)
    await store.open(lambda *note: heard.append(note) if heard is not None else None)
    try:
        yield store
    finally:
        await store.aclose()


class Writer:
    """Writes one log without waiting, as a producer does."""

    def __init__(self, store: RedisStore, stream: str) -> None:
        self.store = store
        self.stream = stream
        self.seq = 0
        self.answers: list[Appended] = []
        self._news = asyncio.Event()

    async def create(self) -> Writer:
        await self.store.create(Record(self.stream, "me", "model", 1, node=self.store.node))
        return self

    def write(self, count: int = 1, *, closes: bool = False) -> None:
        for _ in range(count):
            prev = Position(1, self.seq) if self.seq else START
            self.seq += 1
            data = b"%d" % self.seq
            last = Position(1, self.seq)
            self.store.append(self.stream, prev, last, data, closes, self._done)

    def _done(self, answer: Appended) -> None:
        self.answers.append(answer)
        self._news.set()

    async def answered(self, within_s: float = 20.0) -> Sequence[Appended]:
        async with asyncio.timeout(within_s):
            while len(self.answers) < self.seq:
                self._news.clear()
                await self._news.wait()
        await asyncio.sleep(0.02)
        assert len(self.answers) == self.seq
        return self.answers

    async def check_exactly_once(self) -> None:
        """Everything was taken, in order, once."""
        assert set(await self.answered()) <= {"ok", "duplicate"}
        entries = await self.store.read(self.stream, START, 1 << 30)
        assert entries == [Entry(Position(1, n), b"%d" % n) for n in range(1, self.seq + 1)]


async def refused(awaitable: Awaitable[Any]) -> float:
    """Wait for the store to say that it cannot be asked; how long it took, in seconds."""
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        await awaitable
    assert caught.value.code == "store_unavailable"
    return time.monotonic() - began


# Redis is away


def test_fault_46_redis_stops_for_a_moment_and_nothing_is_lost(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server, lease_s=4.0) as store:
            writers = [await Writer(store, f"s{number}").create() for number in range(3)]
            for writer in writers:
                writer.write(5)
                await writer.answered()
            with server.stopped():
                for writer in writers:
                    writer.write(5)
                # Past the point where the connection is given up for another one: what waits in
                # the old one's buffers is then taken twice, and must not be there twice.
                await asyncio.sleep(2.6)  # the outage itself
                for writer in writers:
                    writer.write(5)
                    assert len(writer.answers) == 5
            for writer in writers:
                writer.write(1, closes=True)
                await writer.check_exactly_once()
                assert await store.tail(writer.stream) == Tail(Position(1, 16), True)

    asyncio.run(run())


def test_fault_46_redis_stops_for_too_long_and_all_that_wait_are_told(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server, lease_s=1.0) as store:
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            with server.stopped():
                began = time.monotonic()
                writer.write(4)
                assert (await writer.answered(5.0))[3:] == ["failed"] * 4
                assert 0.9 < time.monotonic() - began < 2.0
                writer.write(1)  # and again, also while it is known to be away
                assert (await writer.answered(5.0))[7:] == ["failed"]
                for question in (store.tail("s"), store.create(Record("t", "me", "model", 1)),
                                 store.beat(), store.orphans(), store.takeover("s", "x"),
                                 store.claim("key", "value"), store.list("me", 1)):  # fmt: skip
                    assert await refused(question) < 1.0

            async def works() -> bool:
                try:
                    return await store.tail("s") is not None
                except StorageError:
                    return False

            await eventually_async(works)
            after = await Writer(store, "after").create()
            after.write(3, closes=False)
            await after.check_exactly_once()
            # What failed was sent: it may be there, but then in order and once.
            entries = await store.read("s", START, 1 << 30)
            assert entries is not None
            assert [entry.last.seq for entry in entries] == list(range(1, len(entries) + 1))

    asyncio.run(run())


def test_fault_46_redis_dies_and_comes_back_empty(server: RedisServer) -> None:
    async def run() -> None:
        heard: Heard = []
        async with store_of(server, heard) as store, store_of(server) as other:
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            server.kill()
            writer.write(3)
            await refused(store.tail("s"))
            await refused(store.create(Record("t", "me", "model", 1)))
            await asyncio.sleep(0.2)
            assert len(writer.answers) == 3
            await asyncio.to_thread(server.start)
            assert (await writer.answered())[3:] == ["gone"] * 3
            assert await store.tail("s") is None
            assert await store.read("s", START, 1) is None
            assert await store.list("me", 9) == []
            after = await Writer(store, "after").create()
            after.write(3, closes=False)
            await after.check_exactly_once()
            await store.beat()
            assert await other.orphans() == []

            async def told() -> bool:
                other.send(store.node, "wake", "after")
                return bool(heard)

            await eventually_async(told)

    asyncio.run(run())


def test_redis_need_not_be_there_first() -> None:
    async def run() -> None:
        with redis_server(running=False) as server:
            store = RedisStore(server.url)
            await refused(store.open(lambda *note: None))
            await asyncio.to_thread(server.start)
            await store.open(lambda *note: None)
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.check_exactly_once()
            await store.aclose()

    asyncio.run(run())


def test_what_waits_when_the_store_is_closed_is_answered(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server, lease_s=1.0) as store:
            writer = await Writer(store, "s").create()
            writer.write(100)
        assert writer.answers == ["ok"] * 100
        writer.write(1)
        assert (await writer.answered())[100:] == ["failed"]
        async with store_of(server, lease_s=1.0) as store:
            waiting = await Writer(store, "t").create()
            with server.stopped():
                waiting.write(5)
                began = time.monotonic()
                await store.aclose()
                assert time.monotonic() - began < 2.0
                assert waiting.answers == ["failed"] * 5

    asyncio.run(run())


# the connection breaks


@pytest.mark.parametrize("seed", range(12))
def test_fault_46_cut_at_any_byte_and_every_entry_is_there_once(
    server: RedisServer, seed: int
) -> None:
    async def run() -> None:
        chance = random.Random(seed)
        async with cutting(server.port) as proxy, store_of(server, port=proxy.port) as store:
            writers = [await Writer(store, f"s{number}").create() for number in range(3)]
            proxy.arm(chance, chance.choice([1500, 5000, 20000]))
            for _ in range(40):
                for writer in chance.sample(writers, k=chance.randrange(1, 4)):
                    writer.write(chance.choice([1, 1, 2, 10]))
                await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))
                if proxy.cuts > 12:
                    break
            proxy.disarm()
            for writer in writers:
                writer.write(1, closes=True)
                await writer.check_exactly_once()
            assert proxy.cuts > 0

    (uvloop.run if seed % 2 else asyncio.run)(run())


def test_a_connection_that_died_in_silence_is_given_up(server: RedisServer) -> None:
    async def run() -> None:
        heard: Heard = []
        async with (
            cutting(server.port) as proxy,
            store_of(server, heard, port=proxy.port, lease_s=3.0) as store,
            store_of(server) as other,
        ):
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            proxy.silence()
            writer.write(3)
            began = time.monotonic()
            await writer.answered()
            assert 1.0 < time.monotonic() - began < 2.5
            await refused(store.tail("s"))  # whether this was asked, too, nobody knows
            await writer.check_exactly_once()

            async def told() -> bool:
                with contextlib.suppress(StorageError):
                    await store.beat()
                other.send(store.node, "wake", "s")
                return bool(heard)

            await eventually_async(told)

    asyncio.run(run())


def test_clients_are_killed_by_redis(server: RedisServer) -> None:
    async def run() -> None:
        heard: Heard = []
        async with store_of(server, heard) as store, store_of(server) as other:
            writer = await Writer(store, "s").create()
            with server.client() as client:
                for round_ in range(30):
                    writer.write(5)
                    await asyncio.sleep(0.002 if round_ % 2 else 0)
                    if round_ % 5 == 0:
                        client.client_kill_filter(_type="normal", skipme=True)
                        assert await store.tail("s") is not None
                await writer.check_exactly_once()
                client.client_kill_filter(_type="pubsub", skipme=True)

            async def told() -> bool:
                other.send(store.node, "wake", "s")
                return bool(heard)

            await eventually_async(told)

    asyncio.run(run())


def test_fault_48_a_cancelled_question_leaves_no_reply_to_the_next(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server) as store:
            for name in ("a", "b"):
                writer = await Writer(store, name).create()
                writer.write(2 if name == "a" else 5)
                await writer.answered()
            for round_ in range(30):
                asked = asyncio.create_task(store.read("a", START, 1 << 30))
                await asyncio.sleep(0)
                if round_ % 2:
                    await asyncio.sleep(0.0002)
                asked.cancel()
                assert await store.tail("b") == Tail(Position(1, 5), False)
            with server.stopped():
                asked = asyncio.create_task(store.read("a", START, 1 << 30))
                await asyncio.sleep(0.05)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            assert await store.tail("b") == Tail(Position(1, 5), False)

    asyncio.run(run())


# Redis has forgotten, or is another one


def _lose_last(client: Any) -> None:
    [(last, _)] = client.xrevrange("hw:{s}:log", count=1)
    client.xdel("hw:{s}:log", last)


@pytest.mark.parametrize(
    ("lose", "answer"),
    [
        pytest.param(lambda client: client.xtrim("hw:{s}:log", 0), "gap", id="all entries"),
        pytest.param(_lose_last, "gap", id="the last entry"),
        pytest.param(lambda client: client.delete("hw:{s}:log"), "gone", id="the log"),
        pytest.param(lambda client: client.delete("hw:{s}"), "gone", id="what it is"),
        pytest.param(lambda client: client.flushall(), "gone", id="everything"),
    ],
)
def test_fault_47_a_lost_tail_is_never_written_over(
    server: RedisServer, lose: Callable[[Any], None], answer: Appended
) -> None:
    async def run() -> None:
        async with store_of(server) as store:
            writer = await Writer(store, "s").create()
            writer.write(5)
            await writer.answered()
            with server.client() as client:
                lose(client)
            before = await store.read("s", START, 1 << 30)
            writer.write(3)
            assert (await writer.answered())[5:] == [answer] * 3
            assert await store.read("s", START, 1 << 30) == before
            if answer == "gone":
                assert await store.tail("s") is None
                assert before is None
                assert await store.takeover("s", store.node) is None

    asyncio.run(run())


def test_fault_47_an_older_copy_takes_over(server: RedisServer) -> None:
    """The replica had not heard of the last entries: readers see where the log really ends."""

    async def run() -> None:
        async with store_of(server) as store:
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            with server.client() as client:
                copies = {key: client.dump(key) for key in (b"hw:{s}", b"hw:{s}:log")}
                writer.write(1)
                writer.write(1, closes=True)
                await writer.answered()
                for key, copy in copies.items():
                    client.restore(key, 60_000, copy, replace=True)
            assert await store.tail("s") == Tail(Position(1, 3), False)
            writer.write(1)
            assert (await writer.answered())[5:] == ["gap"]
            assert await store.tail("s") == Tail(Position(1, 3), False)

    asyncio.run(run())


def test_fault_47_a_master_that_steps_down_is_waited_for(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server) as store:
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            with server.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", "1")
                writer.write(3)
                await asyncio.sleep(0.2)
                assert len(writer.answers) == 3
                await refused(store.create(Record("t", "me", "model", 1)))
                client.execute_command("REPLICAOF", "NO", "ONE")
            await writer.check_exactly_once()

    asyncio.run(run())


def test_scripts_that_redis_has_forgotten_are_loaded_again(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server) as store:
            writer = await Writer(store, "s").create()
            with server.client() as client:
                for round_ in range(20):
                    writer.write(20)
                    client.script_flush()
                    if round_ % 2:
                        await asyncio.sleep(0.001)
                        assert await store.tail("s") is not None
            await writer.check_exactly_once()
            with server.client() as client:
                client.script_flush()
            assert await store.claim("key", "value") == "value"
            await Writer(store, "t").create()
            assert [record.stream for record in await store.list("me", 9)] == ["t", "s"]

    asyncio.run(run())


def test_a_script_that_comes_back_amid_a_pipeline(server: RedisServer) -> None:
    """Loaded by somebody else between two commands of a pipeline, the later ones would find a gap."""

    async def run() -> None:
        async with store_of(server) as store, store_of(server) as other:
            writer = await Writer(store, "s").create()
            with server.client() as client:
                for _ in range(50):
                    client.script_flush()
                    writer.write(200)
                    await asyncio.gather(
                        asyncio.sleep(0), *(other.claim(f"{n}", "value") for n in range(3))
                    )
            await writer.check_exactly_once()

    asyncio.run(run())


def test_fault_44_redis_is_full(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server) as store:
            writer = await Writer(store, "s").create()
            writer.write(3)
            await writer.answered()
            with server.client() as client:
                client.config_set("maxmemory", 1)
                writer.write(2)
                # The second one would leave a hole where the first should be.
                assert (await writer.answered())[3:] == ["failed", "gap"]
                await refused(store.create(Record("t", "me", "model", 1)))
                assert await store.tail("s") == Tail(Position(1, 3), False)
                client.config_set("maxmemory", 0)
            after = await Writer(store, "after").create()
            after.write(2)
            await after.check_exactly_once()

    asyncio.run(run())


def test_nobody_reads_and_what_waits_is_bounded(server: RedisServer) -> None:
    async def run() -> None:
        async with store_of(server, lease_s=60.0) as store:
            await Writer(store, "s").create()
            answers: list[Appended] = []
            with server.stopped():
                for seq in range(80):
                    prev = Position(1, seq) if seq else START
                    store.append("s", prev, Position(1, seq + 1), bytes(1 << 20), False,
                                 answers.append)  # fmt: skip
                await eventually_async(lambda: answers)
            assert set(answers) == {"failed"}

    asyncio.run(run())
