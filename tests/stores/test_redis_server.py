"""Which Redis, how it is reached, and what is left in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
import uvloop

from headwater.errors import ConfigurationError, StorageError
from headwater.position import START, Position
from headwater.stores.base import Record, Store, Tail
from headwater.stores.redis import RedisStore
from headwater.stores.redis import store as store_module
from headwater.stores.redis.client import _check
from tests.helpers.redis import RedisServer, redis_server
from tests.stores.driving import P1, opened

pytestmark = pytest.mark.system


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def record(store: Store, stream: str, label: str | None = None) -> Record:
    return Record(stream, "me", "model", 1, node=store.node, label=label)


async def end(store: Store, stream: str) -> None:
    """Begin a log and end it with one entry."""
    await store.create(record(store, stream, "label"))
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    store.append(stream, START, P1, b"end", True, ended.set_result)
    assert await ended == "ok"


def works(url: str) -> None:
    """On either event loop."""
    asyncio.run(_works(url, "s"))
    uvloop.run(_works(url, "t"))


async def _works(url: str, stream: str) -> None:
    store = await opened(RedisStore, url=url)
    await end(store, stream)
    assert await store.tail(stream) == Tail(P1, True)
    store.send(store.node, "wake", stream)
    await store.beat()
    await store.aclose()


# how it is reached


def test_password_and_database(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--requirepass", "s3cret") as server:
        url = f"redis://:s3cret@127.0.0.1:{server.port}/3"
        works(url)
        with server.client() as client:
            assert client.dbsize() == 0
            client.select(3)
            assert client.dbsize() > 0
        for wrong in (url.replace("s3cret", "wr0ng"), server.url):
            with pytest.raises((ConfigurationError, StorageError)) as caught:
                works(wrong)
            assert "wr0ng" not in caught.value.message
    assert "s3cret" not in caplog.text
    assert "wr0ng" not in caplog.text


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with redis_server("--unixsocket", str(path)):
        works(f"unix://{path}?db=2")


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")}
    authority.cert_pem.write_to_path(files["ca.pem"])
    own.cert_chain_pems[0].write_to_path(files["cert.pem"])
    own.private_key_pem.write_to_path(files["key.pem"])
    spare = RedisServer()  # for a free port
    options = ("--tls-port", str(spare.port), "--tls-auth-clients", "no",
               "--tls-cert-file", str(files["cert.pem"]), "--tls-key-file", str(files["key.pem"]),
               "--tls-ca-cert-file", str(files["ca.pem"]))  # fmt: skip
    with redis_server(*options):
        url = f"rediss://127.0.0.1:{spare.port}/0"
        works(f"{url}?ssl_ca_certs={quote(str(files['ca.pem']))}")
        with pytest.raises(StorageError):  # signed by nobody that is known
            works(url)


@pytest.mark.parametrize(
    "url", ["redis://host:port", "redis://host?socket_timeout=soon", "http://x"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        RedisStore(url)


@pytest.mark.parametrize(
    ("version", "fine"),
    [("5.0.14", False), ("6.0.16", False), ("6.2.0", True), ("7.0.15", True), ("10.1", True), ("", True)],
)  # fmt: skip
def test_which_versions_will_do(version: str, fine: bool) -> None:
    if fine:
        _check({"redis_version": version})
    else:
        with pytest.raises(ConfigurationError, match=r"6\.2"):
            _check({"redis_version": version})


def test_a_redis_that_drops_keys_is_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "100mb")
        works(server.url)
        assert caplog.text == ""
        client.flushall()
        client.config_set("maxmemory-policy", "allkeys-lru")
    works(server.url)
    assert "noeviction" in caplog.text


# what is left in it


def test_nothing_stays_for_ever(server: RedisServer) -> None:
    """All processes die, and none ever comes back."""

    async def run() -> None:
        store = await opened(RedisStore, url=server.url)
        await end(store, "ended")
        await store.create(record(store, "running", "label"))
        await store.takeover("running", store.node)
        await store.claim("key", "value")
        await store.aclose()

    asyncio.run(run())
    with server.client() as client:
        assert [key for key in client.keys("*") if client.ttl(key) == -1] == []
        # What ended goes after its ttl, all of it.
        assert [key for key in client.keys("hw:{ended}*") if client.ttl(key) > 3600] == []


def test_a_running_stream_stays_while_its_owner_lives(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_RUNNING_S", 0.8)

    async def run() -> None:
        store = await opened(RedisStore, url=server.url, ttl_s=0.1)
        other = await opened(RedisStore, url=server.url, ttl_s=0.1)
        for name in ("kept", "ended", "taken"):
            await store.create(record(store, name))
        for _ in range(15):
            await asyncio.sleep(0.1)
            await store.beat()
        assert await store.tail("kept") == Tail(START, False)
        store.append("ended", START, P1, b"end", True, lambda answer: None)
        assert await other.takeover("taken", store.node) == Tail(Position(2, 0), False)
        for _ in range(12):
            await asyncio.sleep(0.1)
            await store.beat()
        assert [record.stream for record in await store.list("me", 9)] == ["kept"]
        await asyncio.sleep(1.0)  # nobody beats any more
        assert await store.tail("kept") is None
        await store.aclose()
        await other.aclose()

    asyncio.run(run())


def test_long_lists_are_read_in_pieces(server: RedisServer) -> None:
    async def run() -> None:
        store = await opened(RedisStore, url=server.url)
        names = [f"s{number}" for number in range(250)]
        for name in names:
            await store.create(record(store, name, "label"))
        with server.client() as client:
            for name in names[40:100]:
                client.delete(f"hw:{{{name}}}")
        left = (names[:40] + names[100:])[::-1]
        for limit in (0, 1, 100, 149, 150, 151, 190, 1000):
            for found in (await store.list("me", limit), await store.labelled("label", limit)):
                assert [record.stream for record in found] == left[:limit]
        with server.client() as client:
            assert client.llen("hw:by:me") == 190
        await store.aclose()

    asyncio.run(run())


def test_names_of_what_expired_go_too(server: RedisServer) -> None:
    async def run() -> None:
        store = await opened(RedisStore, url=server.url, ttl_s=0.2)
        for number in range(250):
            await end(store, f"s{number}")
        await store.create(record(store, "running", "label"))
        for number in range(250, 300):
            await end(store, f"s{number}")
        await asyncio.sleep(0.3)
        for _ in range(12):
            await store.beat()
        await store.aclose()

    def left(client: Any) -> list[int]:
        return [client.llen("hw:by:me"), client.llen("hw:label:label")]

    asyncio.run(run())
    with server.client() as client:
        assert left(client) == [1, 1]
        assert client.scard("hw:nodes") == 1
        assert client.keys("hw:open:*") != []
