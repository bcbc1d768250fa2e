"""One pipeline in flight: what goes out when, and what is made of each reply. Without a Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import hiredis
import pytest
import redis.asyncio

from headwater.errors import ConfigurationError
from headwater.stores.base import Appended
from headwater.stores.redis.client import Client
from headwater.stores.redis.connection import Dialler, Link, transport_of
from headwater.stores.redis.pipeline import Pipeline

NOSCRIPT = hiredis.ReplyError("NOSCRIPT No matching script. Please use EVAL.")


class FakeLink:
    """Keeps the commands of each write, by what they say last but one."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.dropped = False

    def write(self, data: bytes) -> None:
        reader = hiredis.Reader()
        reader.feed(data)
        commands: list[str] = []
        while (command := reader.gets()) is not False:
            name = command[0].decode().lower()
            commands.append(name if name != "append" else b"".join(command[1:]).decode())
        self.writes.append(commands)

    def drop(self) -> None:
        self.dropped = True


class Bench:
    """A pipeline whose replies we give."""

    def __init__(self, patience_s: float = 60.0) -> None:
        self.pipeline = Pipeline(Dialler("redis://nowhere", 1.0), patience_s)
        self.pipeline._loop = asyncio.get_running_loop()
        self.answers: list[tuple[str, Appended]] = []
        self.up()

    def up(self) -> None:
        self.link = FakeLink()
        self.pipeline._line.link = cast(Link, self.link)
        self.pipeline._up(cast(Link, self.link))

    def down(self) -> None:
        self.pipeline._line.link = None
        self.pipeline._down()

    def append(self, name: str, then: Callable[[], None] | None = None) -> None:
        def done(result: Appended) -> None:
            self.answers.append((name, result))
            if then is not None:
                then()

        self.pipeline.append(("APPEND", name, ""), 1, done)

    def reply(self, *replies: Any) -> None:
        self.pipeline._replies(list(replies))


def benched(test: Callable[[Bench], Any]) -> Callable[[], None]:
    """Run a test of coroutines with a bench of its own."""

    def run() -> None:
        async def main() -> None:
            bench = Bench()
            await test(bench)
            await bench.pipeline.aclose(0)

        asyncio.run(main())

    run.__name__ = run.__qualname__ = test.__name__
    return run


async def turn() -> None:
    await asyncio.sleep(0)


@benched
async def test_idle_what_one_turn_brings_goes_out_together(bench: Bench) -> None:
    bench.append("a")
    bench.append("b")
    bench.pipeline.hint(("HINT",))
    assert bench.link.writes == []
    await turn()
    assert bench.link.writes == [["script", "a", "b", "hint"]]


@benched
async def test_what_comes_meanwhile_is_the_next_pipeline(bench: Bench) -> None:
    bench.append("a")
    await turn()
    for name in "bcd":
        bench.append(name)
        await turn()
    bench.pipeline.hint(("HINT",))
    bench.pipeline.hint(("HINT",))
    assert bench.link.writes == [["script", "a"]]
    bench.reply(b"sha")
    assert len(bench.link.writes) == 1
    bench.reply(1)
    assert bench.link.writes[1:] == [["b", "c", "d", "hint"]]
    bench.reply(1, 2, 3)
    bench.append("e")
    await turn()
    assert len(bench.link.writes) == 2
    bench.reply(0)
    assert bench.link.writes[2:] == [["e"]]
    bench.reply(4)
    assert bench.answers == [
        ("a", "ok"), ("b", "ok"), ("c", "duplicate"), ("d", "fenced"), ("e", "gap"),
    ]  # fmt: skip


@benched
async def test_an_answer_may_bring_the_next_append(bench: Bench) -> None:
    bench.append("a", then=lambda: bench.append("b"))
    await turn()
    bench.reply(b"sha", 1)
    await turn()
    assert bench.link.writes == [["script", "a"], ["b"]]
    bench.reply(5)
    assert bench.answers == [("a", "ok"), ("b", "closed")]


@benched
async def test_a_script_loaded_by_others_amid_the_pipeline(bench: Bench) -> None:
    """What was run after the command that was not has met a gap; that is not its answer."""
    for name in "abc":
        bench.append(name)
    await turn()
    bench.reply(b"sha", 1, NOSCRIPT)
    bench.append("d")
    bench.reply(4)
    assert bench.answers == [("a", "ok")]
    assert bench.link.writes[1:] == [["script", "b1", "c1", "d"]]
    bench.reply(b"sha", 1, 2, 1)
    assert bench.answers[1:] == [("b", "ok"), ("c", "duplicate"), ("d", "ok")]


@benched
async def test_lost_replies_are_asked_for_again_in_order(bench: Bench) -> None:
    for name in "abc":
        bench.append(name)
    bench.pipeline.hint(("HINT",))
    await turn()
    bench.append("d")
    bench.reply(b"sha", 1)
    bench.down()
    bench.append("e")
    bench.pipeline.hint(("LOST",))
    await turn()
    bench.up()
    assert bench.link.writes == [["b1", "c1", "d", "e"]]
    bench.reply(2)
    bench.down()
    bench.up()
    assert bench.link.writes == [["c1", "d1", "e1"]]
    bench.reply(2, 1, 1)
    assert [name for name, _ in bench.answers] == list("abcde")


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica. script: 1",
        "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write",
        "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down",
    ],
)
def test_a_refusal_that_passes_is_waited_out_elsewhere(error: str) -> None:
    async def main() -> None:
        bench = Bench()
        for name in "ab":
            bench.append(name)
        await turn()
        bench.reply(b"sha", hiredis.ReplyError(error), hiredis.ReplyError(error))
        assert bench.link.dropped
        assert bench.answers == []
        bench.down()
        bench.up()
        bench.reply(1, 1)
        assert bench.answers == [("a", "ok"), ("b", "ok")]
        await bench.pipeline.aclose(0)

    asyncio.run(main())


@benched
async def test_a_refusal_that_stays_is_an_answer(bench: Bench) -> None:
    for name in "ab":
        bench.append(name)
    await turn()
    bench.reply(b"sha", hiredis.ReplyError("OOM command not allowed"), 4)
    assert bench.answers == [("a", "failed"), ("b", "gap")]
    assert not bench.link.dropped


# sure commands


@benched
async def test_a_sure_command_follows_the_appends_and_is_sent_again_when_its_link_is_lost(
    bench: Bench,
) -> None:
    bench.append("a")
    bench.pipeline.sure(("SURE",), ("MORE",))
    await turn()
    assert bench.link.writes == [["script", "a", "script", "sure", "more"]]
    bench.reply(b"sha", 1, b"sha", 1)
    bench.down()
    bench.pipeline.sure(("LATER",))
    bench.up()
    assert bench.link.writes == [["more", "later"]]
    bench.reply(1, 0)
    await turn()
    assert bench.link.writes == [["more", "later"]]
    assert bench.answers == [("a", "ok")]


@benched
async def test_a_sure_command_whose_script_is_not_known_is_sent_with_it(bench: Bench) -> None:
    bench.pipeline.sure(("SURE",))
    await turn()
    bench.reply(b"sha", NOSCRIPT)
    assert bench.link.writes == [["script", "sure"], ["script", "sure"]]
    bench.reply(b"sha", 1)
    assert len(bench.link.writes) == 2


@benched
async def test_a_sure_command_that_is_refused_is_tried_some_times_more(bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.stores.redis.pipeline._TRY_AGAIN_S", 0.0)
        bench.pipeline.sure(("SURE",))
        await turn()
        bench.reply(b"sha", hiredis.ReplyError("OOM command not allowed"))
        for _ in range(8):
            await asyncio.sleep(0.002)
            if bench.pipeline._in_flight:
                bench.reply(hiredis.ReplyError("OOM command not allowed"))
        assert bench.link.writes == [["script", "sure"], *[["sure"]] * 5]
        assert not bench.link.dropped


@benched
async def test_a_failover_sends_a_sure_command_to_the_next_server(bench: Bench) -> None:
    bench.pipeline.sure(("SURE",))
    await turn()
    bench.reply(b"sha", hiredis.ReplyError("READONLY You can't write against a replica."))
    assert bench.link.dropped
    bench.down()
    bench.up()
    assert bench.link.writes == [["sure"]]


@benched
async def test_whoever_takes_an_answer_badly_does_not_harm_the_others(bench: Bench) -> None:
    bench.append("a", then=lambda: 1 // 0)  # type: ignore[arg-type]
    bench.append("b")
    await turn()
    bench.reply(b"sha", 1, 1)
    assert bench.answers == [("a", "ok"), ("b", "ok")]


@benched
async def test_a_reply_too_many_ends_the_connection(bench: Bench) -> None:
    bench.append("a")
    await turn()
    bench.reply(b"sha", 1, 1)
    assert bench.link.dropped
    assert bench.answers == [("a", "ok")]


def test_a_lost_cancellation_does_not_keep_a_store_from_closing() -> None:
    """As `wait_for` loses one when what it waits for ends in the same turn."""

    class Deaf(Dialler):
        async def connect(self) -> Any:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)  # cancelled long before
            raise ConnectionError

    async def main() -> None:
        pipeline = Pipeline(Deaf("redis://nowhere", 1.0), 60.0)
        line = pipeline._line
        line._task = asyncio.create_task(line._dial_again(0))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await line.aclose()

    asyncio.run(main())


def test_a_question_whose_cancellation_was_lost_is_cancelled() -> None:
    class Deaf(Client):
        async def _ask(self, commands: Any) -> list[Any]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)  # cancelled long before
            return ["reply"]

    async def main() -> None:
        asked = asyncio.create_task(Deaf(Dialler("redis://nowhere", 1.0), 1.0).ask(("GET", "x")))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        # What ran out of time, and was answered in that very moment, is answered.
        assert await Deaf(Dialler("redis://nowhere", 1.0), 0.01).ask(("GET", "x")) == ["reply"]

    asyncio.run(main())


def test_a_redis_py_without_the_name_that_is_used_is_refused_by_version() -> None:
    assert transport_of(redis.asyncio.Connection()) is None  # has the name, and no transport yet
    with pytest.raises(ConfigurationError, match=rf"redis-py {redis.__version__} .*requirements/"):
        transport_of(cast(Any, object()))
