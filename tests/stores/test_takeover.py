"""A stream gets another owner in one step, and nothing of the old one is taken after it."""

from __future__ import annotations

import asyncio

import pytest

from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Tail
from tests.stores.backends import Make, every_store, shared_stores
from tests.stores.driving import P1, P2, P3, Driver, driven

FENCE = Entry(Position(2, 0), b"")


@every_store
def test_the_log_goes_on_in_the_next_epoch(make: Make) -> None:
    with driven(make) as store:
        record = store.create("s", label="label")
        store.fill("s", 2)
        assert store.takeover("s", record.node) == Tail(Position(2, 0), False)
        assert store.tail("s") == Tail(Position(2, 0), False)
        assert store.read("s")[-1] == FENCE
        assert store.read("s", P2) == [FENCE]
        assert store.read("s", Position(2, 0)) == []
        assert store.append("s", Position(2, 0), Position(2, 3), b"on") == "ok"
        assert store.append("s", Position(2, 3), Position(2, 4), b"end", closes=True) == "ok"
        assert [str(entry.last) for entry in store.read("s")] == ["1-1", "1-2", "2-0", "2-3", "2-4"]
        assert store.tail("s") == Tail(Position(2, 4), True)
        assert store.list("me") == ["s"]


@every_store
def test_an_empty_log_is_taken_over_and_again(make: Make) -> None:
    with driven(make) as store:
        node = store.create("s").node
        for epoch in (2, 3, 4):
            assert store.takeover("s", node) == Tail(Position(epoch, 0), False)
        assert [entry.data for entry in store.read("s")] == [b"", b"", b""]
        assert store.append("s", START, P1) == "fenced"
        assert store.append("s", Position(3, 0), Position(3, 1)) == "fenced"
        assert store.append("s", Position(4, 0), Position(4, 1)) == "ok"


@every_store
@pytest.mark.parametrize(
    ("prev", "last", "data"),
    [
        pytest.param(P2, P3, b"new", id="goes on"),
        pytest.param(P1, P2, b"d", id="its last one again"),
        pytest.param(START, P1, b"d", id="an older one again"),
        pytest.param(Position(2, 0), P3, b"new", id="after the fence, in the old epoch"),
        pytest.param(Position(1, 9), Position(1, 10), b"new", id="further on"),
    ],
)
@pytest.mark.parametrize("closes", [False, True])
def test_what_the_old_owner_sends_is_fenced(
    make: Make, prev: Position, last: Position, data: bytes, closes: bool
) -> None:
    with driven(make) as store:
        node = store.create("s").node
        store.fill("s", 2)
        assert store.takeover("s", node) is not None
        before = store.read("s")
        assert store.append("s", prev, last, data, closes) == "fenced"
        assert store.read("s") == before
        assert store.tail("s") == Tail(Position(2, 0), False)


@every_store
def test_only_an_open_stream_of_the_node_that_is_named(make: Make) -> None:
    with driven(make) as store:
        node = store.create("open").node
        store.create("closed")
        store.fill("closed", 1, closes=True)
        assert store.takeover("open", "somebody") is None
        assert store.takeover("open", "") is None
        assert store.takeover("closed", node) is None
        assert store.takeover("none", node) is None
        assert store.tail("open") == Tail(START, False)
        assert store.tail("closed") == Tail(P1, True)
        assert store.tail("none") is None
        assert store.record("none") is None


# two owners


def _steps(driver: Driver, node_step: int) -> list[Appended]:
    """The old owner appends twice and ends the log; the other takes over before step `node_step`."""
    old, new = driver.stores
    answers: list[Appended] = []
    driver.create("s", by=old)
    ends = [START, P1, P2, P3]
    for step in range(3):
        if step == node_step:
            assert driver.takeover("s", old.node, by=new) == Tail(Position(2, 0), False)
        closes = step == 2
        answers.append(driver.append("s", ends[step], ends[step + 1], b"old", closes, by=old))
    return answers


@shared_stores
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_zombie_is_fenced_at_every_step(make: Make, step: int) -> None:
    with driven(make, count=2) as driver:
        old, new = driver.stores
        assert _steps(driver, step) == ["ok"] * step + ["fenced"] * (3 - step)
        record = driver.record("s")
        assert record is not None
        assert record.node == new.node
        written = [Entry(Position(1, n), b"old") for n in range(1, step + 1)]
        assert driver.read("s") == [*written, FENCE]
        assert driver.takeover("s", old.node, by=old) is None
        assert driver.append("s", FENCE.last, Position(2, 1), b"new", True, by=new) == "ok"
        assert driver.append("s", FENCE.last, Position(2, 1), b"old", True, by=old) == "closed"
        assert driver.read("s") == [*written, FENCE, Entry(Position(2, 1), b"new")]
        assert driver.takeover("s", new.node, by=old) is None


@shared_stores
def test_an_end_that_came_first_stands(make: Make) -> None:
    with driven(make, count=2) as driver:
        old, new = driver.stores
        assert _steps(driver, 3) == ["ok"] * 3
        assert driver.takeover("s", old.node, by=new) is None
        record = driver.record("s")
        assert record is not None
        assert record.node == old.node
        assert driver.tail("s") == Tail(P3, True)


@shared_stores
def test_one_of_many_takes_over(make: Make) -> None:
    with driven(make, count=4) as driver:
        owner, *others = driver.stores
        driver.create("s", by=owner)

        async def race() -> list[Tail | None]:
            return await asyncio.gather(*(store.takeover("s", owner.node) for store in others))

        tails = driver.run(race())
        assert sorted(tail is not None for tail in tails) == [False, False, True]
        record = driver.record("s")
        assert record is not None
        assert record.node == others[[tail is not None for tail in tails].index(True)].node
        assert driver.read("s") == [FENCE]


@shared_stores
@pytest.mark.parametrize("seen", [0, 1, 40, 160])
def test_a_takeover_amid_appends_leaves_one_clean_seam(make: Make, seen: int) -> None:
    """The owner is in full flight. What it was told is stored is, and nothing else."""
    with driven(make, count=2) as driver:
        old, new = driver.stores
        driver.create("s", by=old)
        answers: list[Appended] = []

        async def flight() -> Tail | None:
            enough, ended = asyncio.Event(), asyncio.Event()

            def done(answer: Appended) -> None:
                answers.append(answer)
                if len(answers) >= seen:
                    enough.set()
                if len(answers) == 200:
                    ended.set()

            async def write() -> None:
                for seq in range(1, 201):
                    prev = START if seq == 1 else Position(1, seq - 1)
                    old.append("s", prev, Position(1, seq), b"%d" % seq, seq == 200, done)
                    if seq % 10 == 0:
                        await asyncio.sleep(0.001)

            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(write())
                if seen:
                    await enough.wait()
                tail = await new.takeover("s", old.node)
                await ended.wait()
            return tail

        tail: Tail | None = driver.run(flight())
        stored = answers.count("ok")
        written = [Entry(Position(1, seq), b"%d" % seq) for seq in range(1, stored + 1)]
        assert stored >= seen
        assert answers[:stored] == ["ok"] * stored
        if tail is None:
            assert stored == 200
            assert driver.read("s") == written
        else:
            assert set(answers[stored:]) == {"fenced"}
            assert driver.read("s") == [*written, FENCE]
