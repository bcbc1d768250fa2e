"""The steps of transactions, and the reads: SQL and nothing else."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from headwater.errors import StorageError
from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Note, Record, Tail, stall_s

#: Of the tables. A file of another version is refused: its processes may still be at work.
VERSION: Final = 1

# Four pages, and one for each of the tables' trees.
_PROBED: Final = 8192

# Older notes are of no use: their sender has said the same again, or looks by itself.
_NOTE_S: Final = 60.0

#: Whether a process lives; None where that cannot be told.
IsThere = Callable[[str], bool | None]

_RECORD: Final = "SELECT record, node FROM streams WHERE (expires IS NULL OR expires > ?)"
# The row is inserted only where the stream is open, of this epoch, and ends at `prev`.
_INSERT: Final = """
INSERT INTO entries SELECT ?1, ?2, ?3, ?4
WHERE EXISTS (SELECT 1 FROM streams WHERE number = ?1 AND expires IS NULL AND epoch = ?2)
AND (?5, ?6) IS (
    SELECT epoch, seq FROM entries WHERE number = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1)
"""
_LAST: Final = """
SELECT s.expires, s.epoch, e.epoch, e.seq, e.data
FROM streams AS s LEFT JOIN entries AS e ON e.number = s.number
WHERE s.stream = ? ORDER BY e.epoch DESC, e.seq DESC LIMIT 1
"""
_READ: Final = """
SELECT epoch, seq, data FROM entries
WHERE number = ? AND (epoch, seq) > (?, ?) ORDER BY epoch, seq
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def prepare(connection: sqlite3.Connection, schema: str, boot: str, ttl_s: float) -> str:
    """Make the tables where they are not; reset what another boot's clock had measured.

    Returns the name of the folder of sockets.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise StorageError(
            "store_unavailable",
            f"The database was made by another version of Headwater: its tables are version "
            f"{version}, this one's {VERSION}.",
        )
    for statement in schema.split(";"):
        connection.execute(statement)
    if connection.execute("SELECT boot FROM boots").fetchone() != (boot,):
        expires = time.monotonic() + ttl_s
        connection.execute("DELETE FROM nodes")
        connection.execute("DELETE FROM notes")
        connection.execute("DELETE FROM boots")
        connection.execute("INSERT INTO boots VALUES (?)", (boot,))
        connection.execute("UPDATE streams SET expires = ? WHERE expires IS NOT NULL", (expires,))
        connection.execute("UPDATE claims SET expires = ?", (expires,))
    found = connection.execute("SELECT name FROM folders").fetchone()
    [folder] = found or (secrets.token_hex(16),)
    if found is None:
        connection.execute("INSERT INTO folders VALUES (?)", (folder,))
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    return str(folder)


def create(
    connection: sqlite3.Connection, record: Record, node: str, plan: bytes | None = None
) -> int:
    """The row of a stream, open, in epoch 1, and its plan where it has one; its number."""
    inserted = connection.execute(
        "INSERT INTO streams (stream, principal, label, record, node) VALUES (?, ?, ?, ?, ?)",
        (record.stream, record.principal, record.label, _encode(record), node),
    )
    number = inserted.lastrowid or 0
    if plan is not None:
        connection.execute("INSERT INTO plans VALUES (?, ?)", (number, plan))
    return number


def append(
    connection: sqlite3.Connection,
    stream: str,
    number: int | None,
    prev: Position,
    last: Position,
    data: bytes,
    ends_in: float | None,
) -> Appended:
    """The checked append; `ends_in` is after how many seconds a log that ends here expires.

    `number` is the stream's, where it is known.
    """
    if number is None:
        row = connection.execute("SELECT number FROM streams WHERE stream = ?", (stream,))
        [number] = row.fetchone() or (0,)
    before = (None, None) if prev == START else (prev.epoch, prev.seq)
    values = (number, last.epoch, last.seq, data, *before)
    if last <= prev or connection.execute(_INSERT, values).rowcount != 1:
        return _refusal(connection, stream, last, data)
    if ends_in is not None:
        connection.execute(
            "UPDATE streams SET expires = ? WHERE stream = ?", (time.monotonic() + ends_in, stream)
        )
        connection.execute("DELETE FROM plans WHERE number = ?", (number,))
    return "ok"


def _refusal(connection: sqlite3.Connection, stream: str, last: Position, data: bytes) -> Appended:
    row = connection.execute(_LAST, (stream,)).fetchone()
    if row is None or (row[0] is not None and row[0] <= time.monotonic()):
        return "gone"
    expires, held_epoch, epoch, seq, tail = row
    if epoch is not None and Position(epoch, seq) == last and tail == data:
        return "duplicate"
    if expires is not None:
        return "closed"
    return "fenced" if held_epoch > last.epoch else "gap"


def takeover(connection: sqlite3.Connection, stream: str, node: str, new_node: str) -> Tail | None:
    """Give the stream to another process in the next epoch, and fence the log there.

    None when `node` does not hold the stream.
    """
    taken = connection.execute(
        "UPDATE streams SET epoch = epoch + 1, node = ? "
        "WHERE stream = ? AND node = ? AND expires IS NULL RETURNING number, epoch",
        (new_node, stream, node),
    ).fetchone()
    if taken is None:
        return None
    number, epoch = taken
    connection.execute("INSERT INTO entries VALUES (?, ?, 0, x'')", (number, epoch))
    return Tail(Position(epoch, 0), False)


def claim(connection: sqlite3.Connection, key: str, value: str, keep_s: float) -> str:
    """`Store.claim`."""
    now = time.monotonic()
    connection.execute("DELETE FROM claims WHERE key = ? AND expires <= ?", (key, now))
    connection.execute("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", (key, value, now + keep_s))
    row = connection.execute("SELECT value FROM claims WHERE key = ?", (key,)).fetchone()
    return str(row[0])


def claimed(connection: sqlite3.Connection, key: str) -> str | None:
    """`Store.claimed`."""
    row = connection.execute(
        "SELECT value FROM claims WHERE key = ? AND expires > ?", (key, time.monotonic())
    ).fetchone()
    return None if row is None else str(row[0])


def disclaim(connection: sqlite3.Connection, key: str, value: str) -> None:
    """`Store.disclaim`."""
    connection.execute("DELETE FROM claims WHERE key = ? AND value = ?", (key, value))


def beat(connection: sqlite3.Connection, node: str, lease_s: float) -> None:
    """Renew the lease; forget processes that are gone."""
    now = time.monotonic()
    connection.execute("REPLACE INTO nodes VALUES (?, ?)", (node, now + lease_s))
    connection.execute(
        "DELETE FROM nodes WHERE expires <= ? AND node NOT IN "
        "(SELECT node FROM streams WHERE expires IS NULL)",
        (now,),
    )
    connection.execute("DELETE FROM notes WHERE at <= ?", (now - _NOTE_S,))


def release(connection: sqlite3.Connection, node: str) -> None:
    """End the lease, and whatever the process could still claim by being there."""
    connection.execute("DELETE FROM nodes WHERE node = ?", (node,))


def post(
    connection: sqlite3.Connection,
    sender: str,
    notes: Collection[tuple[str, Note, str]],
    is_there: IsThere,
) -> Mapping[str, float]:
    """Keep notes (process, note, stream) until they are fetched.

    Returns the processes that some are for, and when their leases end. Those to processes that are
    gone are dropped.
    """
    now = time.monotonic()
    leases = dict(connection.execute("SELECT node, expires FROM nodes"))
    kept = [each for each in notes if each[0] in leases and is_there(each[0]) is not False]
    connection.executemany(
        "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?)",
        [(node, stream, note, sender, now) for node, note, stream in kept],
    )
    return {node: leases[node] for node, _, _ in kept}


def fetch(connection: sqlite3.Connection, node: str) -> Sequence[tuple[str, Note, str]]:
    """Take the notes (sender, note, stream) to this process."""
    return connection.execute(
        "DELETE FROM notes WHERE node = ? RETURNING sender, note, stream", (node,)
    ).fetchall()


def probe(connection: sqlite3.Connection, node: str) -> None:
    """Write more pages than the beginning of a stream does, as a claim that is over at once."""
    now = time.monotonic()
    value = f"{now} ".ljust(_PROBED)
    connection.execute("REPLACE INTO claims VALUES (?, ?, ?)", (f"ready {node}", value, now))


# reads


def has_notes(connection: sqlite3.Connection, node: str) -> bool:
    """Whether there is something to fetch."""
    found = connection.execute("SELECT 1 FROM notes WHERE node = ? LIMIT 1", (node,))
    return found.fetchone() is not None


def others(connection: sqlite3.Connection, node: str) -> Sequence[str]:
    """The other processes whose lease lasts."""
    rows = connection.execute(
        "SELECT node FROM nodes WHERE expires > ? AND node != ?", (time.monotonic(), node)
    )
    return [name for (name,) in rows]


def stalled(
    connection: sqlite3.Connection, silent_s: float, lease_s: float, is_there: IsThere
) -> Sequence[str]:
    """Processes that are there and have not renewed their lease for `silent_s`."""
    now = time.monotonic()
    rows = connection.execute(
        "SELECT node FROM nodes WHERE expires <= ? AND expires > ?",
        (now + lease_s - silent_s, now + lease_s - stall_s(lease_s)),
    )
    return [node for (node,) in rows if is_there(node)]


def orphans(connection: sqlite3.Connection, lease_s: float, is_there: IsThere) -> Sequence[Record]:
    """Open streams of processes whose lease has run out, but for those that only stall."""
    now = time.monotonic()
    rows = connection.execute(
        "SELECT record, streams.node, nodes.expires FROM streams LEFT JOIN nodes USING (node) "
        "WHERE streams.expires IS NULL AND coalesce(nodes.expires, ?1) <= ?1",
        (now,),
    )
    late = now + lease_s - stall_s(lease_s)
    found: list[Record] = []
    waits: dict[str, bool] = {}
    for data, node, expires in rows:
        if node not in waits:
            waits[node] = expires is not None and expires > late and is_there(node) is True
        if not waits[node]:
            found.append(_record(data, node))
    return found


def record(connection: sqlite3.Connection, stream: str) -> Record | None:
    """`Store.record`."""
    row = connection.execute(f"{_RECORD} AND stream = ?", (time.monotonic(), stream)).fetchone()
    return _record(*row) if row is not None else None


def plan(connection: sqlite3.Connection, stream: str) -> bytes | None:
    """`Store.plan`."""
    row = connection.execute(
        "SELECT plan FROM plans NATURAL JOIN streams WHERE stream = ?", (stream,)
    ).fetchone()
    return row[0] if row is not None else None


def of_principal(
    connection: sqlite3.Connection, principal: str | None, limit: int
) -> Sequence[Record]:
    """`Store.list`."""
    sql = f"{_RECORD} AND principal IS ? ORDER BY number DESC LIMIT ?"
    return [_record(*row) for row in connection.execute(sql, (time.monotonic(), principal, limit))]


def labelled(connection: sqlite3.Connection, label: str, limit: int) -> Sequence[Record]:
    """`Store.labelled`."""
    sql = f"{_RECORD} AND label = ? ORDER BY number DESC LIMIT ?"
    return [_record(*row) for row in connection.execute(sql, (time.monotonic(), label, limit))]


def tail(connection: sqlite3.Connection, stream: str) -> Tail | None:
    """`Store.tail`."""
    row = connection.execute(_LAST, (stream,)).fetchone()
    if row is None or (row[0] is not None and row[0] <= time.monotonic()):
        return None
    expires, _, epoch, seq, _ = row
    last = START if epoch is None else Position(epoch, seq)
    return Tail(last, expires is not None)


def read(
    connection: sqlite3.Connection, stream: str, after: Position, limit: int
) -> Sequence[Entry] | None:
    """`Store.read`."""
    row = connection.execute(
        "SELECT number FROM streams WHERE stream = ? AND (expires IS NULL OR expires > ?)",
        (stream, time.monotonic()),
    ).fetchone()
    if row is None:
        return None
    entries: list[Entry] = []
    size = 0
    for epoch, seq, data in connection.execute(_READ, (row[0], after.epoch, after.seq)):
        if entries and size >= limit:
            break
        entries.append(Entry(Position(epoch, seq), data))
        size += len(data)
    return entries


def _record(data: bytes, node: str) -> Record:
    return msgspec.structs.replace(_decode(data), node=node)
