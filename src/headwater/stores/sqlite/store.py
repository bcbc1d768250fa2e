"""The store in an SQLite file."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

from headwater.errors import StorageError
from headwater.events.position import Position
from headwater.stores.base import SILENT_S, Appended, Entry, Note, OnNote, Record, Tail
from headwater.stores.sqlite import statements as sql
from headwater.stores.sqlite.channel import Channel, Letter
from headwater.stores.sqlite.commits import Commits
from headwater.stores.sqlite.file import (
    LOST,
    NOT_MADE,
    SLOW,
    connect,
    identity,
    make_private,
    remedy,
)
from headwater.stores.sqlite.folder import Folder
from headwater.stores.sqlite.sweep import sweep
from headwater.stores.sqlite.worker import Worker

log = logging.getLogger("headwater.stores")

T = TypeVar("T")

# Processes that open a new file at once are in each other's way: WAL mode wants it alone.
_OPEN_S: Final = 10.0
# The log of commits goes back into the file from here on; and from there on at all costs, since
# readers that come without a pause could put it off for ever.
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
_RESTART_BYTES: Final = 64 * 1024 * 1024
# Between two steps of a sweep: half of the time the file is left to those who write.
_SWEEP_PAUSE_S: Final = 0.004
# How long a probe waits for its commit.
_READY_S: Final = 1.5


class SqliteStore:
    """Logs in a file, shared by the processes of one machine.

    Survives `kill -9` of any of them with everything that was delivered; what a power loss may take
    is the last commits (`synchronous=NORMAL`). `path` is the file, made where it is not; `ttl_s` is
    how long a log is kept after its end; `lease_s` how long a silent process keeps its streams.
    """

    shared = True

    def __init__(self, path: Path, *, ttl_s: float = 3600.0, lease_s: float = 5.0) -> None:
        self.node = secrets.token_hex(8)
        self._path = path
        self._ttl_s = ttl_s
        self._lease_s = lease_s
        self._writer: Worker | None = None
        self._numbers: dict[str, int] = {}  # of the open streams that this process began
        self._channel: Channel | None = None
        self._file: tuple[int, int] | None = None
        self._lost = False
        self._sweeping = False
        self._closed = False

    async def open(self, on_note: OnNote) -> None:
        try:
            name = await asyncio.to_thread(_prepare, self._path, self._ttl_s)
            self._here = connect(self._path, waits=False)
        except (sqlite3.Error, OSError) as error:
            raise self._not_opened(error) from error
        self._closed = False
        self._file = identity(self._path)
        self._writer = Worker(self._path)
        self._reader = Worker(self._path)
        self._keeper = Worker(self._path)
        self._commits = Commits(self._writer, self._here)
        self._folder = Folder(self._path, name, self.node)
        self._channel = Channel(self._folder, self.node, on_note, self._post, self._fetch)
        try:
            await self.beat()
            others = await self._reader.run(partial(sql.others, node=self.node))
        except BaseException:
            await self.aclose()  # it may be opened again
            raise
        self._channel.greet(others)

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        number = await self._write(partial(sql.create, record=record, node=self.node, plan=plan))
        self._numbers[record.stream] = number

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        if self._lost:
            return "failed"
        ends_in = self._ttl_s if closes else None
        number = self._numbers.get(stream)

        def write(connection: sqlite3.Connection) -> Appended:
            return sql.append(connection, stream, number, prev, last, data, ends_in)

        def answer(result: Any) -> None:
            if result != "ok" or closes:
                self._numbers.pop(stream, None)
            done("failed" if isinstance(result, Exception) else result)

        self._commits.add(write, answer)
        return None

    async def record(self, stream: str) -> Record | None:
        return await self._read(partial(sql.record, stream=stream))

    async def plan(self, stream: str) -> bytes | None:
        return await self._read(partial(sql.plan, stream=stream))

    async def tail(self, stream: str) -> Tail | None:
        return await self._read(partial(sql.tail, stream=stream))

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        return await self._read(partial(sql.read, stream=stream, after=after, limit=limit))

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        return await self._read(partial(sql.of_principal, principal=principal, limit=limit))

    async def labelled(self, label: str, limit: int) -> Sequence[Record]:
        return await self._read(partial(sql.labelled, label=label, limit=limit))

    async def claim(self, key: str, value: str, keep_s: float | None = None) -> str:
        kept = self._ttl_s if keep_s is None else keep_s
        return await self._write(partial(sql.claim, key=key, value=value, keep_s=kept))

    async def claimed(self, key: str) -> str | None:
        return await self._read(partial(sql.claimed, key=key))

    async def disclaim(self, key: str, value: str) -> None:
        await self._write(partial(sql.disclaim, key=key, value=value))

    def send(self, node: str, note: Note, stream: str) -> None:
        if self._channel is not None:
            self._channel.send(node, note, stream)

    async def beat(self) -> None:
        self._look()
        await self._write(partial(sql.beat, node=self.node, lease_s=self._lease_s))
        if self._channel is not None:
            self._channel.look()
        wal = self._path.with_name(self._path.name + "-wal")
        size = wal.stat().st_size if wal.exists() else 0
        if size > _CHECKPOINT_BYTES:
            mode = "PASSIVE" if size <= _RESTART_BYTES else "RESTART"
            self._keeper.push(partial(_checkpoint, mode=mode), _say)
        self._sweep()

    async def ready(self) -> None:
        self._look()
        self._check_file()
        try:
            async with asyncio.timeout(_READY_S):
                await self._write(partial(sql.probe, node=self.node))
        except TimeoutError as error:
            raise StorageError("store_unavailable", SLOW) from error
        except StorageError as error:
            raise StorageError("store_unavailable", remedy(error.__cause__)) from error

    async def orphans(self) -> Sequence[Record]:
        return await self._read(
            partial(sql.orphans, lease_s=self._lease_s, is_there=self._folder.is_there)
        )

    async def stalled(self) -> Collection[str]:
        return await self._read(
            partial(
                sql.stalled,
                silent_s=SILENT_S,
                lease_s=self._lease_s,
                is_there=self._folder.is_there,
            )
        )

    async def alive(self, node: str) -> bool | None:
        return await self._read(lambda _: self._folder.is_there(node))

    async def takeover(self, stream: str, node: str) -> Tail | None:
        return await self._write(
            partial(sql.takeover, stream=stream, node=node, new_node=self.node)
        )

    async def release(self) -> None:
        await self._write(partial(sql.release, node=self.node))

    async def aclose(self) -> None:
        writer, self._writer = self._writer, None
        channel, self._channel = self._channel, None
        if writer is None:
            return
        self._closed = True
        for worker in (writer, self._reader, self._keeper):
            await worker.aclose()
        self._here.close()
        if channel is not None:
            channel.close()

    def _post(
        self, letters: Collection[Letter], done: Callable[[Mapping[str, float]], None]
    ) -> None:
        def posted(result: Any) -> None:
            if not isinstance(result, Exception):
                done(result)

        self._commits.add(
            partial(sql.post, sender=self.node, notes=letters, is_there=self._folder.is_there),
            posted,
        )

    def _fetch(self, done: Callable[[Collection[Letter]], None]) -> None:
        def fetched(result: Any) -> None:
            if not isinstance(result, Exception):
                done(result)

        def seen(result: bool | Exception) -> None:
            if result is True:
                self._commits.add(partial(sql.fetch, node=self.node), fetched)

        self._reader.push(partial(sql.has_notes, node=self.node), seen)

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        self._check_file()
        return await self._reader.run(job)

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        self._check_file()
        return await self._commits.run(job)

    def _not_opened(self, error: Exception) -> StorageError:
        """For callers, who learn no path; the log has it."""
        log.error("%s cannot be opened: %s", self._path, error)
        made = isinstance(error, sqlite3.Error)
        return StorageError("store_unavailable", remedy(error) if made else NOT_MADE)

    def _look(self) -> None:
        """See whether the file is still the one that was opened."""
        lost = identity(self._path) != self._file
        if lost and not self._lost:
            log.error("%s was removed or replaced while it was used", self._path)
        self._lost = lost

    def _check_file(self) -> None:
        """`StorageError` when the file is gone: what is written into it is lost at the next start,
        and other processes have another one.
        """
        if self._lost:
            raise StorageError("store_unavailable", LOST)

    def _sweep(self) -> None:
        """Delete what has expired, step by step beside the loop, until nothing is left."""
        if not self._sweeping and not self._closed:
            self._sweeping = True
            self._keeper.push(partial(sweep, node=self.node), self._swept)

    def _swept(self, more: bool | Exception) -> None:
        self._sweeping = False
        if more is True:
            asyncio.get_running_loop().call_later(_SWEEP_PAUSE_S, self._sweep)
        elif isinstance(more, Exception):
            log.warning("expired streams could not be deleted: %s", more)


def _prepare(path: Path, ttl_s: float) -> str:
    """Make the file and its tables; the first of several processes does, the others wait."""
    give_up_at = time.monotonic() + _OPEN_S
    schema = files(__package__).joinpath("schema.sql").read_text()
    make_private(path)
    while True:
        connection = connect(path)
        try:
            return sql.prepare(connection, schema, _boot(), ttl_s)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
        finally:
            connection.close()
        time.sleep(0.02)


def _boot() -> str:
    """What changes whenever the machine starts anew, and its monotonic clock with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # elsewhere: the time of the boot, to a minute
        return str(round((time.time() - time.monotonic()) / 60))


def _checkpoint(connection: sqlite3.Connection, mode: str) -> None:
    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()


def _say(result: Any) -> None:
    if isinstance(result, Exception):
        log.warning("a checkpoint failed: %s", result)
