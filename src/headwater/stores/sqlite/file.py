"""The database's file: for its user alone, opened only where it is, and missed when it is gone."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater.errors import ConfigurationError

log = logging.getLogger("headwater.stores")

# How long another process's commit is waited for.
_BUSY_S: Final = 5.0
# Logs hold what callers asked and were answered.
_MODE: Final = 0o600
_BESIDE: Final = ("", "-wal", "-shm")

#: What an operator does about an error, by SQLite's primary result code.
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "The disk of the store is full: free some of it, or lower store.ttl_s.",
    sqlite3.SQLITE_BUSY: "Another program holds the store's file: end it.",
    sqlite3.SQLITE_LOCKED: "Another program holds the store's file: end it.",
    sqlite3.SQLITE_READONLY: "The store's file cannot be written: check its permissions.",
    sqlite3.SQLITE_CANTOPEN: "The store's file cannot be opened: check its folder's permissions.",
    sqlite3.SQLITE_PERM: "The store's file cannot be opened: check its permissions.",
    sqlite3.SQLITE_CORRUPT: "The store's file is damaged: move it away, and restart the server.",
    sqlite3.SQLITE_NOTADB: "The store's file is no database: let store.url name another.",
}
NOT_MADE: Final = "The store's file cannot be made: check its folder and that folder's permissions."
FOREIGN: Final = "The store's file belongs to another user: let store.url name one of the server's."
LOST: Final = "The store's file was removed or replaced while the server used it: restart it."
SLOW: Final = "The store's file is held by another program, or its disk does not answer."


def remedy(error: BaseException | None) -> str:
    """Why the file could not be used and what to do; names no path."""
    code = error.sqlite_errorcode if isinstance(error, sqlite3.Error) else None
    # Extended codes hold the primary one in their low byte.
    return _REMEDIES.get((code or 0) & 0xFF, "The store's disk fails: see the server's log.")


def make_private(path: Path) -> None:
    """Make the file where it is not; only its user may read it and what SQLite keeps beside it.

    A file of this user that others may read is repaired, with a warning: processes of another
    user could not share it anyway, as they reach each other through a folder of one user.
    `ConfigurationError` for a file of another user but root: that user reads and writes it.
    """
    with suppress(FileExistsError):
        _make(path)
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        try:
            _check_owner(beside, beside.lstat())
            found = beside.stat()
        except FileNotFoundError:
            continue
        _check_owner(beside, found)
        if stat.S_IMODE(found.st_mode) & 0o077 == 0 or not stat.S_ISREG(found.st_mode):
            continue
        if found.st_uid == os.geteuid():
            beside.chmod(_MODE)
            log.warning("%s could be read by other users; only its owner can now", beside)
        else:
            log.warning("%s belongs to root, and others can read it", beside)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file a path names now; None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path, *, waits: bool = True) -> sqlite3.Connection:
    """A connection of this thread to a file that exists, in autocommit: transactions are begun by
    hand.

    `waits` is whether it waits for another's commit; either way it does while it is made.
    """
    # A file that was removed must not come back empty.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
    # An entry is a few dozen bytes, and a commit writes whole pages. For a file that is new.
    connection.execute("PRAGMA page_size=2048")
    # Survives the death of the process; what the machine's own death may take is the last commits.
    connection.execute("PRAGMA synchronous=NORMAL")
    # A checkpoint would come in the middle of a commit; `beat` does them apart.
    connection.execute("PRAGMA wal_autocheckpoint=0")
    if not waits:
        connection.execute("PRAGMA busy_timeout=0")
    return connection


def _check_owner(path: Path, found: os.stat_result) -> None:
    """`ConfigurationError`, which names no path, for a file or a link of another user but root."""
    if found.st_uid not in (os.geteuid(), 0):
        log.error("%s belongs to another user", path)
        raise ConfigurationError(FOREIGN)


def _make(path: Path) -> None:
    """An empty file. SQLite gives what it keeps beside it the same permissions."""
    try:
        # Without a descriptor: closing one would drop the locks of this process's connections.
        os.mknod(path, stat.S_IFREG | _MODE)
    except FileExistsError:
        raise
    except OSError:  # elsewhere only root may do so
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
