"""A store that is full, missing, locked, refused or replaced: the server says so, and how to help.

The probe really writes. What it says holds neither a path nor a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import StorageError
from headwater.settings import Settings
from headwater.stores.base import Record
from headwater.stores.memory import MemoryStore
from headwater.stores.redis import RedisStore
from headwater.stores.sqlite import SqliteStore
from headwater.streams import Hub
from headwater.streams.generation import Generation, StreamOptions
from headwater.testing import Fault, FaultyProxy, FaultyUpstream, chat
from tests.helpers.arrivals import request
from tests.helpers.hub import ScriptedSource
from tests.helpers.polling import eventually, eventually_async
from tests.helpers.processes import HEADWATER, environment
from tests.helpers.redis import RedisServer, redis_server
from tests.helpers.users import as_root
from tests.server.serving import Answer, Reader, ask, serving
from tests.server.wires import outcome

pytestmark = pytest.mark.system

BOUND_S = 30.0
BODY = {"prompt": "?"}
PASSWORD = "s3cret-p4ssword"


def until_ready(port: int, status: int) -> Answer:
    """What `/readyz` says once it has this status: an answer holds for a second."""
    last: list[Answer] = []

    def asked() -> bool:
        last.append(ask(port, "/readyz"))
        return last[-1].status == status

    eventually(asked, f"/readyz is {status}", within_s=BOUND_S)
    return last[-1]


def says(answer: Answer, remedy: str, *secrets: object) -> None:
    assert answer.error["code"] == "store_unavailable"
    assert re.search(remedy, answer.error["message"]), answer.error["message"]
    for secret in (PASSWORD, *secrets):
        assert str(secret).encode() not in answer.body


# Redis


def full(client: Any) -> None:
    client.config_set("maxmemory", 1)


def readonly(client: Any) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")


def forbidden(client: Any) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-evalsha")


def other_keys(client: Any) -> None:
    client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~other:*")


def password_changed(client: Any) -> None:
    client.config_set("requirepass", "another")
    client.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize(
    ("harm", "remedy"),
    [
        pytest.param(full, "full.*maxmemory", id="full"),
        pytest.param(readonly, "replica.*master", id="a replica"),
        pytest.param(forbidden, "ACL", id="a command is forbidden"),
        pytest.param(other_keys, "ACL", id="a key is forbidden"),
        pytest.param(password_changed, "user and password", id="the password has changed"),
    ],
)
def test_redis_refuses(harm: Callable[[Any], None], remedy: str, tmp_path: Path) -> None:
    with redis_server("--requirepass", PASSWORD) as redis:
        url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        with serving("--store", "env:STORE", cwd=tmp_path, environ={"STORE": url}) as served:
            assert ask(served.port, "/readyz").json == {"status": "ready"}
            with redis.client() as client:
                harm(client)
            says(until_ready(served.port, 503), remedy, redis.port)
            assert ask(served.port, "/healthz").status == 200
        assert PASSWORD not in served.output


def test_redis_is_down_and_comes_back(tmp_path: Path) -> None:
    with redis_server() as redis:
        config = "[store]\nlease_s = 1\n"
        with serving("--store", redis.url, cwd=tmp_path, config=config) as served:
            assert ask(served.port, "/readyz").status == 200
            redis.kill()
            says(until_ready(served.port, 503), "check that it runs", redis.port)
            redis.start()
            until_ready(served.port, 200)
            with redis.stopped():
                says(until_ready(served.port, 503), "does not answer", redis.port)
            until_ready(served.port, 200)


def test_redis_is_not_there_at_the_start(tmp_path: Path) -> None:
    with (
        redis_server(running=False) as redis,
        serving("--store", redis.url, cwd=tmp_path) as served,
    ):
        says(ask(served.port, "/readyz"), "check that it runs", redis.port)
        redis.start()
        until_ready(served.port, 200)


def test_a_wrong_password_is_refused_at_the_start(tmp_path: Path) -> None:
    with redis_server("--requirepass", "another") as redis:
        url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        ended = subprocess.run(
            [HEADWATER, "serve", "--port", "0", "--store", "env:STORE"],
            cwd=tmp_path,
            env=environment(STORE=url),
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
    assert ended.returncode != 0
    assert "user and password" in ended.stderr
    assert PASSWORD not in ended.stderr + ended.stdout


# SQLite


def test_a_full_disk_is_not_ready(small_disk: Path, tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{small_disk / 's.db'}", cwd=tmp_path) as served:
        assert ask(served.port, "/readyz").status == 200
        with contextlib.suppress(OSError), (small_disk / "x").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        says(until_ready(served.port, 503), "disk.*full", small_disk)
        (small_disk / "x").unlink()
        until_ready(served.port, 200)


def test_a_file_that_another_program_holds_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with serving("--store", f"sqlite:///{path}", cwd=tmp_path) as served:
        assert ask(served.port, "/readyz").status == 200
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        says(until_ready(served.port, 503), "held by another program|holds the store", path)
        holder.execute("ROLLBACK")
        holder.close()
        until_ready(served.port, 200)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_database_that_is_gone_is_noticed(how: str, tmp_path: Path) -> None:
    """New streams are refused and running ones end; the file does not come back empty."""
    path = tmp_path / "s.db"
    with (
        FaultyUpstream(chat([f"{number} " for number in range(3000)], gap_s=0.01)) as upstream,
        serving("--upstream", upstream.url, "--store", f"sqlite:///{path}", cwd=tmp_path) as served,
    ):
        reader = Reader(request(served.port, "/v1/streams", BODY, timeout_s=BOUND_S))
        reader.until(b"text-delta", 3)
        if how == "removed":
            path.unlink()
        else:
            path.rename(tmp_path / "moved.db")
            path.write_bytes(b"")
        assert outcome("native", reader.rest()) == "storage_failed"
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
        says(until_ready(served.port, 503), "removed or replaced.*restart", path)
        for answer in (ask(served.port, "/v1/streams", BODY), ask(served.port, "/v1/streams/none")):
            assert answer.status == 503
            says(answer, "removed or replaced.*restart", path)
        assert how == "replaced" or not path.exists()
        if how == "replaced":  # put back, it is served again
            (tmp_path / "moved.db").rename(path)
            until_ready(served.port, 200)
    assert str(path) in served.output


def test_a_folder_that_is_not_there_is_named_in_the_log_alone(tmp_path: Path) -> None:
    path = tmp_path / "none" / "s.db"
    with serving("--store", f"sqlite:///{path}", cwd=tmp_path) as served:
        says(until_ready(served.port, 503), "folder", path, "none")
        answer = ask(served.port, "/v1/streams", BODY)
        assert answer.status == 503
        says(answer, "folder", path, "none")
    assert str(path) in served.output


def modes(path: Path) -> dict[str, int]:
    return {
        suffix: stat.S_IMODE(path.with_name(path.name + suffix).stat().st_mode)
        for suffix in ("", "-wal", "-shm")
    }


@pytest.mark.parametrize("wide", [False, True], ids=["new", "made before"])
def test_only_the_servers_user_may_read_what_was_answered(wide: bool, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    holder = None
    if wide:
        old = os.umask(0o022)
        holder = sqlite3.connect(path)  # which keeps what lies beside the file
        holder.execute("PRAGMA journal_mode=WAL")
        holder.execute("CREATE TABLE other (n)")
        holder.commit()
        os.umask(old)
        assert set(modes(path).values()) == {0o644}
    old = os.umask(0)
    try:
        with serving("--store", f"sqlite:///{path}", cwd=tmp_path) as served:
            assert ask(served.port, "/readyz").status == 200
            assert modes(path) == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
    finally:
        os.umask(old)
        if holder is not None:
            holder.close()
    assert ("could be read by other users" in served.output) == wide


@as_root
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("how", ["file", "link"])
def test_a_database_that_another_user_made_first_is_refused(
    how: str, suffix: str, tmp_path: Path
) -> None:
    """In a folder that both may write into. That user could read and write all that is stored."""
    path = tmp_path / f"s.db{suffix}"
    other = path if how == "file" else tmp_path / "elsewhere"
    sqlite3.connect(other).close()
    other.touch()
    if how == "link":
        path.symlink_to(other)
    else:
        other.chmod(0o666)
    os.chown(path, 65534, 65534, follow_symlinks=False)
    ended = subprocess.run(
        [HEADWATER, "serve", "--port", "0", "--store", f"sqlite:///{tmp_path / 's.db'}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert ended.returncode != 0
    assert "belongs to another user" in ended.stderr
    assert other.stat().st_size == 0  # nothing was written into it


# how often


class Counting(MemoryStore):
    """Counts how often it is asked; answers when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failing = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def ready(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.failing:
            raise StorageError("store_unavailable", "No.")


def test_a_thousand_probes_ask_the_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        store = Counting()
        hub = Hub(Settings(), store)
        store.answers.clear()
        probes = [asyncio.create_task(hub.ready()) for _ in range(1000)]
        await asyncio.sleep(0)
        for probe in probes[:900]:
            probe.cancel()  # who leaves takes nothing from the others
        store.answers.set()
        await asyncio.gather(*probes[900:])
        for _ in range(100):
            await hub.ready()
        assert store.asked == 1
        monkeypatch.setattr("headwater.streams.readiness._HOLDS_S", 0.0)
        store.failing = True
        for _ in range(3):
            with pytest.raises(StorageError):
                await hub.ready()
        assert store.asked == 4
        monkeypatch.setattr("headwater.streams.readiness._TAKES_S", 0.05)
        store.answers.clear()
        with pytest.raises(StorageError, match=r"within 0\.05 s"):
            await hub.ready()
        await hub.aclose()

    asyncio.run(run())


# a burst


def test_a_thousand_beginnings_at_once_wait_for_a_connection(tmp_path: Path) -> None:
    """Redis is 20 ms away: all of them take longer than one answer may, and each gets its own."""

    async def run(port: int) -> int:
        store = RedisStore(f"redis://127.0.0.1:{port}/0", lease_s=2.0, turn_s=30.0)
        await store.open(lambda *note: None)
        records = [Record(f"s{n}", "me", "m", 1, node=store.node) for n in range(1000)]
        began = time.monotonic()
        creates = [asyncio.create_task(store.create(record)) for record in records]
        await asyncio.sleep(0.1)
        await store.beat()  # the lease is renewed meanwhile: it waits for no turn
        assert not all(create.done() for create in creates)
        await asyncio.gather(*creates)
        assert time.monotonic() - began > 1.0  # as long as one answer may take
        found = len(await store.list("me", 2000))
        await store.aclose()
        return found

    with redis_server() as redis, FaultyProxy(redis.port, lambda *_: Fault(delay_s=0.02)) as proxy:
        assert asyncio.run(run(proxy.port)) == 1000


def test_a_turn_that_does_not_come_is_an_error_in_time() -> None:
    async def run(redis: RedisServer) -> None:
        store = RedisStore(redis.url, lease_s=4.0, turn_s=0.2)
        await store.open(lambda *note: None)
        with redis.stopped():
            asking = [asyncio.create_task(store.tail("s")) for _ in range(100)]
            done, _ = await asyncio.wait(asking, timeout=1.5)
            assert len(done) >= 100 - 16  # those that have a connection wait for their answer
            assert all(isinstance(task.exception(), StorageError) for task in done)
        await asyncio.gather(*asking, return_exceptions=True)
        assert await store.tail("s") is None
        await store.aclose()

    with redis_server() as redis:
        asyncio.run(run(redis))


def test_a_stream_whose_beginning_was_given_up_is_ended(tmp_path: Path) -> None:
    """Its caller left, or was told 503; the store may have made it all the same."""

    async def run(store: SqliteStore | RedisStore) -> None:
        hub = Hub(Settings(), store)
        await hub.open()
        begun = asyncio.create_task(
            hub.start(
                Generation(ScriptedSource(), "m"),
                StreamOptions(principal="me", on_disconnect="continue"),
            )
        )
        await eventually_async(lambda: hub._table.local)
        await asyncio.sleep(0)
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)
        await asyncio.sleep(0.1)  # the store may make it after its caller has left

        async def all_ended() -> bool:
            records = await store.list("me", 9)
            tails = [await store.tail(record.stream) for record in records]
            return not hub._table.owed and all(tail and tail.closed for tail in tails)

        await eventually_async(all_ended)
        await hub.aclose()
        await store.aclose()

    asyncio.run(run(SqliteStore(tmp_path / "s.db", lease_s=1.0)))
    with redis_server() as redis:
        asyncio.run(run(RedisStore(redis.url, lease_s=1.0)))


def test_an_app_whose_redis_wants_another_password_is_not_ready() -> None:
    """Mounted in an app, a server first asks for its store when it is used."""

    async def run(url: str) -> None:
        store = RedisStore(url)
        hub = Hub(Settings(), store)
        with pytest.raises(StorageError, match="user and password"):
            await hub.ready()
        await hub.aclose()
        await store.aclose()

    with redis_server("--requirepass", "another") as redis:
        asyncio.run(run(f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"))
