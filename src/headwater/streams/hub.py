"""The streams of this process: begun, found, read, stopped, drained."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import structs

from headwater import events as ev
from headwater.errors import HeadwaterError, RequestError, StorageError, UnavailableError
from headwater.events.position import START, Position
from headwater.events.snapshot import Snapshot
from headwater.observe import Observer
from headwater.observe.logs import without_request
from headwater.providers.base import Source
from headwater.settings import Settings, TimeoutSettings
from headwater.stores.base import Note, Record, Store, Tail
from headwater.streams.ending import EndCallback, Endings
from headwater.streams.leases import Leases, broken_off
from headwater.streams.live import LiveStream, fold_log
from headwater.streams.local import LocalStream
from headwater.streams.producer import Producer
from headwater.streams.readiness import Readiness
from headwater.streams.recovery import Recover, Recovery, resumption
from headwater.streams.remote import RemoteStream
from headwater.streams.subscriber import Sink, Subscriber
from headwater.streams.turns import Turns
from headwater.wires.base import OnDisconnect, Wire

log = logging.getLogger("headwater.streams")

# The end of a stream whose caller was told that it could not begin.
_UNMADE: Final = ev.StreamError(
    "storage_failed", "The stream could not begin.", retryable=True, usage=None, timing=None
)

# How long a process at its limit asks callers to wait: streams end every second there.
_OVERLOAD_RETRY_S: Final = 1.0

#: "once begun": the source itself sees to it that there is a first token.
Timed = Literal["always", "once begun", "never"]

# Readers that replay, and snapshots that are folded, in one turn of the loop: up to 64 KiB each.
_REPLAYS: Final = 4

# Beyond its lease, how long the streams of a dead process wait for whoever sweeps up after it.
_SWEPT_S: Final = 2.0
# How often a process that has not answered is asked again to stop.
_ASK_AGAIN_S: Final = 0.5


class Hub:
    """Knows the streams of one store. Belongs to one event loop.

    `recover` says who goes on with the stream of another process, by its record and its plan;
    `on_end` is told of every stream that ends here.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        recover: Recover | None = None,
        observer: Observer | None = None,
        on_end: EndCallback | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.observer = Observer() if observer is None else observer
        self.draining = False
        self._streams: dict[str, LocalStream] = {}
        self._remotes: dict[str, RemoteStream] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._recover = recover
        self._endings = Endings(self.snapshot, on_end)
        self._leases = Leases(
            store,
            settings.store.lease_s,
            self._tick,
            self._check,
            self._take_on,
            self._endings.tell,
        )
        self._replays = asyncio.Semaphore(_REPLAYS)
        #: Of what holds the loop for milliseconds at once.
        self.turns = Turns()
        self._opening: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._readiness = Readiness(store, self.open)

    async def open(self) -> None:
        """Connect the store, and end what dead processes left. Done by itself on first use.

        `StorageError` when the store cannot be reached; the next call tries again.
        """
        if self._keeper is not None or not self.store.shared:
            return
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(
                self._open(), context=without_request()
            )
        try:
            # Shared by whoever asks meanwhile: one that leaves must not cancel it for the others.
            await asyncio.shield(opening)
        finally:
            if opening.done():
                self._opening = None

    async def _open(self) -> None:
        await self.store.open(self._noted)
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(
                self._leases.run(), context=without_request()
            )

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
        label: str | None = None,
        stream_id: str | None = None,
        timed: Timed = "always",
        recovery: Recovery | None = None,
        told: EndCallback | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> LocalStream:
        """Begin a generation; it writes its log whoever reads it.

        `asked_at` is `time.monotonic()` when the request arrived; `spoken` the wire that it was
        asked in, with its options; `label` something to find the stream again by; `stream_id` an id
        of `new_id`; `timed` says which deadlines may end it, `recovery` who goes on when the source
        breaks off; `told` is told of its end; `metadata` is the app's, and kept with it.
        `UnavailableError` when this process is at its limit or on its way out.
        """
        self.admit()
        if self._keeper is None:
            await self.open()
        record = Record(
            stream_id or new_id(),
            principal,
            model,
            int(time.time()),
            route,
            spoken,
            self.store.node,
            label,
            ev.SCHEMA_VERSION,
            dict(metadata) if metadata else None,
        )
        stream = LocalStream(record, on_disconnect, self.store, self.forget, told)
        watch = self.observer.stream(record.stream, model, route, spoken and spoken[0])
        stream.producer = Producer(
            record.stream,
            source,
            self.store,
            stream.feed,
            timeouts=self._timeouts(timed),
            max_bytes=self.settings.store.max_stream_bytes,
            asked_at=time.monotonic() if asked_at is None else asked_at,
            watch=watch,
            recovery=recovery,
        )
        self._streams[record.stream] = stream
        self._quiet.clear()
        plan = None
        if recovery is not None and self.store.shared:
            plan = recovery.plan(on_disconnect)
        try:
            await self.store.create(record, plan)
        except BaseException as error:
            watch.abandoned()
            stream.producer.left = True
            self.forget(stream)
            self._unmade(record.stream, error)
            raise
        stream.producer.start(ev.StreamStart(record.stream, model, record.created))
        return stream

    def _unmade(self, stream: str, error: BaseException) -> None:
        """It may be in the store all the same, where its answer was late: nothing else ends it."""
        room = len(self._leases.unended) < self.settings.server.max_streams
        if self.store.shared and room and isinstance(error, (StorageError, asyncio.CancelledError)):
            self._leases.unended[stream] = _UNMADE

    async def _take_on(self, record: Record, tail: Tail) -> bool:
        """Go on with a stream of another process that is this one's now; False where nobody can."""
        if len(self._streams) >= self.settings.server.max_streams or self._recover is None:
            return False
        resumed = await resumption(self.store, record, tail, self._recover)
        if resumed is None:
            return False
        recovery, on_disconnect, source, snapshot = resumed
        record = structs.replace(record, node=self.store.node)
        stream = LocalStream(record, on_disconnect, self.store, self.forget)
        stream.feed.position = tail.last
        stream.producer = Producer(
            record.stream,
            source,
            self.store,
            stream.feed,
            timeouts=self._timeouts("once begun"),
            max_bytes=self.settings.store.max_stream_bytes - snapshot.size,
            asked_at=time.monotonic(),
            watch=self.observer.stream(record.stream, record.model, record.route, None),
            recovery=recovery,
            position=tail.last,
            repairs=len(snapshot.repairs),
        )
        self._streams[record.stream] = stream
        self._quiet.clear()
        stream.await_readers()
        begun = snapshot.position != START
        first = None if begun else ev.StreamStart(record.stream, record.model, record.created)
        stream.producer.start(first, broken_off())
        log.info("stream %s was left by its process, and goes on here", record.stream)
        return True

    async def find(self, stream: str, principal: str | None) -> tuple[Record, Tail]:
        """The record and the end of a log; the same `not_found` for another's as for none."""
        if self._keeper is None:
            await self.open()
        record, tail = await self.store.record(stream), await self.store.tail(stream)
        if record is None or tail is None or record.principal != principal:
            raise RequestError("There is no such stream.", code="not_found")
        if tail.trimmed:
            raise RequestError("The stream had to make room for newer ones.", code="trimmed")
        return record, tail

    def live(self, record: Record, tail: Tail) -> LiveStream | None:
        """The stream that was found, while it runs in this process or in another."""
        live: LiveStream | None = self._streams.get(record.stream) or self._remotes.get(
            record.stream
        )
        if live is None and self.store.shared and not tail.closed:
            live = self._remotes[record.stream] = RemoteStream(
                record, tail.last, self.store, self._lose_sight
            )
        return live

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
        live: LiveStream | None = self._streams.get(stream) or self._remotes.get(stream)
        return Subscriber(
            self.store,
            stream,
            live.feed if live is not None else None,
            wire,
            options,
            sink,
            after=after,
            heartbeat_s=self.settings.server.heartbeat_s,
            turns=self._replays,
            on_left=self.observer.reader(stream, wire.name, after != START),
        )

    async def snapshot(self, record: Record) -> Snapshot:
        """What the log says so far.

        For a long one the caller has a turn of the loop: what it makes of the snapshot before it
        awaits anything else is made beside no other large step.
        """
        snapshot = await fold_log(self.store, record.stream, self._replays)
        snapshot.know(record.stream, record.model, record.route, record.principal, record.metadata)
        await self.turns.take(snapshot.size)
        return snapshot

    async def stop(self, stream: str, principal: str | None) -> None:
        """Cancel the upstream; readers get the terminal event. Nothing when it had ended.

        Returns when the stream has ended, whichever process writes it. `UnavailableError`
        (`stop_unconfirmed`) when that cannot be confirmed within a lease and 2 s.
        """
        record, tail = await self.find(stream, principal)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.settings.store.lease_s + _SWEPT_S
        # Asked again and again: a note may be lost, and the stream may get another writer.
        while (live := self.live(record, tail)) is not None:
            with live.held():
                live.stop()
                await live.ended(_ASK_AGAIN_S)
            if live.over:
                return
            if loop.time() >= give_up_at:
                raise UnavailableError(
                    "stop_unconfirmed",
                    "The process that writes the stream has not confirmed that it stopped. "
                    "Ask again.",
                    retry_after=_OVERLOAD_RETRY_S,
                )
            record, tail = await self.find(stream, principal)

    def revoke(self, principals: Collection[str]) -> None:
        """Stop what these principals have running; those of them who read here are cut."""
        for stream in list(self._streams.values()):
            if stream.record.principal in principals:
                stream.producer.stop("revoked")
        for remote in list(self._remotes.values()):
            if remote.record.principal in principals:
                remote.stop()
                remote.cut()

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        """The principal's streams, newest first."""
        if self._keeper is None:
            await self.open()
        return await self.store.list(principal, limit)

    async def ready(self) -> None:
        """Whether a stream could begin now: `UnavailableError` while draining, `StorageError` that
        names the remedy while the store takes none. Cheap, however often it is called.
        """
        if self.draining:
            raise UnavailableError("overloaded", "The server is stopping.")
        await self._readiness.check()

    async def drain(self, deadline_s: float) -> None:
        """Take no new work, let what runs finish, and give up the rest at the deadline.

        In a shared store it is left to others, and its readers are cut, so that they go there.
        """
        self.draining = True
        self._leases.sweeping = False
        for remote in list(self._remotes.values()):
            remote.cut()
        try:
            async with asyncio.timeout(deadline_s):
                await self._quiet.wait()
        except TimeoutError:
            for stream in list(self._streams.values()):
                if self.store.shared:
                    stream.producer.abandon()
                else:
                    stream.producer.interrupt("The server was stopped before the answer was whole.")
        await self._endings.settled()

    async def aclose(self) -> None:
        """End or leave what still runs, and give the lease back."""
        await self.drain(0)
        self._readiness.stop()
        if self._keeper is not None:
            self._leases.stop()
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            await self.store.release()

    def forget(self, stream: LocalStream) -> None:
        """The stream no longer runs here."""
        self._streams.pop(stream.id, None)
        if stream.producer.unlogged is not None and self.store.shared:
            self._leases.unended[stream.id] = stream.producer.unlogged
        if not stream.producer.left:
            self._endings.tell(stream.record, stream.told, stream.producer.unlogged)
        if not self._streams:
            self._quiet.set()

    def _lose_sight(self, remote: RemoteStream) -> None:
        self._remotes.pop(remote.id, None)

    def _noted(self, note: Note, stream: str, sender: str) -> None:
        """What another process says of a stream."""
        # A stream that was taken over here may still be followed here, as another process's.
        told = self._remotes if note == "wake" else self._streams
        live: LiveStream | None = told.get(stream)
        if live is not None:
            live.note(note, sender)

    async def _tick(self, held_s: float) -> None:
        """Drop the readers of other processes that are not heard of any more."""
        now = asyncio.get_running_loop().time()
        silent = [(s, nodes) for s in self._streams.values() if (nodes := s.silent(now, held_s))]
        try:
            stalled = await self.store.stalled() if silent else ()
        except HeadwaterError:  # the lease cannot be renewed either, and that is logged
            return
        for stream, nodes in silent:
            stream.expire(nodes, stalled)

    async def _check(self) -> None:
        """Leave the streams that other processes have taken over, and free their providers."""
        for stream in list(self._streams.values()):
            record = await self.store.record(stream.id)
            if record is not None and record.node != self.store.node:
                stream.producer.abandon()

    def _timeouts(self, timed: Timed) -> TimeoutSettings | None:
        limits = self.settings.timeouts
        if timed == "once begun":
            return structs.replace(limits, first_token_s=limits.total_s)
        return limits if timed == "always" else None

    def admit(self) -> None:
        """`UnavailableError` (`overloaded`) when no stream can begin in this process now."""
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


def new_id() -> str:
    """An id for a stream: 128 random bits, since ids must not be guessed. It is no credential."""
    return secrets.token_hex(16)
