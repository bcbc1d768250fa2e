"""An event loop that was held up reads what waits in its sockets before it gives anything up.

On uvloop, whose timers run before it reads: all that were due meanwhile are first.
"""

from __future__ import annotations

import asyncio
import socket
import time

import uvloop

from headwater.events.position import START
from headwater.stores.base import Appended, Record, Store
from headwater.timers import CATCH_UP_S, HELD_S, Timer
from tests.stores.backends import Make, shared_stores
from tests.stores.driving import P1, opened

LEASE_S = 1.0
LONG_S = 2 * LEASE_S + HELD_S


def hold_up(loop: asyncio.AbstractEventLoop) -> None:
    """Hold the loop up where it reads its sockets: the timers come next, and then the others."""
    ours, theirs = socket.socketpair()

    def hold() -> None:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
        time.sleep(LONG_S)

    loop.add_reader(ours, hold)
    theirs.send(b"x")


async def _asked(store: Store) -> Record | None:
    return await store.record("s")


@shared_stores
def test_an_answer_that_was_in_time_is_taken(make: Make) -> None:
    async def run() -> None:
        store = await opened(make, lease_s=LEASE_S)
        await store.create(Record("s", None, "m", 1, node=store.node))
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Appended] = loop.create_future()
        assert store.append("s", START, P1, b"x", False, answered.set_result) is None
        asked = loop.create_task(_asked(store))
        # In the turn in which both are sent, and before the one in which replies are read.
        hold_up(loop)
        try:
            async with asyncio.timeout(10):
                assert await answered == "ok"
                assert (await asked) is not None
        finally:
            await store.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_timer_waits_for_a_loop_that_was_held_up() -> None:
    async def run() -> None:
        fired: list[str] = []
        late = Timer(0.05, lambda: fired.append("late"))
        cancelled = Timer(0.05, lambda: fired.append("cancelled"))
        time.sleep(0.1 + HELD_S)
        await asyncio.sleep(CATCH_UP_S / 5)
        assert fired == []
        cancelled.cancel()
        await asyncio.sleep(CATCH_UP_S)
        assert fired == ["late"]
        late.cancel()
        Timer(0.01, lambda: fired.append("in time"))
        await asyncio.sleep(0.1)
        assert fired == ["late", "in time"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
