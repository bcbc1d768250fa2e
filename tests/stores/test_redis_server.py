"""Which Redis, how it is reached, and what is left in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import trustme
import uvloop

from headwater.errors import ConfigurationError, StorageError
from headwater.events.position import START, Position
from headwater.stores.base import Record, Store, Tail
from headwater.stores.redis import RedisStore
from headwater.stores.redis import store as store_module
from headwater.stores.redis.client import _check
from tests.helpers.polling import eventually, eventually_async
from tests.helpers.redis import RedisServer, redis_server
from tests.stores.driving import P1, opened

pytestmark = pytest.mark.system


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def of_node(store: Store) -> list[bytes]:
    """What a process has in Redis without a stream."""
    return [f"hw:node:{store.node}".encode(), b"hw:nodes", f"hw:turn:{store.node}".encode()]


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

        async def gone() -> bool:
            return await store.tail("kept") is None

        await eventually_async(gone, "what is not renewed is gone")
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
        await store.aclose()

    asyncio.run(run())


def test_names_go_with_their_streams(server: RedisServer) -> None:
    """While another stream of the list runs, and whether or not anything is asked meanwhile."""

    async def run() -> None:
        store = await opened(RedisStore, url=server.url, ttl_s=0.5)
        await store.create(record(store, "running", "label"))
        for number in range(300):
            await end(store, f"s{number}")
        await eventually_async(lambda: logs(server, "s[0-9]*") == [], "they are gone")
        # Whatever writes a list removes more names than it adds.
        for name in ("more", "most"):
            await end(store, name)
        assert lists(server) == [{"running", "more", "most"}] * 2
        await eventually_async(lambda: logs(server, "mo*") == [], "these are gone")
        assert [each.stream for each in await store.labelled("label", 9)] == ["running"]
        assert [each.stream for each in await store.list("me", 9)] == ["running"]
        assert lists(server) == [{"running"}] * 2
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        store.append("running", START, P1, b"end", True, ended.set_result)
        assert await ended == "ok"
        await eventually_async(lambda: keys(server) == of_node(store), "all of it is gone")
        await store.release()
        await store.aclose()

    asyncio.run(run())
    with server.client() as client:
        assert client.keys("*") == []


def keys(server: RedisServer, pattern: str = "*") -> list[bytes]:
    with server.client() as client:
        return sorted(client.keys(pattern))


def logs(server: RedisServer, streams: str) -> list[bytes]:
    """The keys of the streams whose ids match this pattern."""
    return keys(server, f"hw:{{{streams}}}*")


def lists(server: RedisServer) -> list[set[str]]:
    """The streams that are in the lists of the principal and of the label."""
    with server.client() as client:
        return [
            {name[1:].decode() for name in client.zrangebyscore(key, 0, "+inf")}
            for key in ("hw:by:me", "hw:label:label")
        ]


def test_a_connection_that_is_lost_at_the_end_leaves_no_name(server: RedisServer) -> None:
    """What follows the end of a stream is sent until Redis has run it."""

    async def run() -> None:
        store = await opened(RedisStore, url=server.url, ttl_s=0.5)
        for number in range(30):
            await store.create(record(store, f"s{number}", f"label {number}"))
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            def done(result: str, ended: asyncio.Future[str] = ended, number: int = number) -> None:
                ended.set_result(result)
                link = store._pipeline._line.link  # type: ignore[attr-defined]
                assert link is not None
                if number % 2:
                    link.drop()  # before it is sent
                else:  # after it was sent, before its reply is read
                    asyncio.get_running_loop().call_later(0, link.drop)

            store.append(f"s{number}", START, P1, b"end", True, done)
            assert await ended in ("ok", "duplicate")
            await asyncio.sleep(0.02)
        await eventually_async(lambda: keys(server) == of_node(store), "no name is left")
        await store.aclose()

    asyncio.run(run())


def test_a_process_that_died_at_the_end_of_a_stream_leaves_no_name(server: RedisServer) -> None:
    """The log has its end; the lists have not heard of it. The search for orphans tells them."""

    async def run() -> None:
        first = await opened(RedisStore, url=server.url, ttl_s=0.5, lease_s=0.5)
        other = await opened(RedisStore, url=server.url, ttl_s=0.5, lease_s=0.5)
        first._pipeline.sure = lambda *commands: None  # type: ignore[attr-defined]
        await end(first, "s")
        await first.release()
        await first.aclose()
        assert await other.orphans() == []
        assert await other.orphans() == []
        await other.release()
        await other.aclose()

    asyncio.run(run())
    eventually(lambda: keys(server) == [], "no name is left")


def test_two_deployments_in_one_redis_by_their_prefixes(server: RedisServer) -> None:
    async def run() -> None:
        one = await opened(RedisStore, url=server.url)
        other = await opened(RedisStore, url=server.url, prefix="staging.eu:hw")
        for store in (one, other):
            await end(store, "s")
            await store.create(record(store, "running", "label"))
            await store.claim("key", store.node)
        assert await other.claimed("key") == other.node
        await one.release()
        assert await other.orphans() == []
        assert [each.stream for each in await other.list("me", 9)] == ["running", "s"]
        with server.client() as client:
            names = {key.decode().partition("{")[0] for key in client.keys("*")}
            assert all(name.startswith(("hw:", "staging.eu:hw:")) for name in names)
            assert (
                len(client.keys("staging*")) == len(client.keys("hw:*")) + 2
            )  # its lease and turn
            channels = [name.decode() for name in client.pubsub_channels()]
            assert sorted(channels) == [f"hw:to:{one.node}", f"staging.eu:hw:to:{other.node}"]
        await one.aclose()
        await other.aclose()

    asyncio.run(run())


def test_a_stream_costs_so_many_commands_and_no_more(server: RedisServer) -> None:
    def sent(client: redis.Redis) -> int:
        return sum(
            stats["calls"]
            for name, stats in client.info("commandstats").items()
            # Not what scripts call as well, which is counted too.
            if name in ("cmdstat_evalsha", "cmdstat_sadd", "cmdstat_srem")
        )

    async def run() -> None:
        store = await opened(RedisStore, url=server.url)
        await end(store, "first")
        with server.client() as client:
            before = sent(client)
            await end(store, "s")
            await asyncio.sleep(0.05)
            # Three scripts and two sets to begin it; its append, two scripts and a set to end it.
            assert sent(client) - before == 3 + 2 + 1 + 2 + 1
        await store.aclose()

    asyncio.run(run())


def test_a_user_who_may_do_what_the_docs_say_and_nothing_else(server: RedisServer) -> None:
    [rules] = re.findall(r"`(~hw:\* [^`]*)`", Path("docs/stores.md").read_text())
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">secret", *rules.split())
    url = f"redis://app:secret@127.0.0.1:{server.port}/0"
    works(url)

    async def run() -> None:
        store = await opened(RedisStore, url=url)
        await store.create(record(store, "running", "label"))
        assert [each.stream for each in await store.list("me", 1)] == ["running"]
        assert await store.takeover("running", store.node) is not None
        assert await store.claim("key", "value") == "value"
        await store.disclaim("key", "value")
        await store.ready()
        assert await store.orphans() == []
        await store.release()
        await store.aclose()
        with pytest.raises(StorageError):
            await opened(RedisStore, url=url, prefix="other")

    asyncio.run(run())


def test_no_command_touches_keys_of_two_slots(tmp_path: Path) -> None:
    """A cluster refuses that, also where a script does it without having said so."""
    nodes = ("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes.conf"))
    with redis_server(*nodes) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            eventually(
                lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"),
                "the cluster is ready",
            )
        works(server.url)

        async def run() -> None:
            store = await opened(RedisStore, url=server.url)
            await store.create(record(store, "running", "label"))
            assert [each.stream for each in await store.labelled("label", 1)] == ["running"]
            assert await store.takeover("running", store.node) is not None
            assert await store.read("running", START, 9) is not None
            assert await store.claim("key", "value") == "value"
            await store.disclaim("key", "value")
            await store.ready()
            assert await store.orphans() == []
            await end(store, "s2")
            await store.release()
            await store.aclose()

        asyncio.run(run())
