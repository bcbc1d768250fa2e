"""The streams of this process: begun, found, read, stopped, drained."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from headwater import events as ev
from headwater.errors import HeadwaterError, RequestError, UnavailableError
from headwater.position import START, Position
from headwater.providers.base import Source
from headwater.settings import Settings
from headwater.snapshot import Snapshot
from headwater.stores.base import Record, Store, Tail
from headwater.streams.feed import Batch, Feed
from headwater.streams.producer import Producer
from headwater.streams.subscriber import Sink, Subscriber
from headwater.wires.base import OnDisconnect, Wire

# One read of the store while a log is folded as a whole.
_FOLD_BYTES: Final = 1024 * 1024
# How long a process at its limit asks callers to wait: streams end every second there.
_OVERLOAD_RETRY_S: Final = 1.0


class Stream:
    """A stream that runs in this process.

    A stream that nobody reads is stopped at once, after a grace, or never, as `on_disconnect` says.
    """

    def __init__(self, record: Record, on_disconnect: OnDisconnect, hub: Hub) -> None:
        self.record = record
        self.feed = Feed(on_readers=self._readers_changed, on_end=self._ended)
        self.producer: Producer
        self._on_disconnect = on_disconnect
        self._hub = hub
        self._grace: asyncio.TimerHandle | None = None

    @property
    def id(self) -> str:
        return self.record.stream

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
            await self._batch(lambda batch: batch.first.seq > 1, timeout_s)

    async def ended(self) -> None:
        """Wait for the terminal event."""
        await self._batch(lambda batch: batch.terminal, None)

    async def events(self) -> AsyncIterator[ev.Event]:
        """Every event from the start to the terminal one. Whoever iterates is a reader."""
        news = asyncio.Event()
        unwatch = self.feed.watch(lambda _: news.set())
        self.feed.enter()
        position = START
        try:
            while True:
                news.clear()
                entries = await self._hub.store.read(self.id, position, _FOLD_BYTES)
                for entry in entries or ():
                    position = entry.last
                    for event in ev.decode_lines(entry.data):
                        yield event
                        if isinstance(event, ev.Terminal):
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
        try:
            async with asyncio.timeout(timeout_s):
                await come.wait()
        except TimeoutError:
            pass
        finally:
            unwatch()

    def _readers_changed(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self.feed.readers or self._on_disconnect == "continue":
            return
        if self._on_disconnect == "cancel":
            self.producer.stop()
        else:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(float(self._on_disconnect), self.producer.stop)

    def _ended(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._hub.forget(self)


class Hub:
    """Knows the streams of one store. Belongs to one event loop."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.draining = False
        self._streams: dict[str, Stream] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def start(
        self,
        source: Source,
        *,
        model: str,
        principal: str | None,
        on_disconnect: OnDisconnect,
        route: str | None = None,
        asked_at: float | None = None,
        spoken: tuple[str, tuple[Any, ...]] | None = None,
        timed: bool = True,
    ) -> Stream:
        """Begin a generation; it writes its log whoever reads it.

        `asked_at` is `time.monotonic()` when the request arrived; `spoken` the wire that it was
        asked in, with its options; `timed` is False for a source that no deadline should end.
        `UnavailableError` when this process is at its limit or on its way out.
        """
        self._admit()
        stream_id, created = secrets.token_hex(16), int(time.time())
        record = Record(stream_id, principal, model, created, route, spoken)
        stream = Stream(record, on_disconnect, self)
        stream.producer = Producer(
            record.stream,
            source,
            self.store,
            stream.feed,
            timeouts=self.settings.timeouts if timed else None,
            max_bytes=self.settings.store.max_stream_bytes,
            asked_at=time.monotonic() if asked_at is None else asked_at,
        )
        self._streams[record.stream] = stream
        self._quiet.clear()
        try:
            await self.store.create(record)
        except BaseException:
            self.forget(stream)
            raise
        stream.producer.start(ev.StreamStart(record.stream, model, record.created))
        return stream

    async def find(self, stream: str, principal: str | None) -> tuple[Record, Tail]:
        """The record and the end of a log; the same `not_found` for another's as for none."""
        record, tail = await self.store.record(stream), await self.store.tail(stream)
        if record is None or tail is None or record.principal != principal:
            raise RequestError("There is no such stream.", code="not_found")
        if tail.trimmed:
            raise RequestError("The stream had to make room for newer ones.", code="trimmed")
        return record, tail

    def running(self, stream: str) -> Stream | None:
        """The stream, when it runs in this process."""
        return self._streams.get(stream)

    def read(
        self,
        stream: str,
        wire: Wire,
        sink: Sink,
        *,
        options: tuple[Any, ...] = (),
        after: Position = START,
    ) -> Subscriber:
        """Begin to read a stream that was found, from behind `after`, into `sink`."""
        running = self._streams.get(stream)
        return Subscriber(
            self.store,
            stream,
            running.feed if running is not None else None,
            wire,
            options,
            sink,
            after=after,
            heartbeat_s=self.settings.server.heartbeat_s,
        )

    async def snapshot(self, record: Record) -> Snapshot:
        """What the log says so far."""
        snapshot = Snapshot()
        snapshot.route = record.route
        entries = await self.store.read(record.stream, START, _FOLD_BYTES)
        while entries:
            for entry in entries:
                events = ev.decode_lines(entry.data)
                for seq, event in enumerate(events, entry.last.seq - len(events) + 1):
                    snapshot.add(event, Position(entry.last.epoch, seq))
            entries = await self.store.read(record.stream, snapshot.position, _FOLD_BYTES)
        return snapshot

    async def stop(self, stream: str, principal: str | None) -> None:
        """Cancel the upstream; readers get the terminal event. Nothing when it had ended."""
        await self.find(stream, principal)
        running = self._streams.get(stream)
        if running is not None:
            running.producer.stop()

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        """The principal's streams, newest first."""
        return await self.store.list(principal, limit)

    async def drain(self, deadline_s: float) -> None:
        """Take no new work, let what runs finish, and end the rest at the deadline."""
        self.draining = True
        try:
            async with asyncio.timeout(deadline_s):
                await self._quiet.wait()
        except TimeoutError:
            for stream in list(self._streams.values()):
                stream.producer.interrupt("The server was stopped before the answer was whole.")

    def forget(self, stream: Stream) -> None:
        """The stream no longer runs here."""
        self._streams.pop(stream.id, None)
        if not self._streams:
            self._quiet.set()

    def _admit(self) -> None:
        if self.draining:
            raise UnavailableError(
                "overloaded", "The server is stopping; ask again.", retry_after=_OVERLOAD_RETRY_S
            )
        if len(self._streams) >= self.settings.server.max_streams:
            raise UnavailableError(
                "overloaded",
                f"{len(self._streams)} streams are running, as many as this process may have.",
                retry_after=_OVERLOAD_RETRY_S,
            )


def check_position(after: Position, tail: Tail) -> None:
    """`position_lost` when the log has no such position: never a silent jump."""
    if after > tail.last or after.epoch < 1 or after.seq < 1:
        raise HeadwaterError(
            "position_lost",
            f"Position {after} is not in this stream, which ends at {tail.last}: read it from the "
            "start.",
            retryable=False,
        )
