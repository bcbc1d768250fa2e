"""Group commit: one transaction under way a process, across all its streams.

A transaction that nothing holds up takes less time than to hand it to a thread and back, so it is
done in the loop. While another process writes, or the disk is slow, a thread waits for it instead.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from headwater.errors import StorageError
from headwater.observe.logs import without_request
from headwater.stores.sqlite.worker import Worker

log = logging.getLogger("headwater.stores")

T = TypeVar("T")

#: A step of a transaction: it answers, or raises what makes it fail alone.
Write = Callable[[sqlite3.Connection], Any]
Done = Callable[[Any], None]


# A transaction that took longer found a slow disk: the loop has other streams to serve.
_SLOW_S: Final = 0.01
_AVOIDED_S: Final = 1.0


class Commits:
    """What arrives while a transaction is under way is the next. No timer, no delay when idle.

    `here` is a connection of the loop's own thread that waits for nobody.
    """

    def __init__(self, worker: Worker, here: sqlite3.Connection) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self._here = here
        self._here_again_at = 0.0
        self._waiting: list[tuple[Write, Done]] = []
        self._busy = False

    def add(self, write: Write, done: Done) -> None:
        """`done` is called when it is committed, in order, with its answer or the exception."""
        self._waiting.append((write, done))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(
                self._commit, context=without_request()
            )  # with whatever else this turn of the loop brings

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
        result = self._at_once(writes)
        if result is not None:
            self._committed(batch, result)
            return
        self._worker.push(
            lambda connection: _transaction(connection, writes),
            lambda result: self._committed(batch, result),
        )

    def _at_once(self, writes: list[Write]) -> list[Any] | Exception | None:
        """What the transaction came to; None when it would have to wait."""
        began = self._loop.time()
        if began < self._here_again_at:
            return None
        try:
            return _transaction(self._here, writes)
        except sqlite3.Error as error:
            if self._here.in_transaction:
                self._here.rollback()
            return None if error.sqlite_errorcode == sqlite3.SQLITE_BUSY else error
        finally:
            ended = self._loop.time()
            if ended - began > _SLOW_S:
                self._here_again_at = ended + _AVOIDED_S

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
