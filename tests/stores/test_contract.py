"""What every store owes: one checked step to append, reading, expiry. Run on each store there is."""

from __future__ import annotations

import asyncio

import pytest

from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Tail
from headwater.stores.memory import MemoryStore
from tests.helpers.polling import eventually
from tests.stores.backends import Make, by_fake_clock, by_real_clock, every_store
from tests.stores.driving import P1, P2, P3, P4, driven

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


# labels


@every_store
def test_streams_are_found_by_their_label_newest_first(make: Make) -> None:
    with driven(make) as store:
        for number in range(6):
            label = ("a", "b", None)[number % 3]
            store.create(f"s{number}", ("me", "you")[number % 2], created=1, label=label)

        def labelled(label: str, limit: int = 100) -> list[str]:
            return [record.stream for record in store.run(store.store.labelled(label, limit))]

        assert labelled("a") == ["s3", "s0"]
        assert labelled("b") == ["s4", "s1"]
        assert labelled("a", 1) == ["s3"]
        assert labelled("") == labelled("None") == labelled("A") == labelled("me") == []
        store.fill("s0", 1, closes=True)
        assert labelled("a") == ["s3", "s0"]
        assert store.list("a") == []


@every_store
def test_a_record_comes_back_whole(make: Make) -> None:
    with driven(make) as store:
        record = store.create("s", "ä \0 me", 1_700_000_000, label="chat 7")
        assert record.node == store.store.node != ""
        assert store.record("s") == record
        assert store.run(store.store.list("ä \0 me", 1)) == [record]
        assert store.run(store.store.labelled("chat 7", 1)) == [record]


# claims


@every_store
def test_a_key_stands_for_what_was_claimed_first(make: Make) -> None:
    with driven(make) as driver:
        store = driver.store
        assert driver.run(store.claim("key", "one")) == "one"
        assert driver.run(store.claim("key", "two")) == "one"
        assert driver.run(store.claim("key", "one")) == "one"
        assert driver.run(store.claim("other", "two")) == "two"
        driver.run(store.disclaim("key", "two"))  # which another stands for
        assert driver.run(store.claim("key", "three")) == "one"
        driver.run(store.disclaim("key", "one"))
        assert driver.run(store.claim("key", "three")) == "three"
        assert driver.run(store.claim("other", "four")) == "two"
        driver.run(store.disclaim("none", "one"))


@every_store
def test_what_a_key_stands_for_is_read_without_claiming_it(make: Make) -> None:
    with driven(make) as driver:
        store = driver.store
        assert driver.run(store.claimed("key")) is None
        assert driver.run(store.claim("key", "one")) == "one"
        assert driver.run(store.claimed("key")) == "one"
        driver.run(store.disclaim("key", "one"))
        assert driver.run(store.claimed("key")) is None
        assert driver.run(store.claim("key", "two")) == "two"


# expiry


@by_real_clock
def test_what_ended_goes_after_its_ttl(make: Make) -> None:
    with driven(make, ttl_s=0.4) as store:
        for name in ("running", "ended"):
            store.create(name, label="label")
        store.fill("running", 2)
        store.fill("ended", 2, closes=True)
        assert store.run(store.store.claim("long", "one", 300.0)) == "one"
        assert store.run(store.store.claim("key", "one")) == "one"
        assert store.run(store.store.claim("short", "one", 0.1)) == "one"
        assert store.list("me") == ["ended", "running"]
        assert store.tail("ended") == Tail(P2, True)

        def gone() -> bool:
            store.run(store.store.beat())
            kept = store.read("ended"), store.run(store.store.claimed("key"))
            return kept == (None, None)

        eventually(gone, "what ended is gone after its ttl")
        assert store.tail("ended") is None
        assert store.record("ended") is None
        assert store.append("ended", P2, P3) == "gone"
        assert store.list("me") == ["running"]
        assert len(store.run(store.store.labelled("label", 9))) == 1
        assert store.run(store.store.claimed("key")) is None
        assert store.run(store.store.claimed("short")) is None
        assert store.run(store.store.claimed("long")) == "one"
        assert store.run(store.store.claim("key", "two")) == "two"
        assert store.append("running", P2, P3) == "ok"


@by_fake_clock
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


@by_fake_clock
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
