"""A running stream as readers of this process see it, whichever process writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext

from headwater import events as ev
from headwater.errors import HeadwaterError
from headwater.events.position import START, Position
from headwater.events.snapshot import Snapshot
from headwater.stores.base import Entry, Note, Record, Store
from headwater.streams.feed import Batch, Feed

# One read of the store while a log is followed. Decoding its events takes 3 ms.
READ_BYTES = 64 * 1024


async def fold_log(
    store: Store, stream: str, turns: AbstractAsyncContextManager[None] | None = None
) -> Snapshot:
    """What the log says so far. Each step of the fold holds one of `turns`, where there are any."""
    snapshot = Snapshot()
    turns = turns or nullcontext()
    position: Position | None = START
    while position is not None:
        async with turns:
            # Holders of a turn hold it over this: many folds at once leave the loop to others.
            await asyncio.sleep(0)
            entries = await store.read(stream, position, READ_BYTES)
            position = _fold_in(snapshot, entries or ())
    return snapshot


def _fold_in(snapshot: Snapshot, entries: Sequence[Entry]) -> Position | None:
    """The position behind these entries; None when there were none."""
    for entry in entries:
        events = ev.decode_lines(entry.data) if entry.data else []
        for seq, event in enumerate(events, entry.last.seq - len(events) + 1):
            snapshot.add(event, Position(entry.last.epoch, seq))
        snapshot.size += len(entry.data)
    return entries[-1].last if entries else None


class LiveStream:
    """Its record, and its feed; subclasses say what is published there, and what readers change."""

    def __init__(self, record: Record, store: Store) -> None:
        self.record = record
        self.feed = Feed(on_readers=self._readers_changed, on_end=self._ended_here)
        self._awaited: set[asyncio.Event] = set()
        self._store = store

    @property
    def id(self) -> str:
        return self.record.stream

    @property
    def failure(self) -> HeadwaterError | None:
        """The error that ended the log, where one did."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether it has had its terminal event."""
        return self.feed.ended and not self.feed.broken_off

    def stop(self) -> None:
        """End the generation, or ask the process to that writes it."""
        raise NotImplementedError

    def note(self, note: Note, sender: str) -> None:
        """What another process says."""
        raise NotImplementedError

    @contextmanager
    def held(self) -> Iterator[None]:
        """Count as a reader without reading, while the head of a response is awaited."""
        self.feed.enter()
        try:
            yield
        finally:
            self.feed.leave()

    async def begun(self, timeout_s: float) -> None:
        """Wait for the first event that the upstream caused, or the terminal one."""
        if self.feed.position.seq <= 1:
            await self._batch(lambda batch: batch.last.seq > 1, timeout_s)

    async def ended(self, timeout_s: float | None = None) -> None:
        """Wait for the terminal event, or until nothing more is known here."""
        await self._batch(lambda batch: batch.terminal, timeout_s)

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Every event from the start to the terminal one. The iterator counts as a reader."""
        async with aclosing(self.reads()) as reads:
            async for events in reads:
                for event in events:
                    yield event

    async def reads(self) -> AsyncGenerator[list[ev.Event], None]:
        """As `events`, those together that one read of the upstream brought."""
        news = asyncio.Event()
        unwatch = self.feed.watch(lambda _: news.set())
        self.feed.enter()
        position = START
        try:
            while True:
                news.clear()
                entries = await self._store.read(self.id, position, READ_BYTES)
                for entry in entries or ():
                    position = entry.last
                    if not entry.data:  # here another process took the stream over
                        continue
                    events = ev.decode_lines(entry.data)
                    yield events
                    if isinstance(events[-1], ev.Terminal):
                        return
                if not entries:
                    await news.wait()
        finally:
            unwatch()
            self.feed.leave()

    async def _batch(self, wanted: Callable[[Batch], bool], timeout_s: float | None) -> None:
        if self.feed.ended:
            return
        come = asyncio.Event()
        unwatch = self.feed.watch(lambda batch: come.set() if wanted(batch) else None)
        self._awaited.add(come)
        try:
            async with asyncio.timeout(timeout_s):
                await come.wait()
        except TimeoutError:
            pass
        finally:
            unwatch()
            self._awaited.discard(come)

    def _ended_here(self) -> None:
        for come in self._awaited:
            come.set()
        self._ended()

    def _readers_changed(self) -> None:
        raise NotImplementedError

    def _ended(self) -> None:
        raise NotImplementedError
