"""What surrounds a request's body is bounded: a connection without a key costs little memory."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.faults.watching import BOUND_S, resident
from tests.server.serving import Served, ask, raw, serving

pytestmark = pytest.mark.system

MIB = 1024 * 1024
KEYS = '[auth.keys]\nann = "env:ANN"\n'
POST = b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("framing")
    with serving(cwd=cwd, config=KEYS, environ={"ANN": "a-key-of-ann-0123456789"}) as served:
        yield served


def sent_before_the_cut(port: int, begin: bytes, piece: bytes, most: int) -> int:
    """How many bytes go out until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.sendall(begin)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
        return sent


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(POST + b"0\r\n", b"X: aaaaaaaaaaaa\r\n" * 256, id="many trailers"),
        pytest.param(POST + b"0\r\nX: ", b"a" * 4096, id="one endless trailer"),
        pytest.param(POST + b"0\r\n" + b"X" * 99, b"X" * 4096, id="an endless trailer's name"),
        pytest.param(POST + b"1;", b"a" * 4096, id="an endless chunk extension"),
        pytest.param(POST + b"5\r\nhello\r\n1;", b"a" * 4096, id="an extension after a piece"),
        pytest.param(POST + b"0" * 99, b"0" * 4096, id="an endless size of a chunk"),
        pytest.param(b"", b"\r\n" * 2048, id="blank lines before a request"),
        pytest.param(GET, b"\r\n" * 2048, id="blank lines after a request"),
    ],
)
def test_what_is_not_a_body_is_cut_at_64_kib(server: Served, begin: bytes, piece: bytes) -> None:
    before = resident(server.process.pid)
    # What the kernel has buffered on both sides was sent, too.
    assert sent_before_the_cut(server.port, begin, piece, 64 * MIB) < 32 * MIB
    assert resident(server.process.pid) - before < 8 * MIB


def test_trailers_below_the_bound_pass(server: Served) -> None:
    trailers = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(40))
    answer = raw(server.port, POST + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n")
    assert (answer.status, answer.error["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        pytest.param(b"", 400, id="none"),
        pytest.param(b"Host: localhost\r\n", 200, id="one"),
        pytest.param(b"Host: localhost\r\nHost: localhost\r\n", 400, id="the same twice"),
        pytest.param(b"Host: localhost\r\nX: y\r\nhost: evil\r\n", 400, id="two"),
    ],
)
def test_exactly_one_host(server: Served, hosts: bytes, status: int) -> None:
    answer = raw(server.port, b"GET /healthz HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
    assert answer.status == status


def test_http_1_0_needs_no_host(server: Served) -> None:
    assert raw(server.port, b"GET /healthz HTTP/1.0\r\n\r\n").status == 200


def answered(port: int, requests: bytes, count: int) -> int:
    """How many of the pipelined requests get 200."""
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.settimeout(BOUND_S)
        got = b""
        view = memoryview(requests)
        while got.count(b"HTTP/1.1 200 ") < count:
            if view:
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    view = view[sock.send(view) :]
                sock.settimeout(BOUND_S)
            part = sock.recv(65536)
            if not part:
                break
            got += part
        return got.count(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_all_answered(server: Served) -> None:
    """128 KiB of them: twice what one head may have."""
    count = 128 * 1024 // len(GET)
    assert answered(server.port, GET * count, count) == count


def test_a_body_among_pipelined_requests_arrives_whole(server: Served) -> None:
    body = b'{"key": "%b"}' % (b"k" * 7000)
    post = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), BOUND_S) as sock:
        sock.sendall(
            GET + (post + body) * 3 + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    assert got.count(b"HTTP/1.1 200 ") == 2
    assert got.count(b"HTTP/1.1 401 ") == 3


def test_requests_that_wait_cost_no_more_than_their_bytes(server: Served) -> None:
    """No answer is read, so all but the first few of 20,000 requests a connection wait."""
    requests = b"GET /healthz HTTP/1.1\r\nHost:a\r\n\r\n" * 20_000
    before = resident(server.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                sock.sendall(requests)
        assert ask(server.port, "/healthz").status == 200
        assert resident(server.process.pid) - before < 60 * MIB


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
SIGN_IN = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\n" + OFFER
SECOND = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def statuses(port: int, *pieces: bytes) -> list[int]:
    """The statuses of all answers on one connection, until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.settimeout(BOUND_S)
        for piece in pieces:
            sock.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.02)  # a read of its own
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)]


#: A body that would be a request, were it taken for one: for each way to frame it.
SMUGGLED = (
    b'{"key": "x"}' + b" " * 9000 + b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
)


@pytest.mark.parametrize("cut", [0, 1, 40, 100, 200, 8192, 8300])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_offered_upgrade_is_ignored_and_the_body_is_the_body(
    server: Served, framing: str, cut: int
) -> None:
    """Nothing of a body is ever read as a request, wherever a read ends."""
    if framing == "length":
        sent = b"%bContent-Length: %d\r\n\r\n%b" % (SIGN_IN, len(SMUGGLED), SMUGGLED)
    else:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        sent = SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    pieces = [piece for piece in (sent[:cut], sent[cut:] + SECOND) if piece]
    # One answer for each of the two requests: the body is longer than a sign-in's may be.
    assert statuses(server.port, *pieces) == [413, 200]


def test_an_upgrade_without_a_body_is_answered(server: Served) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + OFFER + b"\r\n"
    assert statuses(server.port, get * 3 + SECOND) == [200] * 4
    websocket = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert statuses(server.port, websocket + SECOND) == [200, 200]


def test_a_tunnel_is_refused(server: Served) -> None:
    connect = b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n"
    assert statuses(server.port, connect + SECOND) == [400]


def test_an_offered_upgrade_does_not_get_round_the_bounds(server: Served) -> None:
    head = SIGN_IN + b"Content-Length: 100000\r\n" + b"X: aaaaaaaaaaaa\r\n" * 6000
    assert statuses(server.port, head + b"\r\n") == [431]
    two = SIGN_IN + b"Host: other\r\nContent-Length: 2\r\n\r\n{}"
    assert statuses(server.port, two) == [400]
