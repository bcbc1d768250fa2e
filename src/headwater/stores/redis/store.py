"""The store of several processes: logs, leases and notes in Redis."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import Final, cast

import msgspec
from redis.exceptions import NoPermissionError

from headwater.errors import StorageError
from headwater.events.position import Position
from headwater.stores.base import (
    SILENT_S,
    Appended,
    Entry,
    Note,
    OnNote,
    Record,
    Tail,
    stall_s,
    write_note,
)
from headwater.stores.redis import scripts
from headwater.stores.redis.client import Client, call, remedy
from headwater.stores.redis.connection import UNREACHABLE, Command, Dialler
from headwater.stores.redis.index import Index, keep, read_record
from headwater.stores.redis.keys import Keys
from headwater.stores.redis.notes import Notes
from headwater.stores.redis.pipeline import Pipeline

log = logging.getLogger("headwater.stores.redis")

# A running stream expires too, so that a fleet that never comes back leaves nothing behind; its
# writer process puts that off. Long, since orphans must still be found after a whole site was down.
_RUNNING_S: Final = 86_400.0
# Less than this is the network's own jitter.
_LEAST_TIMEOUT_S: Final = 0.5
# Entries read at once: how large they are is not known before.
_COUNT: Final = 64
# Streams looked at in one go.
_BATCH: Final = 100
# What the claim of a probe is kept for.
_PROBE_MS: Final = 1000
_APPEND: Final = scripts.APPEND.sha


class RedisStore:
    """Logs in Redis 6.2 or newer, or Valkey.

    `url` is `redis://`, `rediss://` or `unix://`, as redis-py reads it. `ttl_s` is how long an
    ended log is kept; `lease_s` how long the others believe in a process that they do not hear of,
    and how long an append may wait for Redis; `turn_s` how long a question may wait for a
    connection. `prefix` begins every key and channel.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        ttl_s: float = 3600.0,
        lease_s: float = 5.0,
        turn_s: float = 5.0,
        prefix: str = "hw",
    ) -> None:
        self.node = secrets.token_hex(8)
        self._keys = Keys(prefix)
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._lease_ms = max(1, round(lease_s * 1000))
        self._stall_ms = max(1, round(stall_s(lease_s) * 1000))
        self._running_s = max(_RUNNING_S, 2 * ttl_s)
        self._running_ms = round(self._running_s * 1000)
        # An answer that comes late must not cost the lease.
        self._timeout_s = max(lease_s / 2, _LEAST_TIMEOUT_S)
        dialler = self._dialler = Dialler(url, self._timeout_s)
        self._client = Client(dialler, self._timeout_s, turn_s)
        self._pipeline = Pipeline(dialler, lease_s)
        self._notes = Notes(dialler, self._keys.channel(self.node), self._timeout_s)
        self._index = Index(self._client, self._keys)
        self._released = False
        self._may_count = True  # the subscribers of a channel
        # Streams that run here, when their expiry was put off last, and the lists they are in.
        self._running: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()

    async def open(self, on_note: OnNote) -> None:
        try:
            await self._client.check()
            await self._pipeline.start()
            await self._notes.start(on_note)
            await self.beat()
        except (StorageError, *UNREACHABLE) as error:
            await self.aclose()
            why = error.__cause__ if isinstance(error, StorageError) else error
            raise StorageError("store_unavailable", remedy(why)) from error
        except BaseException:
            await self.aclose()
            raise

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        stream, lists = record.stream, self._keys.lists(record.principal, record.label)
        keys, data = self._keys.stream(stream), msgspec.json.encode(record)
        await self._client.ask(
            call(scripts.CREATE, keys, data, self.node, self._running_ms, plan or b""),
            *self._own(stream),
            *keep(lists, stream, self._running_ms),
        )
        self._running[stream] = (asyncio.get_running_loop().time(), lists)

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        ttl: int | str = ""
        if closes:
            ttl, done = self._ttl_ms, partial(self._ended, stream, done)
        self._pipeline.append(
            (
                "EVALSHA", _APPEND, 2, *self._keys.stream(stream),
                last.epoch, f"{prev.epoch}-{prev.seq}", f"{last.epoch}-{last.seq}", data, ttl, "",
            ),
            len(data),
            done,
        )  # fmt: skip
        return None

    async def record(self, stream: str) -> Record | None:
        [reply] = await self._client.ask(("HMGET", self._keys.stream(stream)[0], "record", "node"))
        return read_record(*reply)

    async def plan(self, stream: str) -> bytes | None:
        [plan] = await self._client.ask(("HGET", self._keys.stream(stream)[0], "plan"))
        return bytes(plan) if plan is not None else None

    async def tail(self, stream: str) -> Tail | None:
        [reply] = await self._client.ask(call(scripts.TAIL, self._keys.stream(stream)))
        return Tail(_position(reply[0]), bool(reply[1])) if reply else None

    async def read(self, stream: str, after: Position, limit: int) -> Sequence[Entry] | None:
        keys = self._keys.stream(stream)
        entries: list[Entry] = []
        size, full = 0, True
        while full and (not entries or size < limit):
            start = f"({entries[-1].last if entries else after}"
            there, found = await self._client.ask(
                ("EXISTS", *keys), ("XRANGE", keys[1], start, "+", "COUNT", _COUNT)
            )
            if there < len(keys):
                return None
            full = len(found) == _COUNT
            for position, (_, data) in found:
                if entries and size >= limit:
                    break
                entries.append(Entry(_position(position), data))
                size += len(data)
        return entries

    async def list(self, principal: str | None, limit: int) -> Sequence[Record]:
        return await self._index.read(self._keys.principal(principal), limit)

    async def labelled(self, label: str, limit: int) -> Sequence[Record]:
        return await self._index.read(self._keys.label(label), limit)

    async def claim(self, key: str, value: str, keep_s: float | None = None) -> str:
        keep_ms = self._ttl_ms if keep_s is None else int(keep_s * 1000)
        [held] = await self._client.ask(
            call(scripts.CLAIM, (self._keys.claim(key),), value, keep_ms)
        )
        return str(held, "utf-8")

    async def claimed(self, key: str) -> str | None:
        [held] = await self._client.ask(("GET", self._keys.claim(key)))
        return None if held is None else str(held, "utf-8")

    async def disclaim(self, key: str, value: str) -> None:
        await self._client.ask(call(scripts.DISCLAIM, (self._keys.claim(key),), value))

    def send(self, node: str, note: Note, stream: str) -> None:
        message = write_note(note, self.node, stream)
        self._pipeline.hint(("PUBLISH", self._keys.channel(node), message))

    async def beat(self) -> None:
        if self._released:
            return
        await self._client.ask_now(
            ("SET", self._keys.lease(self.node), "", "PX", self._lease_ms),
            ("SET", self._keys.turn(self.node), "", "PX", self._stall_ms),
            *self._own(),
        )
        self._notes.beat()
        await self._renew()

    async def ready(self) -> None:
        # What a stream needs: a connection, a script that may be run, and memory for a key.
        probe = call(scripts.CLAIM, (self._keys.claim(f"ready {self.node}"),), self.node, _PROBE_MS)
        try:
            await self._client.ask_now(probe)
        except StorageError as error:
            raise StorageError("store_unavailable", remedy(error.__cause__)) from error

    async def orphans(self) -> Sequence[Record]:
        [nodes] = await self._client.ask(("SMEMBERS", self._keys.nodes))
        others = [node for name in nodes if (node := name.decode()) != self.node]
        if not others:
            return []
        leases = await self._client.ask(*(("EXISTS", self._keys.lease(node)) for node in others))
        silent = [node for node, lasts in zip(others, leases, strict=True) if not lasts]
        there = await self._there(silent)
        found: list[Record] = []
        for node in silent:
            if node not in there:
                found += await self._orphans_of(node)
        return found

    async def stalled(self) -> Collection[str]:
        [nodes] = await self._client.ask(("SMEMBERS", self._keys.nodes))
        others = [node for name in nodes if (node := name.decode()) != self.node]
        there = await self._there(others)
        latest = self._stall_ms - round(SILENT_S * 1000)
        return [node for node, left_ms in there.items() if left_ms <= latest]

    async def alive(self, node: str) -> bool | None:
        counts = await self._listeners([node])
        return None if counts is None else counts[0] > 0

    async def _there(self, nodes: Sequence[str]) -> dict[str, int]:
        """Those of the nodes whose process lives; in how many ms its event loop is given up.

        Redis knows of a process that has died: its connection for notes is closed by the kernel.
        """
        counts = await self._listeners(nodes)
        if not counts:
            return {}
        left = await self._client.ask(*(("PTTL", self._keys.turn(node)) for node in nodes))
        return {
            node: ms
            for node, ms, count in zip(nodes, left, counts, strict=True)
            if ms > 0 and count
        }

    async def _listeners(self, nodes: Sequence[str]) -> Sequence[int] | None:
        """How many connections listen for notes to each node; None where Redis does not say."""
        if not nodes or not self._may_count:
            return None
        try:
            [counted] = await self._client.ask(
                ("PUBSUB", "NUMSUB", *(self._keys.channel(node) for node in nodes))
            )
        except StorageError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            log.warning("Redis allows no PUBSUB NUMSUB: a stall costs the lease")
            self._may_count = False
            return None
        return cast(Sequence[int], counted[1::2])

    async def takeover(self, stream: str, node: str) -> Tail | None:
        # First in the new holder's set, then taken over: the process may die between the two.
        *_, (taken, text) = await self._client.ask(
            *self._own(stream),
            call(
                scripts.TAKEOVER,
                self._keys.stream(stream),
                node,
                self.node,
                secrets.token_hex(8),
                self._running_ms,
            ),
        )
        if taken:
            record = await self.record(stream)
            lists = () if record is None else self._keys.lists(record.principal, record.label)
            self._running[stream] = (asyncio.get_running_loop().time(), lists)
            if node != self.node:
                await self._client.ask(self._forget(node, stream))
            return Tail(_position(text), False)
        if text != self.node.encode():
            self._running.pop(stream, None)
            await self._client.ask(self._forget(self.node, stream))
        return None

    async def release(self) -> None:
        self._released = True
        own = ("SCARD", self._keys.open(self.node))
        keys = (self._keys.lease(self.node), self._keys.turn(self.node))
        *_, left = await self._client.ask(*(("DEL", key) for key in keys), own)
        if not left:
            await self._client.ask(("SREM", self._keys.nodes, self.node))

    async def aclose(self) -> None:
        await self._notes.aclose()
        await self._pipeline.aclose(self._timeout_s)
        await self._client.aclose()

    def _own(self, *streams: str) -> Sequence[Command]:
        """Write down that this process is, and that it owns the streams."""
        own, nodes = self._keys.open(self.node), self._keys.nodes
        return (
            ("SADD", nodes, self.node),
            ("PEXPIRE", nodes, self._running_ms),
            *(("SADD", own, stream) for stream in streams),
            ("PEXPIRE", own, self._running_ms),
        )

    def _ended(self, stream: str, done: Callable[[Appended], None], result: Appended) -> None:
        """The last append of a stream is answered."""
        if result not in ("gap", "failed"):
            _, lists = self._running.pop(stream, (0.0, ()))
            # Fenced, the stream runs elsewhere: its lists are that process's.
            ours = result not in ("fenced", "gone")
            self._pipeline.sure(*self._over(self.node, stream, lists if ours else ()))
        done(result)

    async def _renew(self) -> None:
        """Put off the expiry of what runs here, a few times in that time."""
        now = asyncio.get_running_loop().time()
        due = {
            stream: lists
            for stream, (at, lists) in islice(self._running.items(), _BATCH)
            if now - at > self._running_s / 4
        }
        if not due:
            return
        renewed = await self._client.ask(
            *(call(scripts.RENEW, self._keys.stream(s), self.node, self._running_ms) for s in due)
        )
        kept: list[Command] = []
        for (stream, lists), ours in zip(due.items(), renewed, strict=True):
            # It may have ended, or begun to end, meanwhile.
            if self._running.pop(stream, None) is not None and ours:
                self._running[stream] = (now, lists)
                kept += keep(lists, stream, self._running_ms)
        if kept:
            await self._client.ask(*kept)

    async def _orphans_of(self, node: str) -> Sequence[Record]:
        """The open streams of a node that is dead; forget the others."""
        [names] = await self._client.ask(("SMEMBERS", self._keys.open(node)))
        if not names:
            await self._client.ask(("SREM", self._keys.nodes, node))
            return []
        found: list[Record] = []
        for first in range(0, len(names), _BATCH):
            streams = [name.decode() for name in names[first : first + _BATCH]]
            replies = await self._client.ask(
                *(("HMGET", self._keys.stream(s)[0], "record", "node", "closed") for s in streams)
            )
            over: list[Command] = []
            for stream, (data, holder, closed) in zip(streams, replies, strict=True):
                record = read_record(data, holder)
                if record is not None and record.node == node and not closed:
                    found.append(record)
                    continue
                # Its process died between the end of the stream and what follows from it.
                ended = closed and record is not None
                lists = self._keys.lists(record.principal, record.label) if record else ()
                over += self._over(node, stream, lists if ended else ())
            if over:
                await self._client.ask(*over)
        return found

    def _over(self, node: str, stream: str, lists: tuple[str, ...]) -> Sequence[Command]:
        """Keep a stream that has ended in its lists for as long as its log; `node` owns it no more.

        These follow the end, since no script may touch the keys of the stream and of a list.
        """
        return (*keep(lists, stream, self._ttl_ms), self._forget(node, stream))

    def _forget(self, node: str, stream: str) -> Command:
        return ("SREM", self._keys.open(node), stream)


def _position(text: bytes) -> Position:
    epoch, _, seq = text.partition(b"-")
    return Position(int(epoch), int(seq))
