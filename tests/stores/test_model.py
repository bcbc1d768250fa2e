"""Each store against the simplest thing that could be one, step by step, chosen by chance.

Two stores at one place are two processes: they take streams over from each other, append as the
zombies that they then are, and lose the replies to what they sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Record, Store, Tail
from tests.stores.backends import Backend, every_store
from tests.stores.driving import P1, Driver

TTL_S = 100.0
names = st.sampled_from(["a", "b", "c", "d"])


@dataclass
class Log:
    record: Record
    owner: Store
    epoch: int = 1
    entries: list[Entry] = field(default_factory=list)
    closed_at: float | None = None
    replayed: list[Entry] = field(default_factory=list)

    @property
    def last(self) -> Position:
        return self.entries[-1].last if self.entries else START


class StoreModel(RuleBasedStateMachine):
    """Whatever is told of a log by either store is what it should be."""

    backend: Backend
    place: Callable[[], Driver]

    @initialize()
    def begin(self) -> None:
        self.driver = type(self).place()
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

    def some(self, data: st.DataObject) -> Log:
        return self.logs[data.draw(st.sampled_from(sorted(self.logs)))]

    def any_store(self, data: st.DataObject) -> Store:
        return self.driver.stores[data.draw(st.integers(0, len(self.driver.stores) - 1))]

    @rule(
        data=st.data(),
        name=names,
        principal=st.sampled_from(["me", "you", None]),
        label=st.sampled_from(["x", "y", None]),
    )
    def create(
        self, data: st.DataObject, name: str, principal: str | None, label: str | None
    ) -> None:
        name = f"{name}{self.made}" if name in self.logs else name
        self.made += 1
        if name not in self.logs:
            owner = self.any_store(data)
            record = self.driver.create(name, principal, self.made, label=label, by=owner)
            self.logs[name] = Log(record, owner)

    @precondition(lambda self: self.logs)
    @rule(
        data=st.data(),
        payload=st.binary(max_size=20),
        events=st.integers(1, 3),
        back=st.integers(0, 2),
        older=st.sampled_from([0, 0, 0, 1, 2]),
        closes=st.booleans(),
        lost=st.booleans(),
    )
    def append(
        self,
        data: st.DataObject,
        payload: bytes,
        events: int,
        back: int,
        older: int,
        closes: bool,
        lost: bool,
    ) -> None:
        log = self.some(data)
        ends = [START, *(entry.last for entry in log.entries)]
        prev = ends[max(0, len(ends) - 1 - back)]
        last = Position(max(1, log.epoch - older), prev.seq + events)
        there = Entry(last, payload) in log.entries
        result = self.driver.append(
            log.record.stream, prev, last, payload, closes, by=self.any_store(data),
            then=self.backend.lose_replies if lost else None,
        )  # fmt: skip
        expected = self.expected(log, prev, last, payload)
        if expected == "ok":
            assert result in (("ok", "duplicate") if lost else ("ok",))
            log.entries.append(Entry(last, payload))
            if closes:
                log.closed_at = self.now
        else:
            # Asked again after a lost reply, a store may look further back.
            assert result == expected or (lost and there and result == "duplicate")

    def expected(self, log: Log, prev: Position, last: Position, payload: bytes) -> Appended:
        if log.entries and log.entries[-1] == Entry(last, payload):
            return "duplicate"
        if log.closed_at is not None:
            return "closed"
        if last.epoch < log.epoch:
            return "fenced"
        return "ok" if prev == log.last else "gap"

    @precondition(lambda self: any(log.entries for log in self.logs.values()))
    @rule(data=st.data(), closes=st.booleans())
    def append_the_last_again(self, data: st.DataObject, closes: bool) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, log in self.logs.items() if log.entries)))
        entries = self.logs[name].entries
        prev, again = entries[-2].last if len(entries) > 1 else START, entries[-1]
        assert self.driver.append(name, prev, again.last, again.data, closes) == "duplicate"

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), named=st.booleans())
    def takeover(self, data: st.DataObject, named: bool) -> None:
        log, taker = self.some(data), self.any_store(data)
        node = log.owner.node if named else "another"
        tail = self.driver.takeover(log.record.stream, node, by=taker)
        if not named or log.closed_at is not None:
            assert tail is None
            return
        log.epoch += 1
        log.owner = taker
        log.entries.append(Entry(Position(log.epoch, 0), b""))
        assert tail == Tail(log.last, False)

    @precondition(lambda self: self.backend.fake_clock)
    @rule(seconds=st.sampled_from([1.0, 49.0, 51.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self.driver.clock.advance(seconds)
        self.now += seconds
        self.expire()

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), epoch=st.integers(0, 3), seq=st.integers(0, 12), limit=st.integers(0, 60))
    def read(self, data: st.DataObject, epoch: int, seq: int, limit: int) -> None:
        log, after = self.some(data), Position(epoch, seq)
        rest = [entry for entry in log.entries if entry.last > after]
        store = self.any_store(data)
        got = list(self.driver.run(store.read(log.record.stream, after, limit)))
        assert got == rest[: len(got)]
        assert bool(got) == bool(rest)
        assert sum(len(entry.data) for entry in got[:-1]) <= limit

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), limit=st.integers(0, 60))
    def follow(self, data: st.DataObject, limit: int) -> None:
        """A reader that came early and goes on from where it stands sees every entry once."""
        log, store = self.some(data), self.any_store(data)
        seen = log.replayed
        while True:
            after = seen[-1].last if seen else START
            entries = self.driver.run(store.read(log.record.stream, after, limit))
            if not entries:
                break
            seen += entries
        assert seen == log.entries

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
        driver = self.driver
        for store in driver.stores:
            for name, log in self.logs.items():
                record = driver.run(store.record(name))
                assert record.node == log.owner.node
                assert (record.principal, record.created) == (
                    log.record.principal,
                    log.record.created,
                )
                assert driver.run(store.tail(name)) == Tail(log.last, log.closed_at is not None)
                assert list(driver.run(store.read(name, START, 1 << 30))) == log.entries
        for principal in ("me", "you", None):
            own = [n for n, log in self.logs.items() if log.record.principal == principal]
            assert driver.list(principal) == own[::-1]
        for label in ("x", "y"):
            own = [n for n, log in self.logs.items() if log.record.label == label]
            found = driver.run(driver.stores[-1].labelled(label, 99))
            assert [record.stream for record in found] == own[::-1]


@every_store
def test_a_store_is_what_the_model_says(backend: Backend, tmp_path: Path) -> None:
    count = 2 if backend.shared else 1

    class Model(StoreModel):
        pass

    Model.backend = backend
    Model.place = lambda: Driver(backend.place(tmp_path), count=count, ttl_s=TTL_S)
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=50 if backend.fake_clock else 15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
