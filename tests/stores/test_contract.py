"""What every store owes: one checked step to append, reading, expiry. Run on each store there is.

A store joins by a line in `STORES`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from headwater.position import START, Position
from headwater.stores.base import Appended, Entry, Record, Store, Tail
from headwater.stores.memory import MemoryStore

Make = Callable[..., Store]
STORES: dict[str, Make] = {"memory": MemoryStore}
every_store = pytest.mark.parametrize("make", STORES.values(), ids=STORES)


class Clock:
    """Hours in no time, for whatever measures by its loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._own = loop.time
        self._ahead = 0.0

    def time(self) -> float:
        return self._own() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


class Driver:
    """A store in a loop of its own, driven step by step from outside."""

    def __init__(self, make: Make, **options: Any) -> None:
        self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        self.clock = Clock(loop)
        loop.time = self.clock.time  # type: ignore[method-assign]
        self.store = self.run(_made(make, options))

    def run(self, coroutine: Awaitable[Any]) -> Any:
        return self._runner.run(_awaited(coroutine))

    def close(self) -> None:
        self.run(self.store.aclose())
        self._runner.close()

    def create(self, stream: str, principal: str | None = "me", created: int = 1) -> Record:
        record = Record(stream, principal, "model", created, "acme/model")
        self.run(self.store.create(record))
        return record

    def append(
        self, stream: str, prev: Position, last: Position, data: bytes = b"x", closes: bool = False
    ) -> Appended:
        """One append and what it came to: answered at once, or called back, exactly once."""
        answers: list[Appended] = []

        async def step() -> None:
            answered = asyncio.get_running_loop().create_future()

            def done(result: Appended) -> None:
                answers.append(result)
                if not answered.done():
                    answered.set_result(None)

            at_once = self.store.append(stream, prev, last, data, closes, done)
            if at_once is not None:
                done(at_once)
            async with asyncio.timeout(10):
                await answered
            await asyncio.sleep(0)

        self.run(step())
        [result] = answers
        return result

    def fill(self, stream: str, count: int, *, size: int = 1, closes: bool = False) -> None:
        """`count` entries from the start, the last of which ends the log if `closes`."""
        for seq in range(1, count + 1):
            prev = START if seq == 1 else Position(1, seq - 1)
            end = closes and seq == count
            assert self.append(stream, prev, Position(1, seq), b"d" * size, end) == "ok"

    def read(self, stream: str, after: Position = START, limit: int = 1 << 30) -> Any:
        entries = self.run(self.store.read(stream, after, limit))
        return None if entries is None else list(entries)

    def tail(self, stream: str) -> Tail | None:
        tail: Tail | None = self.run(self.store.tail(stream))
        return tail

    def record(self, stream: str) -> Record | None:
        record: Record | None = self.run(self.store.record(stream))
        return record

    def list(self, principal: str | None, limit: int = 100) -> Sequence[str]:
        return [record.stream for record in self.run(self.store.list(principal, limit))]


async def _made(make: Make, options: dict[str, Any]) -> Store:
    return make(**options)


async def _awaited(coroutine: Awaitable[Any]) -> Any:
    return await coroutine


@contextmanager
def driven(make: Make, **options: Any) -> Iterator[Driver]:
    driver = Driver(make, **options)
    try:
        yield driver
    finally:
        driver.close()


P1, P2, P3, P4 = (Position(1, seq) for seq in (1, 2, 3, 4))


# append


@every_store
@pytest.mark.parametrize(
    ("prev", "last", "data", "result"),
    [
        pytest.param(P2, P3, b"new", "ok", id="goes on"),
        pytest.param(P2, Position(1, 9), b"new", "ok", id="one read brought seven events"),
        pytest.param(P1, P2, b"two", "duplicate", id="the very entry again, its reply was lost"),
        pytest.param(P3, P4, b"new", "gap", id="an entry is missing before it"),
        pytest.param(START, P1, b"one", "gap", id="an older entry again"),
        pytest.param(P1, P2, b"other", "gap", id="other bytes at a position that is taken"),
        pytest.param(START, P3, b"new", "gap", id="from the start"),
    ],
)
def test_append_is_one_checked_step(
    make: Make, prev: Position, last: Position, data: bytes, result: Appended
) -> None:
    with driven(make) as store:
        store.create("s")
        assert store.append("s", START, P1, b"one") == "ok"
        assert store.append("s", P1, P2, b"two") == "ok"
        before = store.read("s")
        assert store.append("s", prev, last, data) == result
        if result == "ok":
            assert store.read("s") == [*before, Entry(last, data)]
            assert store.tail("s") == Tail(last, False)
        else:
            assert store.read("s") == before
            assert store.tail("s") == Tail(P2, False)


@every_store
@pytest.mark.parametrize(
    ("prev", "last"),
    [
        pytest.param(P2, Position(2, 1), id="an epoch that nobody took over"),
        pytest.param(P2, Position(2, 3), id="the next epoch, counted on"),
        pytest.param(P2, P2, id="where the log ends"),
        pytest.param(P2, P1, id="before the end"),
        pytest.param(P2, START, id="the start"),
    ],
)
def test_positions_only_go_up_in_the_epoch_of_the_log(
    make: Make, prev: Position, last: Position
) -> None:
    with driven(make) as store:
        store.create("s")
        store.fill("s", 2)
        before = store.read("s")
        assert store.append("s", prev, last, b"new") not in ("ok", "duplicate")
        assert store.read("s") == before
        assert store.tail("s") == Tail(P2, False)


@every_store
@pytest.mark.parametrize(
    ("prev", "last", "data", "result"),
    [
        pytest.param(P1, P2, b"end", "duplicate", id="the end again, its reply was lost"),
        pytest.param(P2, P3, b"more", "closed", id="after the end"),
        pytest.param(P1, P2, b"other", "closed", id="another end"),
        pytest.param(START, P1, b"one", "closed", id="an older entry"),
    ],
)
@pytest.mark.parametrize("closes", [False, True])
def test_nothing_follows_the_end(
    make: Make, prev: Position, last: Position, data: bytes, result: Appended, closes: bool
) -> None:
    with driven(make) as store:
        store.create("s")
        assert store.append("s", START, P1, b"one") == "ok"
        assert store.append("s", P1, P2, b"end", closes=True) == "ok"
        assert store.append("s", prev, last, data, closes) == result
        assert store.read("s") == [Entry(P1, b"one"), Entry(P2, b"end")]
        assert store.tail("s") == Tail(P2, True)


@every_store
def test_a_stream_that_is_not_there(make: Make) -> None:
    with driven(make) as store:
        assert store.append("none", START, P1) == "gone"
        assert store.record("none") is None
        assert store.tail("none") is None
        assert store.read("none") is None
        assert store.list("me") == []


@every_store
def test_an_empty_log_is_there(make: Make) -> None:
    with driven(make) as store:
        record = store.create("s")
        assert store.record("s") == record
        assert store.tail("s") == Tail(START, False)
        assert store.read("s") == []
        assert store.list("me") == ["s"]


@every_store
def test_appends_of_a_stream_are_answered_in_order(make: Make) -> None:
    """Pipelined, none waits for the reply to the one before it."""

    with driven(make) as store:
        store.create("s")

        async def burst() -> list[tuple[int, Appended]]:
            answers: list[tuple[int, Appended]] = []
            news = asyncio.Event()

            def append(seq: int) -> None:
                def done(result: Appended) -> None:
                    answers.append((seq, result))
                    news.set()

                prev = START if seq == 1 else Position(1, seq - 1)
                last, data = Position(1, seq), b"%d" % seq
                at_once = store.store.append("s", prev, last, data, seq == 200, done)
                if at_once is not None:
                    done(at_once)

            for seq in range(1, 201):
                append(seq)
            async with asyncio.timeout(10):
                while len(answers) < 200:
                    news.clear()
                    await news.wait()
            return answers

        assert store.run(burst()) == [(seq, "ok") for seq in range(1, 201)]
        assert store.read("s") == [Entry(Position(1, n), b"%d" % n) for n in range(1, 201)]


@every_store
@pytest.mark.parametrize("data", [b"", b"\n", b"\0\xff\r\n\x80", bytes(1 << 20)])
def test_bytes_come_back_as_they_went(make: Make, data: bytes) -> None:
    with driven(make) as store:
        store.create("s")
        assert store.append("s", START, P1, data) == "ok"
        assert store.read("s") == [Entry(P1, data)]


@every_store
def test_streams_do_not_touch_each_other(make: Make) -> None:
    with driven(make) as store:
        for name in ("a", "b", "a:b", "a\0", "ä", "*"):
            store.create(name)
            assert store.append(name, START, P1, name.encode()) == "ok"
        for name in ("a", "b", "a:b", "a\0", "ä", "*"):
            assert store.read(name) == [Entry(P1, name.encode())]


# read


@every_store
@pytest.mark.parametrize(
    ("limit", "count"),
    [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (99, 10), (1 << 30, 10)],
)
def test_read_gives_at_least_one_and_then_what_fits(make: Make, limit: int, count: int) -> None:
    with driven(make) as store:
        store.create("s")
        store.fill("s", 10, size=10)
        whole = store.read("s")
        assert len(whole) == 10
        assert abs(len(store.read("s", limit=limit)) - count) <= 1  # the edge is the store's own
        assert store.read("s", limit=limit)[0] == whole[0]
        seen: list[Entry] = []
        while entries := store.read("s", seen[-1].last if seen else START, limit):
            seen += entries
        assert seen == whole


@every_store
@pytest.mark.parametrize(
    ("after", "first"),
    [
        (START, 0),
        (Position(0, 99), 0),
        (Position(1, 0), 0),
        (Position(1, 4), 1),  # inside the second entry, which then is given whole
        (Position(1, 3), 1),
        (Position(1, 6), 2),
        (Position(1, 9), 3),
        (Position(1, 10), 3),
        (Position(2, 0), 3),
    ],
)
def test_read_from_a_position(make: Make, after: Position, first: int) -> None:
    with driven(make) as store:
        store.create("s")
        for prev, last in ((START, 3), (Position(1, 3), 6), (Position(1, 6), 9)):
            assert store.append("s", prev, Position(1, last), b"%d" % last) == "ok"
        whole = store.read("s")
        assert store.read("s", after) == whole[first:]


# list


@every_store
def test_list_is_the_principals_own_newest_first(make: Make) -> None:
    with driven(make) as store:
        for number in range(9):
            # The clock of display may stand still, or jump back.
            store.create(f"s{number}", ("me", "you", None)[number % 3], created=9 - number // 3)
        assert store.list("me") == ["s6", "s3", "s0"]
        assert store.list("you") == ["s7", "s4", "s1"]
        assert store.list(None) == ["s8", "s5", "s2"]
        assert store.list("me", 2) == ["s6", "s3"]
        assert store.list("M") == store.list("") == store.list("None") == []
        store.fill("s0", 1, closes=True)
        assert store.list("me") == ["s6", "s3", "s0"]  # ended ones keep their place


# expiry


@every_store
def test_an_ended_log_is_kept_for_its_ttl_and_a_running_one_for_ever(make: Make) -> None:
    with driven(make, ttl_s=60.0) as store:
        for name in ("running", "first", "second"):
            store.create(name)
        store.fill("running", 2)
        store.fill("first", 2, closes=True)
        store.clock.advance(30)
        store.fill("second", 2, closes=True)
        store.clock.advance(29)
        assert store.list("me") == ["second", "first", "running"]
        assert len(store.read("first")) == 2
        store.clock.advance(2)
        assert store.read("first") is None
        assert store.tail("first") is None
        assert store.record("first") is None
        assert store.append("first", P2, P3) == "gone"
        assert store.list("me") == ["second", "running"]
        store.clock.advance(1e6)
        assert store.list("me") == ["running"]
        assert store.append("running", P2, P3) == "ok"


@every_store
def test_ttl_counts_from_the_end(make: Make) -> None:
    with driven(make, ttl_s=60.0) as store:
        store.create("s")
        store.clock.advance(1000)
        store.fill("s", 1, closes=True)
        store.clock.advance(59)
        assert store.tail("s") == Tail(P1, True)


def test_memory_is_bounded_oldest_ended_first_and_running_logs_stay() -> None:
    with driven(MemoryStore, max_bytes=100_000) as store:
        for number in range(5):
            store.create(f"s{number}")
        store.fill("s0", 2, size=15_000)  # runs, and is the oldest
        for number in (2, 1, 3):  # ended in another order than they began
            store.fill(f"s{number}", 1, size=20_000, closes=True)
        assert len(store.list("me")) == 5
        store.fill("s4", 1, size=20_000)
        assert store.list("me") == ["s4", "s3", "s1", "s0"]
        assert store.read("s2") is None
        assert store.append("s4", P1, P2, bytes(200_000)) == "ok"  # far beyond, and it runs
        assert store.list("me") == ["s4", "s0"]
        assert [len(entry.data) for entry in store.read("s0")] == [15_000, 15_000]


def test_memory_counts_what_small_entries_weigh() -> None:
    """A token a read: the objects weigh more than the text."""
    with driven(MemoryStore, max_bytes=1_000_000) as store:
        store.create("ended")
        store.fill("ended", 1, closes=True)
        store.create("tokens")
        store.fill("tokens", 10_000)
        assert store.read("ended") is None
        assert store.tail("ended") == Tail(P1, True, trimmed=True)


def test_memory_comes_back_when_logs_go() -> None:
    """Neither expiry nor eviction may lose count: a wrong count is a store that keeps nothing."""
    with driven(MemoryStore, ttl_s=60.0, max_bytes=100_000) as store:
        for number in range(200):
            store.create(f"s{number}")
            store.fill(f"s{number}", 2, size=10_000, closes=True)
            store.clock.advance(0 if number % 3 else 61)
        store.clock.advance(61)
        for number in range(4):
            store.create(f"t{number}")
            store.fill(f"t{number}", 1, size=20_000, closes=True)
        assert len(store.list("me")) == 4


# a model


@dataclass
class Log:
    record: Record
    entries: list[Entry] = field(default_factory=list)
    closed_at: float | None = None

    @property
    def last(self) -> Position:
        return self.entries[-1].last if self.entries else START


TTL_S = 100.0
names = st.sampled_from(["a", "b", "c", "d"])


class StoreModel(RuleBasedStateMachine):
    """A store against the simplest thing that could be one."""

    make: Make = MemoryStore

    @initialize()
    def begin(self) -> None:
        self.driver = Driver(type(self).make, ttl_s=TTL_S)
        self.logs: dict[str, Log] = {}
        self.now = 0.0
        self.made = 0

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.close()

    def expire(self) -> None:
        for name, log in list(self.logs.items()):
            if log.closed_at is not None and self.now - log.closed_at >= TTL_S:
                del self.logs[name]

    @rule(name=names, principal=st.sampled_from(["me", "you", None]))
    def create(self, name: str, principal: str | None) -> None:
        name = f"{name}{self.made}" if name in self.logs else name
        self.made += 1
        if name not in self.logs:
            self.logs[name] = Log(self.driver.create(name, principal, self.made))

    @precondition(lambda self: self.logs)
    @rule(
        data=st.data(),
        payload=st.binary(max_size=20),
        events=st.integers(1, 3),
        back=st.integers(0, 2),
        closes=st.booleans(),
    )
    def append(
        self, data: st.DataObject, payload: bytes, events: int, back: int, closes: bool
    ) -> None:
        name = data.draw(st.sampled_from(sorted(self.logs)))
        log = self.logs[name]
        ends = [START, *(entry.last for entry in log.entries)]
        prev = ends[max(0, len(ends) - 1 - back)]
        last = Position(1, prev.seq + events)
        result = self.driver.append(name, prev, last, payload, closes)
        if log.entries and log.entries[-1] == Entry(last, payload):
            assert result == "duplicate"
        elif log.closed_at is not None:
            assert result == "closed"
        elif prev != log.last:
            assert result == "gap"
        else:
            assert result == "ok"
            log.entries.append(Entry(last, payload))
            if closes:
                log.closed_at = self.now

    @precondition(lambda self: any(log.entries for log in self.logs.values()))
    @rule(data=st.data(), closes=st.booleans())
    def append_the_last_again(self, data: st.DataObject, closes: bool) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, log in self.logs.items() if log.entries)))
        entries = self.logs[name].entries
        prev, again = entries[-2].last if len(entries) > 1 else START, entries[-1]
        assert self.driver.append(name, prev, again.last, again.data, closes) == "duplicate"

    @rule(seconds=st.sampled_from([1.0, 49.0, 51.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self.driver.clock.advance(seconds)
        self.now += seconds
        self.expire()

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), seq=st.integers(0, 12), limit=st.integers(0, 60))
    def read(self, data: st.DataObject, seq: int, limit: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.logs)))
        after = Position(1, seq)
        rest = [entry for entry in self.logs[name].entries if entry.last > after]
        got = self.driver.read(name, after, limit)
        assert got == rest[: len(got)]
        assert bool(got) == bool(rest)
        assert sum(len(entry.data) for entry in got[:-1]) <= limit

    @rule(name=names)
    def ask_for_none(self, name: str) -> None:
        if name not in self.logs:
            assert self.driver.tail(name) is None
            assert self.driver.read(name) is None
            assert self.driver.append(name, START, P1) == "gone"

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "driver"):
            return
        for name, log in self.logs.items():
            assert self.driver.record(name) == log.record
            assert self.driver.tail(name) == Tail(log.last, log.closed_at is not None)
            assert self.driver.read(name) == log.entries
        for principal in ("me", "you", None):
            own = [n for n, log in self.logs.items() if log.record.principal == principal]
            assert self.driver.list(principal) == own[::-1]


class MemoryModel(StoreModel):
    make = MemoryStore


TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
