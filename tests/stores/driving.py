"""A store in a loop of its own, driven step by step from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headwater.events.position import START, Position
from headwater.stores.base import Appended, Note, OnNote, Record, Spoken, Store, Tail
from tests.stores.backends import Make


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
    """`count` stores at one place; `store` is the first, and what acts when none is named."""

    def __init__(self, make: Make, *, count: int = 1, **options: Any) -> None:
        self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        self.clock = Clock(loop)
        loop.time = self.clock.time  # type: ignore[method-assign]
        self.stores: list[Store] = [self.run(opened(make, **options)) for _ in range(count)]
        self.store = self.stores[0]

    def run(self, coroutine: Awaitable[Any]) -> Any:
        return self._runner.run(_awaited(coroutine))

    def close(self) -> None:
        for store in self.stores:
            self.run(store.aclose())
        self._runner.close()

    def create(
        self,
        stream: str,
        principal: str | None = "me",
        created: int = 1,
        *,
        label: str | None = None,
        by: Store | None = None,
    ) -> Record:
        store = by or self.store
        spoken = Spoken("native", {"text": "a", "number": 1, "none": None, "flag": True})
        record = Record(
            stream, principal, "model", created, "acme/model", spoken, store.node, label
        )
        self.run(store.create(record))
        return record

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes = b"x",
        closes: bool = False,
        *,
        by: Store | None = None,
        then: Callable[[Store], None] | None = None,
    ) -> Appended:
        """One append and what it came to: answered at once, or called back, exactly once.

        `then` is called as soon as it was sent.
        """
        store = by or self.store
        answers: list[Appended] = []

        async def step() -> None:
            answered = asyncio.get_running_loop().create_future()

            def done(result: Appended) -> None:
                answers.append(result)
                if not answered.done():
                    answered.set_result(None)

            at_once = store.append(stream, prev, last, data, closes, done)
            if at_once is not None:
                done(at_once)
            if then is not None:
                await asyncio.sleep(0)
                then(store)
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

    def takeover(self, stream: str, node: str, *, by: Store | None = None) -> Tail | None:
        tail: Tail | None = self.run((by or self.store).takeover(stream, node))
        return tail

    def list(self, principal: str | None, limit: int = 100) -> Sequence[str]:
        return [record.stream for record in self.run(self.store.list(principal, limit))]


def no_note(note: Note, stream: str, sender: str) -> None:
    """Nobody listens."""


async def opened(make: Make, on_note: OnNote = no_note, **options: Any) -> Store:
    """A store that is ready, within a running loop."""
    store = make(**options)
    await store.open(on_note)
    return store


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
