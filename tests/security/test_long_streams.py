"""The state of a long stream holds up no other request, in any wire."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from headwater import events as ev
from headwater.events.position import START, Position
from headwater.settings import Settings
from headwater.stores.base import Entry, Record
from headwater.stores.memory import MemoryStore
from headwater.streams import Hub
from headwater.testing import chat
from tests.conftest import Figures
from tests.faults.watching import BOUND_S
from tests.server.serving import ask
from tests.server.world import World, world

pytestmark = pytest.mark.system

TOKENS = 100_000


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("long")) as running:
        yield running


@pytest.fixture(scope="module")
def stream(w: World) -> str:
    reader = w.post("native", w.plan(chat(["token "] * TOKENS)))
    reader.rest()
    return reader.stream


def test_the_state_of_a_hundred_thousand_tokens(w: World, stream: str, figures: Figures) -> None:
    """Asked for by eight at once; meanwhile the server answers others."""
    waits, done, states = [0.0], threading.Event(), list[int]()

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert ask(w.port, "/healthz").status == 200
            waits.append(time.monotonic() - began)

    def look() -> None:
        paths = (f"/v1/streams/{stream}", f"/v1/responses/resp_{stream}")
        for path in paths:
            answer = ask(w.port, path, headers={"Accept": "application/json"})
            states.append(answer.body.count(b"token "))

    threads = [threading.Thread(target=look) for _ in range(8)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    watcher.join(BOUND_S)
    assert states == [TOKENS] * 16
    figures("8 states of 100,000 tokens", f"/healthz {max(waits) * 1000:.0f} ms at most")
    assert max(waits) < 4.0


class Watched(MemoryStore):
    """Counts the reads of each turn of the loop."""

    turn = 0

    def __init__(self) -> None:
        super().__init__()
        self.reads = Counter[int]()

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        self.reads[self.turn] += 1
        return await super().read(stream, after, limit)


def test_sixty_states_at_once_take_turns() -> None:
    """At most four are folded in one turn of the loop, and one is made use of."""

    async def scenario() -> tuple[Watched, Counter[int]]:
        store, used = Watched(), Counter[int]()
        hub, record = Hub(Settings(), store), Record("s", None, "m", 1)
        await store.create(record)
        at, text = START, ev.encode(ev.TextDelta("x" * 4000))
        for number in range(1, 200):
            last = Position(1, number)
            store.append("s", at, last, text, False, lambda _: None)
            at = last

        async def look() -> None:
            snapshot = await hub.snapshot(record)
            used[store.turn] += 1
            assert len(snapshot.text) == 199 * 4000

        looks = asyncio.gather(*(look() for _ in range(60)))
        while not looks.done():
            await asyncio.sleep(0)
            store.turn += 1
        await looks
        await hub.aclose()
        return store, used

    store, used = asyncio.run(scenario())
    assert max(store.reads.values()) <= 4
    assert sum(store.reads.values()) > 60 * 4
    assert (max(used.values()), used.total()) == (1, 60)
