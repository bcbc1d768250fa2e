"""The store of one process: everything in dictionaries, the oldest ended log dropped first."""

from __future__ import annotations

import asyncio
import heapq
import secrets
import sys
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from headwater.position import START, Position
from headwater.stores.base import Appended, Entry, Note, OnNote, Record, Tail

# How many logs that had to make room are remembered as such, to be told from unknown ones.
_REMEMBERED: Final = 4096
# What a log and its record weigh before the first entry, and an entry besides its bytes; measured
# with tracemalloc, rounded up. The bound is on memory, so small entries must count as they weigh.
_LOG_BYTES: Final = 1200
_ENTRY_BYTES: Final = 200


class _Log:
    __slots__ = ("closed", "entries", "epoch", "expires", "last", "plan", "record", "size")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.plan: bytes | None = None
        self.entries: list[Entry] = []
        self.epoch = 1
        self.last = START
        self.closed = False
        self.expires = sys.float_info.max
        self.size = _LOG_BYTES


class MemoryStore:
    """Logs in memory, gone with the process.

    `ttl_s` is how long an ended log is kept; `max_bytes` bounds all logs together: beyond it the
    logs that ended first go first. A log that still runs is never dropped.
    """

    shared = False

    def __init__(self, *, ttl_s: float = 3600.0, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.node = secrets.token_hex(8)
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._bytes = 0
        self._logs: dict[str, _Log] = {}
        self._ended: OrderedDict[str, _Log] = OrderedDict()
        self._trimmed: OrderedDict[str, _Log] = OrderedDict()
        self._labels: dict[str, list[str]] = {}
        self._claims: dict[str, tuple[str, float]] = {}
        self._claims_end: list[tuple[float, str]] = []  # a heap: not all are kept equally long

    async def open(self, on_note: OnNote) -> None:
        """There is nobody to hear from."""

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        log = self._logs[record.stream] = _Log(record)
        log.plan = plan
        if record.label is not None:
            self._labels.setdefault(record.label, []).append(record.stream)
        self._bytes += log.size
        self._make_room()

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        log = self._logs.get(stream)
        if log is None:
            return "gone"
        if log.last != prev or log.closed or last.epoch != log.epoch or last.seq <= prev.seq:
            return _refusal(log, prev, last, data)
        log.entries.append(Entry(last, data))
        log.last = last
        size = len(data) + _ENTRY_BYTES
        log.size += size
        self._bytes += size
        if closes:
            log.closed = True
            log.plan = None
            log.expires = asyncio.get_running_loop().time() + self._ttl_s
            self._ended[stream] = log
        if self._bytes > self._max_bytes or closes:
            self._make_room()
        return "ok"

    async def record(self, stream: str) -> Record | None:
        log = self._find(stream)
        return log.record if log is not None else None

    async def plan(self, stream: str) -> bytes | None:
        log = self._logs.get(stream)
        return log.plan if log is not None else None

    async def tail(self, stream: str) -> Tail | None:
        log = self._find(stream)
        return Tail(log.last, log.closed, stream in self._trimmed) if log is not None else None

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        log = self._find(stream)
        if log is None or stream in self._trimmed:
            return None
        first = bisect_right(log.entries, after, key=lambda entry: entry.last)
        end, size = first, 0
        while end < len(log.entries) and (end == first or size < limit):
            size += len(log.entries[end].data)
            end += 1
        return log.entries[first:end]

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        self._make_room()
        records: list[Record] = []
        for log in reversed(self._logs.values()):
            if log.record.principal == principal and log.record.stream not in self._trimmed:
                records.append(log.record)
                if len(records) == limit:
                    break
        return records

    async def labelled(self, label: str, limit: int) -> Sequence[Record]:
        self._make_room()
        streams = reversed(self._labels.get(label, ()))
        return [self._logs[stream].record for stream in streams][:limit]

    async def claim(self, key: str, value: str, keep_s: float | None = None) -> str:
        now = self._drop_claims()
        if key not in self._claims:
            expires = now + (self._ttl_s if keep_s is None else keep_s)
            self._claims[key] = (value, expires)
            heapq.heappush(self._claims_end, (expires, key))
        return self._claims[key][0]

    async def claimed(self, key: str) -> str | None:
        self._drop_claims()
        return self._claims.get(key, (None,))[0]

    async def disclaim(self, key: str, value: str) -> None:
        if key in self._claims and self._claims[key][0] == value:
            del self._claims[key]

    def send(self, node: str, note: Note, stream: str) -> None:
        """There is nobody to tell."""

    async def beat(self) -> None:
        self._make_room()

    async def orphans(self) -> Sequence[Record]:
        return []

    async def takeover(self, stream: str, node: str) -> Tail | None:
        log = self._logs.get(stream)
        if log is None or log.closed or log.record.node != node:
            return None
        log.record = msgspec.structs.replace(log.record, node=self.node)
        log.epoch += 1
        log.last = Position(log.epoch, 0)
        log.entries.append(Entry(log.last, b""))
        return Tail(log.last, False)

    async def release(self) -> None:
        """Nobody could take anything over."""

    async def aclose(self) -> None:
        """Nothing is held beyond memory."""

    def _drop_claims(self) -> float:
        """Drop the claims whose time is over; the time now."""
        now = asyncio.get_running_loop().time()
        while self._claims_end and self._claims_end[0][0] <= now:
            expires, key = heapq.heappop(self._claims_end)
            # Disclaimed and claimed again, the key has a later end, which is in the heap too.
            if self._claims.get(key, ("", 0.0))[1] == expires:
                del self._claims[key]
        return now

    def _find(self, stream: str) -> _Log | None:
        self._make_room()
        return self._logs.get(stream)

    def _make_room(self) -> None:
        """Drop what has expired, and the logs that ended first while there is too much."""
        now = asyncio.get_running_loop().time()
        while self._ended:
            stream, log = next(iter(self._ended.items()))
            expired = log.expires <= now
            if not expired and self._bytes <= self._max_bytes:
                break
            del self._ended[stream]
            self._bytes -= log.size
            if expired:
                self._drop(stream)
            else:
                log.entries.clear()
                self._trimmed[stream] = log
        while self._trimmed:
            stream, log = next(iter(self._trimmed.items()))
            if log.expires > now and len(self._trimmed) <= _REMEMBERED:
                break
            del self._trimmed[stream]
            self._drop(stream)

    def _drop(self, stream: str) -> None:
        label = self._logs.pop(stream).record.label
        if label is not None:
            streams = self._labels[label]
            streams.remove(stream)
            if not streams:
                del self._labels[label]


def _refusal(log: _Log, prev: Position, last: Position, data: bytes) -> Appended:
    if log.entries and log.entries[-1] == Entry(last, data):
        return "duplicate"
    if log.closed:
        return "closed"
    if log.epoch > last.epoch:
        return "fenced"
    return "gap"
