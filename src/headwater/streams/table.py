"""The streams that live in this process, and the notes of other processes about them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from headwater.errors import HeadwaterError
from headwater.events import StreamError
from headwater.stores.base import Note, Record, Store, Tail
from headwater.streams.live import LiveStream
from headwater.streams.local import LocalStream
from headwater.streams.remote import RemoteStream


class StreamTable:
    """`local` streams are written here; `remote` ones are written elsewhere and read here.

    `owed` are streams of this process whose log could not take their end, with that end.
    """

    def __init__(self, store: Store) -> None:
        self.local: dict[str, LocalStream] = {}
        self.remote: dict[str, RemoteStream] = {}
        self.owed: dict[str, StreamError] = {}
        self.store = store
        self._quiet = asyncio.Event()
        self._quiet.set()

    def add(self, stream: LocalStream) -> None:
        """A stream begins to be written here."""
        self.local[stream.id] = stream
        self._quiet.clear()

    def discard(self, stream: LocalStream) -> None:
        """The stream is no longer written here."""
        self.local.pop(stream.id, None)
        if not self.local:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no stream is written here."""
        await self._quiet.wait()

    def get(self, stream: str) -> LiveStream | None:
        """The stream, where it lives here."""
        return self.local.get(stream) or self.remote.get(stream)

    def follow(self, record: Record, tail: Tail) -> LiveStream | None:
        """The stream while it runs, in this process or in another."""
        live = self.get(record.stream)
        if live is None and self.store.shared and not tail.closed:
            live = self.remote[record.stream] = RemoteStream(
                record, tail.last, self.store, self._lose_sight
            )
        return live

    def note(self, note: Note, stream: str, sender: str) -> None:
        """Hand a note of another process to the stream that it is about."""
        # A stream that was taken over here may still be followed here, as another process's.
        streams = self.remote if note == "wake" else self.local
        live: LiveStream | None = streams.get(stream)
        if live is not None:
            live.note(note, sender)

    def revoke(self, principals: Collection[str]) -> None:
        """Stop the streams of these principals, and cut their readers here."""
        for stream in list(self.local.values()):
            if stream.record.principal in principals:
                stream.producer.stop("revoked")
        for remote in list(self.remote.values()):
            if remote.record.principal in principals:
                remote.stop("revoke")
                remote.cut()

    def cut_remotes(self) -> None:
        """Cut the readers of streams that other processes write."""
        for remote in list(self.remote.values()):
            remote.cut()

    async def expire_readers(self, held_s: float) -> None:
        """Drop the remote readers whose process no longer sends that it has them.

        `held_s` is for how long the event loop could not read notes.
        """
        now = asyncio.get_running_loop().time()
        silent = [(s, nodes) for s in self.local.values() if (nodes := s.silent(now, held_s))]
        try:
            stalled = await self.store.stalled() if silent else ()
        except HeadwaterError:  # the lease cannot be renewed either, and that is logged
            return
        for stream, nodes in silent:
            stream.expire(nodes, stalled)

    async def leave_lost(self) -> None:
        """Leave the streams that other processes have taken over, and free their providers."""
        for stream in list(self.local.values()):
            record = await self.store.record(stream.id)
            if record is not None and record.node != self.store.node:
                stream.producer.abandon()

    def _lose_sight(self, remote: RemoteStream) -> None:
        self.remote.pop(remote.id, None)
