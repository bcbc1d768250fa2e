"""Deletes what has expired, in short transactions: appends of every process wait for them."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

# How long one step may hold the file, and what it deletes between two looks at the clock.
_STEP_S: Final = 0.004
_PIECE: Final = 64

_CLAIMS: Final = """
DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE expires <= ? LIMIT ?)
"""
_ENTRIES: Final = """
DELETE FROM entries WHERE number = ?1
AND (epoch, seq) IN (SELECT epoch, seq FROM entries WHERE number = ?1 LIMIT ?2)
"""
_EXPIRED: Final = """
SELECT EXISTS (SELECT 1 FROM streams WHERE expires <= ?1)
OR EXISTS (SELECT 1 FROM claims WHERE expires <= ?1)
"""


def sweep(connection: sqlite3.Connection, node: str) -> bool:
    """Delete some of what has expired, in one short transaction; whether there may be more.

    One living process does so for all: many at once would leave no room for appends.
    """
    now = time.monotonic()
    alive = connection.execute("SELECT min(node) FROM nodes WHERE expires > ?", (now,))
    if alive.fetchone() != (node,):
        return False
    # Looked at without holding up who writes.
    if connection.execute(_EXPIRED, (now,)).fetchone() == (0,):
        return False
    connection.execute("BEGIN IMMEDIATE")
    began = time.monotonic()  # it may have waited for the file
    while (left := _sweep_some(connection, now)) and time.monotonic() - began < _STEP_S:
        pass
    connection.execute("COMMIT")
    return left


def _sweep_some(connection: sqlite3.Connection, now: float) -> bool:
    """Some entries of an expired stream, or the stream itself once it has none, or some claims."""
    row = connection.execute("SELECT number FROM streams WHERE expires <= ? LIMIT 1", (now,))
    [number] = row.fetchone() or (None,)
    if number is None:
        return connection.execute(_CLAIMS, (now, _PIECE)).rowcount == _PIECE
    if connection.execute(_ENTRIES, (number, _PIECE)).rowcount < _PIECE:
        connection.execute("DELETE FROM streams WHERE number = ?", (number,))
    return True
