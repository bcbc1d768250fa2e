"""Group commit: one transaction under way a process, across all its streams."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from headwater.errors import StorageError
from headwater.stores.sqlite.worker import Worker

log = logging.getLogger("headwater.stores")

T = TypeVar("T")

#: A step of a transaction: it answers, or raises what makes it fail alone.
Write = Callable[[sqlite3.Connection], Any]
Done = Callable[[Any], None]


class Commits:
    """What arrives while a transaction is under way is the next. No timer, no delay when idle."""

    def __init__(self, worker: Worker) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self._waiting: list[tuple[Write, Done]] = []
        self._busy = False

    def add(self, write: Write, done: Done) -> None:
        """`done` is called when it is committed, in order, with its answer or the exception."""
        self._waiting.append((write, done))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._commit)  # with whatever else this turn of the loop brings

    async def run(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """What `write` answers, once it is committed; `StorageError` when it is not."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def done(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        self.add(write, done)
        result = await answer
        if isinstance(result, Exception):
            raise StorageError("store_unavailable", f"The store failed: {result}.") from result
        committed: T = result
        return committed

    def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        writes = [write for write, _ in batch]
        self._worker.push(
            lambda connection: _transaction(connection, writes),
            lambda result: self._committed(batch, result),
        )

    def _committed(self, batch: list[tuple[Write, Done]], result: list[Any] | Exception) -> None:
        if isinstance(result, Exception):
            log.error("a commit of %d writes failed: %s", len(batch), result)
            result = [result] * len(batch)
        # The next transaction works while the readers of this one are told.
        if self._waiting:
            self._commit()
        else:
            self._busy = False
        for (_, done), answer in zip(batch, result, strict=True):
            try:
                done(answer)
            except Exception:  # one stream's fault is not another's
                log.exception("the answer to a write was not taken")


def _transaction(connection: sqlite3.Connection, writes: list[Write]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    answers = []
    for write in writes:
        try:
            answers.append(write(connection))
        except sqlite3.IntegrityError as error:  # this one's alone; the transaction goes on
            answers.append(error)
    connection.execute("COMMIT")
    return answers
