"""The streams of this process: begun, found, read, stopped, drained."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Sequence
from typing import Final

from headwater.errors import RequestError, UnavailableError
from headwater.events.position import START, Position
from headwater.events.snapshot import Snapshot
from headwater.observe import Observer
from headwater.settings import Settings
from headwater.stores.base import Record, Store, Tail
from headwater.streams.cursor import Cursor
from headwater.streams.ending import EndCallback, EndCallbacks
from headwater.streams.generation import Generation, StreamOptions
from headwater.streams.launch import Launcher
from headwater.streams.leases import Leases, Membership
from headwater.streams.live import LiveStream, fold_log
from headwater.streams.local import LocalStream
from headwater.streams.readiness import Readiness
from headwater.streams.recovery import Recover
from headwater.streams.subscriber import Sink, Subscriber
from headwater.streams.sweep import Sweeper, interrupted, say_stopped
from headwater.streams.table import StreamTable
from headwater.streams.turns import Turns
from headwater.wires.base import WireFormat

log = logging.getLogger("headwater.streams")

# How long a process at its limit asks callers to wait: streams end every second there.
_OVERLOAD_RETRY_S: Final = 1.0

# Readers that replay, and snapshots that are folded, in one turn of the loop: up to 64 KiB each.
_REPLAYS: Final = 4

# Beyond its lease, how long the streams of a dead process wait until another one takes them over.
_SWEPT_S: Final = 2.0
# How often a process that has not answered is asked again to stop.
_ASK_AGAIN_S: Final = 0.5


class Hub:
    """Knows the streams of one store. Belongs to one event loop.

    `recover` finds the recovery of another process's stream; without it none is continued here.
    `on_end` is called for every stream that ends here.
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
        #: Of what holds the loop for milliseconds at once.
        self.turns = Turns()
        self._replays = asyncio.Semaphore(_REPLAYS)
        self._table = StreamTable(store)
        self._callbacks = EndCallbacks(self.snapshot, on_end)
        launcher = Launcher(settings, self.observer, self._table, self._callbacks, recover)
        self._launcher = launcher
        self._sweeper = Sweeper(self._table, self.observer, launcher.take_on, self._callbacks)
        leases = Leases(settings.store.lease_s, self._table, self._sweeper)
        self._membership = Membership(store, leases, self._table.note)
        self._readiness = Readiness(store, self.open)

    async def open(self) -> None:
        """Connect the store, and end what dead processes left. Done by itself on first use.

        `StorageError` when the store cannot be reached; the next call tries again.
        """
        await self._membership.join()

    async def start(
        self, generation: Generation, options: StreamOptions, stream_id: str | None = None
    ) -> LocalStream:
        """Begin a generation; it writes its log with or without readers.

        `stream_id` is an id of `new_id`, by default a new one. `UnavailableError` when this process
        is at its limit or stopping.
        """
        self.admit()
        if not self._membership.joined:
            await self.open()
        return await self._launcher.launch(generation, options, stream_id or new_id())

    async def find(self, stream: str, principal: str | None) -> tuple[Record, Tail]:
        """The record and the end of a log; the same `not_found` for another's as for none."""
        if not self._membership.joined:
            await self.open()
        record, tail = await self.store.record(stream), await self.store.tail(stream)
        if record is None or tail is None or record.principal != principal:
            raise RequestError("There is no such stream.", code="not_found")
        if tail.trimmed:
            raise RequestError("The stream had to make room for newer ones.", code="trimmed")
        return record, tail

    def live(self, record: Record, tail: Tail) -> LiveStream | None:
        """The stream that was found, while it runs in this process or in another."""
        return self._table.follow(record, tail)

    def read(
        self,
        stream: str,
        format: WireFormat,
        sink: Sink,
        *,
        after: Position = START,
    ) -> Subscriber:
        """Begin to read a stream that was found, from behind `after`, into `sink`."""
        live = self._table.get(stream)
        return Subscriber(
            Cursor(self.store, stream, format, after),
            live.feed if live is not None else None,
            sink,
            heartbeat_s=self.settings.server.heartbeat_s,
            write_timeout_s=self.settings.limits.write_timeout_s,
            turns=self._replays,
            on_left=self.observer.reader(stream, format.wire.name, after != START),
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
        """Stop the streams of these principals, and cut their readers here."""
        self._table.revoke(principals)

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        """The principal's streams, newest first."""
        if not self._membership.joined:
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
        """Take no new work, let running streams finish, and give up the rest at the deadline.

        In a shared store the rest is left to other processes, and its readers are cut, so that they
        read there.
        """
        self.draining = True
        self._sweeper.active = False
        self._table.cut_remotes()
        try:
            async with asyncio.timeout(deadline_s):
                await self._table.quiet()
        except TimeoutError:
            await self._give_up()
        await self._callbacks.settled()

    async def _give_up(self) -> None:
        if self.store.shared:
            await say_stopped(self.store)
        for stream in list(self._table.local.values()):
            if self.store.shared:
                stream.producer.abandon()
            else:
                stream.producer.interrupt(interrupted("shutdown").message)

    async def aclose(self) -> None:
        """End or leave what still runs, and give the lease back."""
        await self.drain(0)
        self._readiness.stop()
        await self._membership.leave()

    def admit(self) -> None:
        """`UnavailableError` (`overloaded`) when no stream can begin in this process now."""
        if self.draining:
            raise UnavailableError(
                "overloaded", "The server is stopping; ask again.", retry_after=_OVERLOAD_RETRY_S
            )
        if len(self._table.local) >= self.settings.server.max_streams:
            raise UnavailableError(
                "overloaded",
                f"{len(self._table.local)} streams are running, as many as this process may have.",
                retry_after=_OVERLOAD_RETRY_S,
            )


def new_id() -> str:
    """An id for a stream: 128 random bits, since ids must not be guessed. It is no credential."""
    return secrets.token_hex(16)
