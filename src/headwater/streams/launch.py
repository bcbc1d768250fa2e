"""Beginning to write a stream: a new one, or one that another process has left."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from msgspec import structs

from headwater import events as ev
from headwater.errors import StorageError
from headwater.events.position import START
from headwater.observe import Observer
from headwater.settings import Settings, TimeoutSettings
from headwater.stores.base import Record, Tail
from headwater.streams.accounting import Accounting
from headwater.streams.ending import EndCallback, EndCallbacks
from headwater.streams.generation import Generation, StreamOptions, Timed
from headwater.streams.local import LocalStream
from headwater.streams.producer import Producer
from headwater.streams.recovery import Recover, not_tried, resumption, write_plan
from headwater.streams.repairs import Break, Repairs
from headwater.streams.table import StreamTable
from headwater.streams.writing import EMPTY, LogWriter
from headwater.wires.base import OnDisconnect

log = logging.getLogger("headwater.streams")

# The end of a stream whose caller got an error because the store did not answer in time.
_UNMADE: Final = ev.StreamError(
    "storage_failed",
    "The stream could not begin: the store did not answer in time.",
    retryable=True,
    usage=None,
    timing=None,
    ended_by="storage",
)


class Launcher:
    """Makes streams with their producers. `recover` is None where none of others is continued."""

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        table: StreamTable,
        callbacks: EndCallbacks,
        recover: Recover | None,
    ) -> None:
        self._settings = settings
        self._store = table.store
        self._observer = observer
        self._table = table
        self._callbacks = callbacks
        self._recover = recover

    async def launch(
        self, generation: Generation, options: StreamOptions, stream_id: str
    ) -> LocalStream:
        """Begin a new stream."""
        record = Record(
            stream_id,
            options.principal,
            generation.model,
            int(time.time()),
            generation.route,
            options.spoken,
            self._store.node,
            options.label,
            ev.SCHEMA_VERSION,
            dict(options.metadata) if options.metadata else None,
        )
        stream = self._stream(record, options.on_disconnect, options.on_end)
        asked_at = time.monotonic() if options.asked_at is None else options.asked_at
        wire = None if options.spoken is None else options.spoken.wire
        watch = self._observer.stream(record.stream, record.model, record.route, wire)
        room = self._settings.store.max_stream_bytes
        stream.producer = Producer(
            generation.source,
            LogWriter(record.stream, self._store, stream.feed, EMPTY, room),
            Accounting(asked_at),
            Repairs(generation.recovery),
            watch,
        )
        self._table.add(stream)
        try:
            plan = write_plan(generation.recovery, options.on_disconnect)
            await self._store.create(record, plan if self._store.shared else None)
        except BaseException as error:
            watch.abandoned()
            stream.producer.left = True
            self._forget(stream)
            self._unmade(record.stream, error)
            raise
        first = ev.StreamStart(record.stream, record.model, record.created)
        stream.producer.start(first, self._timeouts(generation.timed))
        return stream

    def _stream(
        self, record: Record, on_disconnect: OnDisconnect, on_end: EndCallback | None = None
    ) -> LocalStream:
        return LocalStream(record, on_disconnect, self._store, self._forget, on_end)

    def _unmade(self, stream: str, error: BaseException) -> None:
        """It may be in the store all the same, where its answer was late: nothing else ends it."""
        late = self._store.shared and isinstance(error, (StorageError, asyncio.CancelledError))
        if late and len(self._table.owed) < self._settings.server.max_streams:
            self._table.owed[stream] = _UNMADE

    async def take_on(self, record: Record, tail: Tail, owed: Break) -> str | None:
        """Continue a stream that was taken over from another process, else give its `repair`."""
        if len(self._table.local) >= self._settings.server.max_streams:
            return not_tried("process_full")
        if self._recover is None:
            return not_tried("no_continuing_provider")
        resumed = await resumption(self._store, record, tail, self._recover)
        if isinstance(resumed, str):
            return resumed
        record = structs.replace(record, node=self._store.node)
        stream, snapshot = self._stream(record, resumed.on_disconnect), resumed.snapshot
        room = self._settings.store.max_stream_bytes - snapshot.size
        begun = snapshot.position != START
        stream.feed.position = tail.last
        stream.producer = Producer(
            resumed.source,
            LogWriter(record.stream, self._store, stream.feed, tail.last, room),
            Accounting(time.monotonic()),
            Repairs(resumed.recovery, len(snapshot.repairs), owed),
            self._observer.stream(record.stream, record.model, record.route, None),
        )
        self._table.add(stream)
        stream.await_readers()
        first = None if begun else ev.StreamStart(record.stream, record.model, record.created)
        log.warning("stream %s is continued here: %s", record.stream, owed.error.message)
        stream.producer.start(first, self._timeouts("once begun"))
        return None

    def _forget(self, stream: LocalStream) -> None:
        """The stream no longer runs here."""
        self._table.discard(stream)
        unlogged = stream.producer.unlogged
        if unlogged is not None and self._store.shared:
            self._table.owed[stream.id] = unlogged
        if not stream.producer.left:
            self._callbacks.notify(stream.record, stream.on_end, unlogged)

    def _timeouts(self, timed: Timed) -> TimeoutSettings | None:
        limits = self._settings.timeouts
        if timed == "once begun":
            return structs.replace(limits, first_token_s=limits.total_s)
        return limits if timed == "always" else None
