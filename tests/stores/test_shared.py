"""Several processes, one place: each reads what the others wrote, tells them, and outlives them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from headwater.events.position import START, Position
from headwater.stores.base import SILENT_S, Entry, Note, Tail, stall_s
from headwater.stores.sqlite import SqliteStore
from tests.helpers.polling import eventually, eventually_async
from tests.stores.backends import Make, shared_stores
from tests.stores.driving import P1, P2, Driver, driven, opened

# Short, and still far above what a busy machine may hold a process up for.
LEASE_S = 1.0


@shared_stores
def test_each_reads_what_the_other_wrote(make: Make) -> None:
    with driven(make, count=2) as driver:
        one, other = driver.stores
        assert one.node != other.node
        record = driver.create("s", "me", label="label", by=one)
        assert driver.append("s", START, P1, b"one", by=one) == "ok"
        assert driver.append("s", P1, P2, b"two", True, by=one) == "ok"
        assert driver.run(other.record("s")) == record
        assert driver.run(other.tail("s")) == Tail(P2, True)
        assert driver.run(other.read("s", P1, 99)) == [Entry(P2, b"two")]
        assert driver.run(other.list("me", 9)) == [record]
        assert driver.run(other.labelled("label", 9)) == [record]
        assert driver.run(one.claim("key", "one")) == driver.run(other.claim("key", "two")) == "one"


@shared_stores
def test_newest_first_across_processes(make: Make) -> None:
    with driven(make, count=3) as driver:
        for number in range(9):
            driver.create(f"s{number}", label="label", by=driver.stores[number % 3])
        names = [f"s{number}" for number in reversed(range(9))]
        for store in driver.stores:
            assert [r.stream for r in driver.run(store.list("me", 99))] == names
            assert [r.stream for r in driver.run(store.labelled("label", 99))] == names


@shared_stores
def test_logs_outlive_the_process_that_wrote_them(make: Make) -> None:
    with driven(make) as first:
        record = first.create("s")
        first.fill("s", 3)
    with driven(make) as second:
        assert second.record("s") == record
        assert second.tail("s") == Tail(Position(1, 3), False)
        assert len(second.read("s")) == 3


# leases


def _orphans(driver: Driver, number: int) -> list[tuple[str, str]]:
    found = driver.run(driver.stores[number].orphans())
    return sorted((record.stream, record.node) for record in found)


def _beat(driver: Driver, number: int) -> None:
    driver.run(driver.stores[number].beat())


@shared_stores
def test_who_beats_keeps_its_streams_and_who_is_gone_loses_them(make: Make) -> None:
    with driven(make, count=2, lease_s=LEASE_S) as driver:
        one, other = driver.stores
        for name in ("open", "ended", "begun"):
            driver.create(name, by=one)
        driver.create("others", by=other)
        driver.fill("open", 2)
        driver.fill("ended", 1, closes=True)
        for _ in range(4):
            driver.run(asyncio.sleep(0.45 * LEASE_S))
            _beat(driver, 0)
            _beat(driver, 1)
            assert _orphans(driver, 1) == []
        driver.run(one.aclose())
        for _ in range(3):
            driver.run(asyncio.sleep(0.45 * LEASE_S))
            _beat(driver, 1)
        assert _orphans(driver, 1) == [("begun", one.node), ("open", one.node)]
        assert driver.takeover("open", one.node, by=other) == Tail(Position(2, 0), False)
        assert _orphans(driver, 1) == [("begun", one.node)]


@shared_stores
def test_who_stalls_keeps_its_streams_for_a_time(make: Make) -> None:
    lease_s = 0.7  # so that a stall may last for 4.2 s
    with driven(make, count=2, lease_s=lease_s) as driver:
        one, other = driver.stores
        driver.create("open", by=one)
        driver.create("begun", by=one)
        driver.fill("open", 2)
        began = time.monotonic()
        while time.monotonic() - began < stall_s(lease_s) - 0.5:
            _beat(driver, 1)
            assert _orphans(driver, 1) == []
            if time.monotonic() - began > SILENT_S + 0.1:
                assert list(driver.run(other.stalled())) == [one.node]
            elif time.monotonic() - began < SILENT_S - 0.5:
                assert list(driver.run(other.stalled())) == []
            assert driver.run(other.alive(one.node))
            driver.run(asyncio.sleep(0.3 * lease_s))

        def orphans() -> list[tuple[str, str]]:
            _beat(driver, 1)
            return _orphans(driver, 1)

        found = eventually(orphans, "what stalled for too long has lost its streams")
        assert found == [("begun", one.node), ("open", one.node)]
        assert driver.takeover("open", one.node, by=other) == Tail(Position(2, 0), False)
        _beat(driver, 0)  # it was only slow: what is left is its own again
        assert _orphans(driver, 1) == []
        assert list(driver.run(other.stalled())) == []
        assert driver.append("open", P2, Position(1, 3), by=one) == "fenced"
        assert driver.append("begun", START, P1, by=one) == "ok"


@shared_stores
def test_what_is_released_can_be_taken_over_at_once(make: Make) -> None:
    with driven(make, count=3, lease_s=60.0) as driver:
        one, other, third = driver.stores
        driver.create("s", by=one)
        assert _orphans(driver, 1) == []
        driver.run(one.release())
        assert _orphans(driver, 1) == _orphans(driver, 2) == [("s", one.node)]
        assert driver.takeover("s", one.node, by=other) is not None
        assert _orphans(driver, 2) == []
        driver.run(other.release())
        assert _orphans(driver, 2) == [("s", other.node)]
        assert driver.takeover("s", other.node, by=third) == Tail(Position(3, 0), False)


@shared_stores
def test_streams_of_a_process_that_is_gone_are_found_by_one_that_comes_later(make: Make) -> None:
    with driven(make, lease_s=LEASE_S) as first:
        node = first.create("s").node
    with driven(make, lease_s=LEASE_S) as second:
        second.run(asyncio.sleep(1.2 * LEASE_S))
        _beat(second, 0)
        assert _orphans(second, 0) == [("s", node)]


# notes


Heard = list[tuple[Note, str, str]]


@shared_stores
def test_notes_reach_whom_they_are_for(make: Make) -> None:
    async def run() -> None:
        heard: tuple[Heard, Heard] = ([], [])
        one = await opened(make, lambda *note: heard[0].append(note))
        other = await opened(make, lambda *note: heard[1].append(note))

        async def sent(note: Note) -> None:
            one.send(other.node, note, "s")
            await eventually_async(lambda: (note, "s", one.node) in heard[1])

        for note in get_args(Note):
            await sent(note)
        assert heard[0] == []
        other.send(one.node, "wake", "another")
        await eventually_async(lambda: heard[0] == [("wake", "another", other.node)])
        assert [note for note, _, _ in heard[1]] == list(get_args(Note))
        one.send("nobody", "stop", "s")
        one.send("", "stop", "s")
        await one.aclose()
        other.send(one.node, "wake", "s")
        await asyncio.sleep(0.05)
        await other.aclose()

    asyncio.run(run())


@shared_stores
def test_a_wake_may_be_lost_and_the_log_is_not(make: Make) -> None:
    async def run() -> None:
        heard: Heard = []
        one = await opened(make)
        other = await opened(make, lambda *note: heard.append(note))
        for _ in range(5000):  # more than anything between them holds
            one.send(other.node, "wake", "s")
        await eventually_async(lambda: heard)
        assert set(heard) == {("wake", "s", one.node)}
        await one.aclose()
        await other.aclose()

    asyncio.run(run())


def _folders(database: Path) -> list[Path]:
    return [path for path in database.parent.iterdir() if path.is_dir()]


@pytest.mark.parametrize("length", [1, 150], ids=["short", "long"])
def test_the_last_process_leaves_no_folder_of_sockets(tmp_path: Path, length: int) -> None:
    """The name of the folder may be longer than the address of a socket."""
    database = tmp_path / ("s" * length + ".db")

    async def run() -> None:
        heard: Heard = []
        stores = [SqliteStore(database, ttl_s=9, lease_s=LEASE_S) for _ in range(2)]
        for store in stores:
            await store.open(lambda *note: heard.append(note))
        [folder] = _folders(database)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(list(folder.iterdir())) == 4
        stores[0].send(stores[1].node, "stop", "s")
        await eventually_async(lambda: heard)
        assert heard == [("stop", "s", stores[0].node)]
        await stores[0].aclose()
        assert len(list(folder.iterdir())) == 2
        await stores[1].aclose()
        assert _folders(database) == []

    asyncio.run(run())


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    code = f"""
import asyncio, os, pathlib
from headwater.stores.sqlite import SqliteStore
async def main():
    await SqliteStore(pathlib.Path({str(database)!r})).open(print)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert killed.returncode == -9
    [folder] = _folders(database)
    assert len(list(folder.iterdir())) == 2

    async def run() -> None:
        store = SqliteStore(database)
        await store.open(lambda *_: None)
        assert len(list(folder.iterdir())) == 2
        await store.aclose()

    asyncio.run(run())
    assert _folders(database) == []
