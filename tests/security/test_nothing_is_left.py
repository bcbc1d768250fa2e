"""What streams leave behind once their time is over: nothing, at whatever rate they begin.

Every stream has a label, a claim, a chat's metadata, a model and a principal of its own, so that
what is kept for each of them is not hidden by what they share.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from headwater.events import TextDelta
from headwater.requests.limits import Limits
from headwater.settings import Settings
from headwater.settings.schema import KeyLimits, StoreSettings
from headwater.stores.base import Spoken, Store
from headwater.stores.memory import MemoryStore
from headwater.stores.redis import RedisStore
from headwater.stores.sqlite import SqliteStore
from headwater.stores.sqlite import sweep as sweep_module
from headwater.stores.sqlite.file import connect
from headwater.streams import Hub
from headwater.streams.generation import Generation, StreamOptions
from tests.helpers.hub import ScriptedSource
from tests.helpers.polling import eventually_async
from tests.helpers.redis import redis_server

pytestmark = pytest.mark.system

RATE = 200
LEASE_S = 5.0


@dataclass
class Place:
    """A store's place: `make` opens a store there, `left` counts what is kept beside processes."""

    make: Callable[[float], Store]
    left: Callable[[], dict[str, int]]


def rows(path: Path) -> dict[str, int]:
    """Rows in each table, except the one of the boot and those of living processes."""
    with closing(sqlite3.connect(path)) as connection:
        names = ("streams", "plans", "entries", "claims")
        count = "SELECT count(*) FROM {}"
        return {name: connection.execute(count.format(name)).fetchone()[0] for name in names}


def keys(client: Any) -> dict[str, int]:
    """Keys of each kind, except the set of processes and their leases."""
    found: dict[str, int] = {}
    for key in client.keys("*"):
        kind = key.decode().partition("{")[0].rpartition(":")[0]
        if key != b"hw:nodes" and kind not in ("hw:node", "hw:turn"):
            found[kind] = found.get(kind, 0) + 1
    return found


def kept(store: MemoryStore) -> dict[str, int]:
    names = ("_bytes", "_trimmed_bytes")
    sizes = ("_logs", "_ended", "_trimmed", "_labels", "_principals")
    claims = store._claims
    return {
        **{name: getattr(store, name) for name in names},
        **{name: len(getattr(store, name)) for name in sizes},
        "claim_bytes": claims.bytes,
        "claims": len(claims._usual) + len(claims._lasting) + len(claims._ends),
    }


async def one(hub: Hub, other: Hub, limits: Limits, number: int) -> None:
    """A stream like no other, from its claim to its end; `other` follows every tenth of them."""
    principal = f"user {number}"
    ticket = limits.admit(principal)
    await hub.store.claim(f"claim {number}", f"value {number}")
    await hub.store.claim(f"session {number}", "value", 0.5)
    await hub.store.claim(f"dropped {number}", "value", 1.0)
    await hub.store.disclaim(f"dropped {number}", "value")
    source = ScriptedSource()
    stream = await hub.start(
        Generation(source, f"model-{number}"),
        StreamOptions(
            principal=principal,
            on_disconnect="continue",
            label=f"label {number}",
            spoken=Spoken("agui", {"thread": f"thread {number}"}),
            metadata={"chat": f"chat {number}"},
        ),
    )
    ticket.begun(stream)
    if other.store.shared and number % 10 == 0:
        assert other.live(*await other.find(stream.id, principal)) is not None
    for text in ("a", "b", "c"):
        source.say(TextDelta(text))
        await asyncio.sleep(0)
    source.end()
    await asyncio.wait_for(stream.ended(), 30)


async def burden(hub: Hub, other: Hub, limits: Limits, seconds: float) -> None:
    """Streams at `RATE`; a machine that stalls is no reason for a burst after it."""
    began = asyncio.get_running_loop().time()
    running: set[asyncio.Task[None]] = set()
    failed: list[BaseException] = []

    def done(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)

    for number in range(int(RATE * seconds)):
        task = asyncio.create_task(one(hub, other, limits, number))
        running.add(task)
        task.add_done_callback(done)
        assert not failed, failed[0]
        while len(running) > RATE:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        behind = began + number / RATE - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, behind))
    await asyncio.gather(*running, return_exceptions=True)
    assert not failed, failed[0]


async def soak(place: Place, seconds: float, ttl_s: float) -> dict[str, int]:
    """What is left; fails when more is kept meanwhile than what ends within `ttl_s` explains."""
    settings = Settings(store=StoreSettings(ttl_s=ttl_s, lease_s=LEASE_S))
    limits = Limits(lambda _: KeyLimits(requests_per_minute=600_000))
    hub, other = (Hub(settings, place.make(ttl_s)) for _ in range(2))
    await hub.open()
    await other.open()
    await burden(hub, other, limits, seconds)
    most = RATE * (ttl_s + 3) + RATE
    for kind, count in place.left().items():
        each = 4 if kind == "entries" else 3 if "claim" in kind else 2
        assert "bytes" in kind or count <= each * most, (kind, count)
    await asyncio.sleep(ttl_s)
    await eventually_async(lambda: not any(place.left().values()), "nothing is left")
    left = place.left()
    for process in (hub, other):
        assert not process._table.local
        assert not process._table.remote
        assert not process._table.owed
        for name in ("_running", "_numbers"):
            assert not getattr(process.store, name, None)
    for number in range(len(limits._accounts) // 2):  # each who comes later clears up two
        limits.admit(f"later {number}").unused()
    left["accounts"] = max(0, len(limits._accounts) - RATE)
    await hub.aclose()
    await other.aclose()
    await hub.store.aclose()
    await other.store.aclose()
    return left


def soaked(name: str, folder: Path, seconds: float, ttl_s: float) -> dict[str, int]:
    if name == "memory":
        stores: list[MemoryStore] = []

        def make(ttl_s: float) -> Store:
            stores.append(MemoryStore(ttl_s=ttl_s))
            return stores[-1]

        return asyncio.run(soak(Place(make, lambda: kept(stores[0])), seconds, ttl_s))
    if name == "sqlite":
        path = folder / "s.db"
        place = Place(
            lambda ttl_s: SqliteStore(path, ttl_s=ttl_s, lease_s=LEASE_S), lambda: rows(path)
        )
        left = asyncio.run(soak(place, seconds, ttl_s))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
        return left
    with redis_server() as server, server.client() as client:
        place = Place(
            lambda ttl_s: RedisStore(server.url, ttl_s=ttl_s, lease_s=LEASE_S),
            lambda: keys(client),
        )
        left = asyncio.run(soak(place, seconds, ttl_s))
        assert client.keys("*") == []  # nor of the processes
        return left


@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_nothing_is_left_when_its_time_is_over(name: str, tmp_path: Path) -> None:
    assert not any(soaked(name, tmp_path, seconds=4, ttl_s=1.5).values())


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_nothing_is_left_after_ten_minutes(name: str, tmp_path: Path) -> None:
    assert not any(soaked(name, tmp_path, seconds=600, ttl_s=20).values())


def test_a_sweep_goes_in_bounded_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the streams are that expire at once, appends need not wait for all of them."""
    path = tmp_path / "s.db"

    async def run() -> list[int]:
        store = SqliteStore(path, lease_s=LEASE_S)
        await store.open(lambda *note: None)
        with closing(sqlite3.connect(path)) as connection, connection:
            sql = "INSERT INTO streams (stream, record, node, expires) VALUES (?, '', '', 0)"
            connection.executemany(sql, [(f"s{number}",) for number in range(3)])
            entries = ((1 + number % 3, 1, 1 + number, b"x") for number in range(1000))
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", entries)
            claims = ((f"key {number}", "value") for number in range(200))
            connection.executemany("INSERT INTO claims VALUES (?, ?, 0)", claims)
        steps = [1203]
        connection = connect(path)
        # The clock is looked at behind each piece.
        monkeypatch.setattr(sweep_module, "_STEP_S", 1e-9)
        while sweep_module.sweep(connection, store.node):
            steps.append(sum(rows(path).values()))
        connection.close()
        await store.aclose()
        return steps

    steps = asyncio.run(run())
    assert sum(rows(path).values()) == 0
    assert max(before - after for before, after in pairwise(steps)) <= 65
