"""The store of one process: everything in dictionaries, the oldest ended log dropped first."""

from __future__ import annotations

import asyncio
import secrets
import sys
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec

from headwater.events.position import START, Position
from headwater.stores.base import Appended, Entry, Note, OnNote, Record, Tail
from headwater.stores.memory.claims import Claims
from headwater.stores.memory.names import Names
from headwater.stores.memory.weight import weight, weight_of_log

# How many logs that had to make room are remembered as such, to be told from unknown ones.
_REMEMBERED: Final = 4096
# The share of `max_bytes` that those may take; and the share of claims, oldest dropped first.
_REMEMBERED_SHARE: Final = 4
_CLAIMED_SHARE: Final = 4
# What an entry weighs besides its bytes; measured with tracemalloc, rounded up. The bound is on
# memory, so small entries must count as they weigh.
_ENTRY_BYTES: Final = 200
# Expired logs are dropped at their end where nothing asks for them, at most so often.
_EXPIRE_S: Final = 1.0


class _Log:
    __slots__ = ("closed", "entries", "epoch", "expires", "last", "plan", "record", "size")

    def __init__(self, record: Record, plan: bytes | None) -> None:
        self.record = record
        self.plan = plan
        self.entries: list[Entry] = []
        self.epoch = 1
        self.last = START
        self.closed = False
        self.expires = sys.float_info.max
        self.size = weight_of_log(record, plan)


class MemoryStore:
    """Logs in memory, gone with the process.

    `ttl_s` is how long an ended log is kept. `max_bytes` bounds all that is kept, as it weighs in
    memory: logs with their records and plans, records of trimmed logs, claims. Beyond it the logs
    that ended first go first. A log that still runs is never dropped.
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
        self._trimmed_bytes = 0
        self._principals = Names()
        self._labels = Names()
        self._claims = Claims(ttl_s)
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, on_note: OnNote) -> None:
        """There is nobody to hear from."""

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        log = self._logs[record.stream] = _Log(record, plan)
        self._principals.add(record.principal, record.stream)
        if record.label is not None:
            self._labels.add(record.label, record.stream)
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
            self._bytes -= weight(log.plan)
            log.size -= weight(log.plan)
            log.plan = None
            log.expires = asyncio.get_running_loop().time() + self._ttl_s
            self._ended[stream] = log
            self._expire_at(log.expires)
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
        streams = (s for s in self._principals.newest(principal) if s not in self._trimmed)
        return [self._logs[stream].record for stream in islice(streams, limit)]

    async def labelled(self, label: str, limit: int) -> Sequence[Record]:
        self._make_room()
        return [self._logs[stream].record for stream in islice(self._labels.newest(label), limit)]

    async def claim(self, key: str, value: str, keep_s: float | None = None) -> str:
        held = self._claims.claim(key, value, keep_s, asyncio.get_running_loop().time())
        self._make_room()
        end = self._claims.next_end()
        if end is not None:
            self._expire_at(end)
        return held

    async def claimed(self, key: str) -> str | None:
        return self._claims.claimed(key, asyncio.get_running_loop().time())

    async def disclaim(self, key: str, value: str) -> None:
        self._claims.disclaim(key, value)

    def send(self, node: str, note: Note, stream: str) -> None:
        """There is nobody to tell."""

    async def beat(self) -> None:
        self._make_room()

    async def ready(self) -> None:
        """Memory is always ready: what has ended makes room."""

    async def orphans(self) -> Sequence[Record]:
        return []

    async def stalled(self) -> Sequence[str]:
        return []

    async def alive(self, node: str) -> None:
        """No other process shares this store."""

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
        """No other process could take a stream over."""

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _find(self, stream: str) -> _Log | None:
        self._make_room()
        return self._logs.get(stream)

    def _make_room(self) -> None:
        """Drop what has expired, and the logs that ended first while there is too much."""
        now = asyncio.get_running_loop().time()
        self._claims.expire(now)
        for logs in (self._ended, self._trimmed):
            while logs and (first := next(iter(logs.values()))).expires <= now:
                self._drop(first)
        while self._claims.bytes > self._max_bytes // _CLAIMED_SHARE:
            if not self._claims.drop_oldest():
                break
        while self._ended and self._bytes + self._claims.bytes > self._max_bytes:
            self._trim(next(iter(self._ended.values())))
        most = self._max_bytes // _REMEMBERED_SHARE
        while len(self._trimmed) > _REMEMBERED or self._trimmed_bytes > most:
            self._drop(next(iter(self._trimmed.values())))

    def _trim(self, log: _Log) -> None:
        """Keep of a log only that it was there, and whose it was."""
        del self._ended[log.record.stream]
        log.entries.clear()
        log.record = msgspec.structs.replace(log.record, spoken=None, metadata=None, route=None)
        self._bytes -= log.size
        log.size = weight_of_log(log.record, None)
        self._bytes += log.size
        self._trimmed_bytes += log.size
        self._trimmed[log.record.stream] = log

    def _drop(self, log: _Log) -> None:
        """Forget an ended log."""
        record = log.record
        self._ended.pop(record.stream, None)
        if self._trimmed.pop(record.stream, None) is not None:
            self._trimmed_bytes -= log.size
        self._bytes -= log.size
        del self._logs[record.stream]
        self._principals.discard(record.principal, record.stream)
        if record.label is not None:
            self._labels.discard(record.label, record.stream)

    def _expire_at(self, when: float) -> None:
        """Drop what has expired by then, also where nothing asks for it any more."""
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(when, loop.time() + _EXPIRE_S), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._make_room()
        ends = [log.expires for logs in (self._ended, self._trimmed) for log in _first_of(logs)]
        end = self._claims.next_end()
        if end is not None:
            ends.append(end)
        if ends:
            self._expire_at(min(ends))


def _first_of(logs: OrderedDict[str, _Log]) -> list[_Log]:
    """The log that ended first, where there is one."""
    return list(islice(logs.values(), 1))


def _refusal(log: _Log, prev: Position, last: Position, data: bytes) -> Appended:
    if log.entries and log.entries[-1] == Entry(last, data):
        return "duplicate"
    if log.closed:
        return "closed"
    if log.epoch > last.epoch:
        return "fenced"
    return "gap"
