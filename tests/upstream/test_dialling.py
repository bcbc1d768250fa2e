"""Reaching an upstream: refused, unknown, silent, over TLS, through a proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from headwater.errors import UpstreamError
from tests.upstream.driving import (
    BOUND_S,
    Collector,
    Peer,
    Server,
    answer,
    ask,
    every_loop,
    pooled,
    run,
    serve,
)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else takes it, and not listened on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port whose backlog is full: the kernel drops whoever connects."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def polite(peer: Peer) -> None:
    while True:
        request = await peer.request()
        await peer.say(answer(request.partition(b"\r\n\r\n")[2]))


async def fails(url: str, *, connect_s: float = 5.0) -> UpstreamError:
    async with pooled(connect_s) as pool:
        _, got = ask(pool, url)
        await got.ended()
        assert not got.heads
        return got.error


@every_loop
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_refuses(loop: str, host: str) -> None:
    async def main() -> None:
        with refusing() as port:
            error = await fails(f"http://{host}:{port}/v1")
        assert error.code == "upstream_error"
        assert error.retryable
        assert f"{host}:{port}" in error.message
        assert "Traceback" not in error.message

    run(loop, main)


@every_loop
@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example", "*.example", "xn--a.invalid"]
)
def test_a_name_that_cannot_be_resolved(loop: str, host: str) -> None:
    """An error, whatever the resolver raises; never silence until a deadline."""

    async def main() -> None:
        error = await fails(f"http://{host}/v1")
        assert error.code in ("upstream_error", "upstream_timeout")
        assert host in error.message

    run(loop, main)


@every_loop
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upstream_that_does_not_accept(loop: str, host: str, scheme: str) -> None:
    async def main() -> None:
        with full() as port:
            began = time.monotonic()
            error = await fails(f"{scheme}://{host}:{port}/v1", connect_s=0.3)
            took = time.monotonic() - began
        assert error.code == "upstream_timeout"
        assert error.retryable
        assert "0.3 s" in error.message
        assert 0.25 < took < 3

    run(loop, main)


@every_loop
def test_a_handshake_that_is_never_answered_counts_as_connecting(loop: str) -> None:
    async def main() -> None:
        async with serve(lambda peer: peer.gone()) as server:
            error = await fails(f"https://127.0.0.1:{server.port}/v1", connect_s=0.3)
            assert error.code == "upstream_timeout"
            async with asyncio.timeout(BOUND_S):
                await server.peers[0].left.wait()

    run(loop, main)


@every_loop
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cancel_while_connecting(loop: str, scheme: str) -> None:
    async def main() -> None:
        with full() as port:
            async with pooled() as pool:
                exchange, got = ask(pool, f"{scheme}://127.0.0.1:{port}/v1")
                await asyncio.sleep(0)
                exchange.cancel()
                began = time.monotonic()
            assert time.monotonic() - began < 1
            assert got.ends == []

    run(loop, main)


@every_loop
def test_cancel_in_the_handshake_closes_the_connection(loop: str) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def hello(peer: Peer) -> None:
            await peer.reader.read(1)
            begun.set()
            await peer.gone()

        async with serve(hello) as server, pooled() as pool:
            exchange, got = ask(pool, f"https://127.0.0.1:{server.port}/v1")
            await begun.wait()
            exchange.cancel()
            async with asyncio.timeout(1):
                await server.peers[0].left.wait()
            assert got.ends == []

    run(loop, main)


@every_loop
@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_ipv6(loop: str) -> None:
    async def main() -> None:
        async with serve(polite, host="::1") as server, pooled() as pool:
            _, got = ask(pool, f"http://[::1]:{server.port}/v1", b"six")
            assert await got.whole() == b"six"

    run(loop, main)


@every_loop
def test_the_address_that_answers_is_taken(loop: str) -> None:
    """`localhost` may be ::1 first; a server on 127.0.0.1 alone is found all the same."""

    async def main() -> None:
        async with serve(polite) as server, pooled() as pool:
            _, got = ask(pool, f"http://localhost:{server.port}/v1", b"four")
            assert await got.whole() == b"four"

    run(loop, main)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def server_side(authority: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    past = datetime.now(UTC) - timedelta(days=1)
    issued = authority.issue_cert(*names, not_after=past if expired else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


def quiet(loop: asyncio.AbstractEventLoop) -> None:
    """The server's side of a failed handshake logs; only the client is under test here."""
    loop.set_exception_handler(lambda _, context: None)


@every_loop
@pytest.mark.usefixtures("trusted")
def test_tls_by_ssl_cert_file_kept_and_streamed(loop: str, authority: trustme.CA) -> None:
    async def main() -> None:
        context = server_side(authority, "localhost", "127.0.0.1")
        async with serve(polite, ssl=context) as server, pooled() as pool:
            for host in ("localhost", "127.0.0.1"):
                for _ in range(3):
                    body = bytes(range(256)) * 2000  # many records
                    _, got = ask(pool, f"https://{host}:{server.port}/v1", body)
                    assert await got.whole() == body
            assert len(server.peers) == 2

    run(loop, main)


@every_loop
@pytest.mark.usefixtures("trusted")
def test_cancel_over_tls_frees_the_server_at_once(loop: str, authority: trustme.CA) -> None:
    async def main() -> None:
        async def stall(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await peer.gone()

        async with (
            serve(stall, ssl=server_side(authority, "127.0.0.1")) as server,
            pooled() as pool,
        ):
            exchange, got = ask(pool, f"https://127.0.0.1:{server.port}/v1")
            await got.until(lambda: got.pieces)
            exchange.cancel()
            async with asyncio.timeout(1):
                await server.peers[0].left.wait()

    run(loop, main)


@every_loop
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired", "not TLS at all"])
def test_tls_that_cannot_be_trusted_is_never_tried_without(
    loop: str, fault: str, authority: trustme.CA
) -> None:
    """One attempt, a clear error, and no byte of the request for whoever was there."""
    issuer = trustme.CA() if fault == "unknown authority" else authority
    name = "other.example" if fault == "wrong name" else "localhost"

    async def main() -> None:
        quiet(asyncio.get_running_loop())
        received: list[bytes] = []

        async def listen(peer: Peer) -> None:
            if fault == "not TLS at all":
                await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            while data := await peer.reader.read(65536):
                received.append(data)

        context = server_side(issuer, name, expired=fault == "expired")
        tls = None if fault == "not TLS at all" else context
        async with serve(listen, ssl=tls) as server, pooled() as pool:
            got = Collector()
            _, got = ask(
                pool, f"https://localhost:{server.port}/v1", b"prompt", Authorization="Bearer sk-1"
            )
            await got.ended()
            error = got.error
            assert error.code == "upstream_error"
            assert f"localhost:{server.port}" in error.message
            if fault != "not TLS at all":
                assert not error.retryable
                hint = {"wrong name": "mismatch", "expired": "expired"}.get(fault, "SSL_CERT_FILE")
                assert hint in error.message
                assert len(server.peers) <= 1
            assert not any(b"sk-1" in data or b"prompt" in data for data in received)

    run(loop, main)


# proxies


class Proxy(Server):
    """A proxy that knows CONNECT; `heads` are what it was asked."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.heads: list[bytes] = []


@contextlib.asynccontextmanager
async def proxying(
    *, status: bytes = b"200 Connected", slowly: bool = False
) -> AsyncIterator[Proxy]:
    proxies: list[Proxy] = []

    async def connect(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        proxies[0].heads.append(head)
        said = b"HTTP/1.1 " + status + b"\r\nProxy-Agent: test\r\n\r\n"
        for at in range(len(said) if slowly else 1):
            await peer.say(said[at : at + 1] if slowly else said)
            await asyncio.sleep(0)
        if not status.startswith(b"2"):
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            await asyncio.gather(relay(peer.reader, writer), relay(reader, peer.writer))
        finally:
            writer.close()

    async with serve(connect) as server:
        proxies.append(Proxy(server.port))
        yield proxies[0]


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@every_loop
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize(
    ("user", "credentials"),
    [("", None), ("me:secret@", b"me:secret"), ("me@", b"me:"), ("m%40e:s%3A%2F@", b"m@e:s:/")],
)
def test_through_a_proxy(
    loop: str,
    slowly: bool,
    user: str,
    credentials: bytes | None,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        context = server_side(authority, "localhost")
        async with (
            serve(polite, ssl=context) as server,
            proxying(slowly=slowly) as proxy,
            pooled() as pool,
        ):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{proxy.port}")
            for _ in range(2):
                _, got = ask(pool, f"https://localhost:{server.port}/v1", b"hello")
                assert await got.whole() == b"hello"
            [head] = proxy.heads  # the tunnel is kept like any connection
            lines = head.split(b"\r\n")
            target = b"localhost:%d" % server.port
            assert lines[0] == b"CONNECT %b HTTP/1.1" % target
            assert b"Host: " + target in lines
            sent = [line for line in lines if line.lower().startswith(b"proxy-authorization:")]
            expected = b"Proxy-Authorization: Basic " + base64.b64encode(credentials or b"")
            assert sent == ([] if credentials is None else [expected])

    run(loop, main)


@every_loop
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("no_proxy", "bypassed"),
    [
        ("localhost", True),
        ("other.example,localhost", True),
        ("*", True),
        ("localhost:1", False),
        ("other.example", False),
        ("", False),
    ],
)
def test_no_proxy(
    loop: str,
    no_proxy: str,
    bypassed: bool,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        context = server_side(authority, "localhost")
        async with serve(polite, ssl=context) as server, proxying() as proxy, pooled() as pool:
            monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")  # either case, no scheme
            monkeypatch.setenv("NO_PROXY", no_proxy)
            _, got = ask(pool, f"https://localhost:{server.port}/v1", b"hello")
            assert await got.whole() == b"hello"
            assert bool(proxy.heads) == (not bypassed)

    run(loop, main)


@every_loop
def test_plain_http_goes_past_the_proxy(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serve(polite) as server, proxying() as proxy, pooled() as pool:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            _, got = ask(pool, f"http://localhost:{server.port}/v1", b"local")
            assert await got.whole() == b"local"
            assert proxy.heads == []

    run(loop, main)


@every_loop
@pytest.mark.parametrize(
    "status", [b"407 Proxy Authentication Required", b"403 No", b"502 Bad", b""]
)
def test_a_proxy_that_refuses(loop: str, status: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serve(polite) as server, proxying(status=status) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@127.0.0.1:{proxy.port}")
            error = await fails(f"https://localhost:{server.port}/v1")
            assert error.code == "upstream_error"
            assert status[:3].decode() in error.message
            assert "proxy" in error.message.lower()
            assert "hidden" not in error.message
            assert server.peers == []  # never past it

    run(loop, main)


@every_loop
@pytest.mark.parametrize("proxy", ["refuses", "is silent", "closes", "never ends its head"])
def test_a_proxy_that_fails(loop: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def fail(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            if proxy == "is silent":
                await peer.gone()
            while proxy == "never ends its head":
                await peer.say(b"X-Filler: " + b"a" * 1000 + b"\r\n")

        async with serve(fail) as there:
            with refusing() as closed:
                port = closed if proxy == "refuses" else there.port
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
                error = await fails("https://localhost:1/v1", connect_s=1)
        assert error.code == ("upstream_timeout" if proxy == "is silent" else "upstream_error")

    run(loop, main)


@every_loop
@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1080",
        "https://127.0.0.1:1",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://[::1",
    ],
)
def test_a_proxy_that_is_no_address(loop: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in an environment variable is told, not waited for."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    async def main() -> None:
        error = await fails("https://localhost:1/v1")
        assert error.code == "upstream_error"
        assert "HTTPS_PROXY" in error.message
        assert not error.retryable

    run(loop, main)
