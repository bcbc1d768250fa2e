"""A connection of SQLite in a thread of its own: what waits for the disk never holds the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from headwater.errors import StorageError
from headwater.stores.sqlite.file import connect

T = TypeVar("T")


class Worker:
    """Runs functions of the connection one after another; made in the loop that it answers to."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._jobs: SimpleQueue[Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="headwater-sqlite", daemon=True)
        self._thread.start()

    def push(
        self, job: Callable[[sqlite3.Connection], T], done: Callable[[T | Exception], None]
    ) -> None:
        """Run `job` in the thread, and `done` in the loop with what it gave or raised."""

        def run(connection: sqlite3.Connection) -> None:
            result: T | Exception
            try:
                result = job(connection)
            except Exception as error:  # whatever it is, it is for the one who asked
                if connection.in_transaction:
                    connection.rollback()
                result = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(done, result)

        self._jobs.put(run)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` gives; `StorageError` for what SQLite raises."""
        answer: asyncio.Future[T | Exception] = self._loop.create_future()

        def done(result: T | Exception) -> None:
            if not answer.done():
                answer.set_result(result)

        self.push(job, done)
        result = await answer
        if isinstance(result, sqlite3.Error):
            raise StorageError("store_unavailable", f"The store failed: {result}.") from result
        if isinstance(result, Exception):
            raise result
        return result

    async def aclose(self) -> None:
        """Do what is queued, and close the connection."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if self._connection is None:
                    self._connection = connect(self._path)
                job(self._connection)
        finally:
            if self._connection is not None:
                self._connection.close()
