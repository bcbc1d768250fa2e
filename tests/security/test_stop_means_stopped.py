"""204 to a stop says that the generation has ended, whichever process was asked, however notes go.

Two servers on one SQLite file that see different folders for their sockets, or none at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headwater.stores.sqlite import SqliteStore
from headwater.streams.local import PRESENCE_S
from headwater.testing import STALL, Answer, FaultyUpstream, chunk
from tests.conftest import Figures
from tests.helpers.processes import HEADWATER
from tests.helpers.redis import empty_redis
from tests.server.serving import Served, ask, serving
from tests.server.wires import outcome
from tests.system.test_nodes import begin, follow

pytestmark = pytest.mark.system

BOUND_S = 20.0
LATE = "through the database, and late"
ANSWER = Answer([chunk({"content": "Hi"}), STALL])
#: Mounts an empty folder where the others have theirs, for one process.
_OWN_FOLDER = 'mount -t tmpfs -o mode=700 tmpfs "$0" && exec "$@"'


class Pair(NamedTuple):
    """Two servers on one store, and their provider."""

    a: Served
    b: Served
    upstream: FaultyUpstream


@contextlib.contextmanager
def node(
    store: str, upstream: FaultyUpstream, cwd: Path, *command: str, lease_s: float = 5.0
) -> Iterator[Served]:
    cwd.mkdir()
    with serving(
        *("--upstream", upstream.url, "--store", store),
        cwd=cwd,
        config=f"[store]\nlease_s = {lease_s}\n",
        environ={"TMPDIR": str(cwd)},  # as systemd's PrivateTmp and containers have it
        command=(*command, HEADWATER),
    ) as served:
        yield served


def folder_of(database: Path) -> Path:
    """The folder in which processes find each other; the database is made where it is not."""
    if not database.exists():

        async def make() -> None:
            store = SqliteStore(database)
            await store.open(lambda *_: None)
            await store.aclose()

        asyncio.run(make())
    with contextlib.closing(sqlite3.connect(database)) as connection:
        [name] = connection.execute("SELECT name FROM folders").fetchone()
    return database.with_name(f"{database.name}-{name}")


@pytest.fixture(params=["datagrams", "a folder of its own", "no folder"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    database = tmp_path / "streams.db"
    store = f"sqlite:///{database}"
    command: tuple[str, ...] = ()
    if request.param == "no folder":
        folder_of(database).write_text("in the way")
    with FaultyUpstream(ANSWER) as upstream, node(store, upstream, tmp_path / "a") as a:
        if request.param == "a folder of its own":
            flags = "-m" if os.geteuid() == 0 else "-rm"
            command = ("unshare", flags, "sh", "-c", _OWN_FOLDER, str(folder_of(database)))
        with node(store, upstream, tmp_path / "b", *command) as b:
            if request.param != "datagrams":  # it says so at its start
                b.line(LATE)
            yield Pair(a, b, upstream)
            assert (LATE in a.output) == (request.param != "datagrams")


@pytest.mark.timeout(120)
def test_stop_from_another_process(
    pair: Pair, request: pytest.FixtureRequest, figures: Figures
) -> None:
    for a, b in ((pair.a, pair.b), (pair.b, pair.a)):
        reader = begin(a)
        reader.until(b"text-delta")
        began = time.monotonic()
        assert ask(b.port, f"/v1/streams/{reader.stream}", method="DELETE").status == 204
        took = time.monotonic() - began
        # Ended by then: nothing is waited for here.
        assert ask(b.port, f"/v1/streams/{reader.stream}").body.count(b"stream-end") == 1
        pair.upstream.wait(lambda: pair.upstream.posts[-1].hung_up_at is not None, BOUND_S)
        assert outcome("native", reader.rest()) == "cancelled"
        figures(f"{request.node.callspec.id}: stop from another process", f"{took * 1000:.0f} ms")


@pytest.mark.timeout(120)
def test_readers_that_moved_keep_it_alive(pair: Pair) -> None:
    reader = begin(pair.a, **{"Headwater-On-Disconnect": "2"})
    reader.until(b"text-delta")
    other = follow(pair.b, reader.stream)
    other.until(b"text-delta")
    reader.leave()
    time.sleep(PRESENCE_S + 1)  # a remote reader without a heartbeat would have expired
    assert pair.upstream.posts[0].hung_up_at is None
    other.leave()
    pair.upstream.wait(lambda: pair.upstream.posts[0].hung_up_at is not None, BOUND_S)


def test_nothing_stays_beside_the_database(tmp_path: Path) -> None:
    database = tmp_path / "streams.db"
    store = f"sqlite:///{database}"
    with (
        FaultyUpstream(ANSWER) as upstream,
        node(store, upstream, tmp_path / "a"),
        node(store, upstream, tmp_path / "b"),
    ):
        assert len(list(folder_of(database).iterdir())) == 4
    assert not folder_of(database).exists()
    for own in ("a", "b"):
        assert [path.name for path in (tmp_path / own).iterdir()] == ["headwater.toml"]


def test_a_process_that_was_killed_is_no_cause_for_a_warning(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'streams.db'}"
    with FaultyUpstream(ANSWER) as upstream, node(store, upstream, tmp_path / "b") as b:
        with node(store, upstream, tmp_path / "a") as a:
            reader = begin(a)
            other = follow(b, reader.stream)
            other.until(b"text-delta")
            reader.leave()
            a.process.kill()
        with node(store, upstream, tmp_path / "c") as c:
            assert outcome("native", other.rest()) == "interrupted"
            time.sleep(0.2)
            assert LATE not in b.output + c.output


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["sqlite", "redis"])
def test_a_stop_that_cannot_be_confirmed_is_an_error(scheme: str, tmp_path: Path) -> None:
    store = empty_redis() if scheme == "redis" else f"sqlite:///{tmp_path / 'streams.db'}"
    with (
        FaultyUpstream(ANSWER) as upstream,
        node(store, upstream, tmp_path / "a", lease_s=1.0) as a,
        node(store, upstream, tmp_path / "b", lease_s=1.0) as b,
    ):
        reader = begin(a)
        reader.until(b"text-delta")
        path = f"/v1/streams/{reader.stream}"
        a.process.send_signal(signal.SIGSTOP)
        try:
            refused = ask(b.port, path, method="DELETE")
        finally:
            a.process.send_signal(signal.SIGCONT)
        assert refused.status == 503
        assert refused.error["code"] == "stop_unconfirmed"
        assert "retry-after" in refused.headers
        assert ask(b.port, path, method="DELETE").status == 204
        assert ask(b.port, path).body.count(b"stream-end") == 1
        assert outcome("native", reader.rest()) == "cancelled"
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None, BOUND_S)
