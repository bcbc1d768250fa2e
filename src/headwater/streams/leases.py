"""The lease of this process: renewed in time, and what is due at each renewal."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from headwater.errors import HeadwaterError
from headwater.observe.logs import without_request
from headwater.stores.base import OnNote, Store
from headwater.streams.sweep import Sweeper
from headwater.streams.table import StreamTable
from headwater.timers import HELD_S

log = logging.getLogger("headwater.streams")

# How often at least: an orphan is found within this of the end of its holder's lease.
_EVERY_S: Final = 1.0
# And a few times a lease, or a busy process would lose its own.
_A_LEASE: Final = 4


class Leases:
    """Renews this process's lease of `lease_s`, and sweeps up after other processes."""

    def __init__(self, lease_s: float, table: StreamTable, sweeper: Sweeper) -> None:
        self._store = table.store
        self._lease_s = lease_s
        self._table = table
        self._sweeper = sweeper
        self._every_s = min(_EVERY_S, lease_s / _A_LEASE)
        self._late = False  # the lease may have run out: streams may have another writer now
        self._renewed_at = 0.0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return. Cancelling it is not enough: a client library may swallow that."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`."""
        loop = asyncio.get_running_loop()
        troubled = False
        due = loop.time()
        while not self._stopping.is_set():
            held_s = loop.time() - due
            if held_s > HELD_S:
                log.warning("the event loop was held up for %.1f s", held_s)
            self._late = self._late or held_s > self._lease_s / 2
            due += held_s
            try:
                await self._table.expire_readers(held_s if held_s > HELD_S else 0.0)
                await self.round()
                troubled = False
            except HeadwaterError as error:
                if not troubled:  # once, not every second
                    log.warning("the store cannot be asked: %s", error.message)
                troubled = True
            except Exception:
                log.exception("the sweep failed")
            due = loop.time() + self._every_s
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stopping.wait()

    async def round(self) -> None:
        """Renew the lease; continue or end the streams whose lease holder is gone."""
        await self._renew()
        if self._late:
            await self._table.leave_lost()
            self._late = False
            return  # what held this process up may have held up the others too: they get a round
        await self._sweeper.sweep(self._renew_again)

    async def _renew(self) -> None:
        await self._store.beat()
        self._renewed_at = asyncio.get_running_loop().time()

    async def _renew_again(self) -> None:
        """Renew within a round that takes long: the last process of many has all their streams."""
        if asyncio.get_running_loop().time() - self._renewed_at > self._every_s:
            await self._renew()


class Membership:
    """The process among those that share a store: it joins on first use, and leaves at the end."""

    def __init__(self, store: Store, leases: Leases, on_note: OnNote) -> None:
        self._store = store
        self._leases = leases
        self._on_note = on_note
        self._joining: asyncio.Task[None] | None = None
        self._renewals: asyncio.Task[None] | None = None

    @property
    def joined(self) -> bool:
        """Whether there is nothing to await before the store is used."""
        return self._renewals is not None or not self._store.shared

    async def join(self) -> None:
        """Connect the store, and begin to renew the lease.

        `StorageError` when the store cannot be reached; the next call tries again.
        """
        if self.joined:
            return
        joining = self._joining
        if joining is None:
            joining = self._joining = asyncio.get_running_loop().create_task(
                self._join(), context=without_request()
            )
        try:
            # Shared by all callers meanwhile: one that leaves must not cancel it for the others.
            await asyncio.shield(joining)
        finally:
            if joining.done():
                self._joining = None

    async def leave(self) -> None:
        """Give the lease back."""
        if self._renewals is not None:
            self._leases.stop()
            self._renewals.cancel()
            await asyncio.gather(self._renewals, return_exceptions=True)
            await self._store.release()

    async def _join(self) -> None:
        await self._store.open(self._on_note)
        if self._renewals is None:
            self._renewals = asyncio.get_running_loop().create_task(
                self._leases.run(), context=without_request()
            )
