"""Connections: kept, lost, given up. Every test on both kinds of loop."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from headwater.errors import HeadwaterError, UpstreamError
from headwater.testing import STALL, Answer
from headwater.testing import FaultyUpstream as Upstream
from headwater.upstream import Request, fetch
from tests.helpers.polling import eventually_async
from tests.upstream.driving import (
    BOUND_S,
    Collector,
    Peer,
    answer,
    ask,
    chunked,
    every_loop,
    pooled,
    post,
    run,
    serve,
)

LENGTH = answer(b"body")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"bo", b"dy")
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


async def forever(peer: Peer, response: bytes) -> None:
    while True:
        await peer.request()
        await peer.say(response)


@every_loop
@pytest.mark.parametrize(
    ("response", "connections"),
    [
        pytest.param(LENGTH, 1, id="length"),
        pytest.param(CHUNKED, 1, id="chunked"),
        pytest.param(EMPTY, 1, id="no body"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, 1, id="after a 1xx"),
        pytest.param(answer(b"no", status=b"429 Slow"), 1, id="after an error's body"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody",
            1,
            id="HTTP/1.0 that keeps",
        ),
        pytest.param(answer(b"body", b"Connection: close"), 5, id="asks to close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", 5, id="HTTP/1.0"),
        pytest.param(LENGTH + b"more", 5, id="more than it said"),
    ],
)
def test_a_connection_is_kept_when_it_can_be(loop: str, response: bytes, connections: int) -> None:
    async def main() -> None:
        async with serve(lambda peer: forever(peer, response)) as server, pooled() as pool:
            for number in range(5):
                exchange, got = ask(pool, server.url)
                await got.whole()
                assert got.body in (b"body", b"no", b"")
                assert exchange.reused == (connections == 1 and number > 0)
            assert len(server.peers) == connections

    run(loop, main)


@every_loop
def test_requests_at_once_have_a_connection_each_and_are_not_mixed_up(loop: str) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.say(answer(request.partition(b"\r\n\r\n")[2]))

    async def main() -> None:
        async with serve(echo) as server, pooled() as pool:
            for _ in range(3):
                bodies = [b"%d" % number * 1000 for number in range(20)]
                asked = [ask(pool, server.url, body)[1] for body in bodies]
                assert await asyncio.gather(*(got.whole() for got in asked)) == bodies
            assert len(server.peers) == 20

    run(loop, main)


@every_loop
def test_the_request_as_it_is_sent(loop: str) -> None:
    seen: list[bytes] = []

    async def keep(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.say(LENGTH)

    async def main() -> None:
        async with serve(keep) as server, pooled() as pool:
            body = bytes(range(256)) * 300
            headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
            got = Collector()
            pool.send(Request("POST", f"{server.url}/chat?a=1&b=%20", headers, body), got)
            assert await got.whole() == b"body"
            head, _, sent = seen[0].partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            assert first == "POST /v1/chat?a=1&b=%20 HTTP/1.1"
            assert sorted(lines) == sorted(
                [
                    f"Host: 127.0.0.1:{server.port}",
                    "Content-Length: 76800",
                    "Accept-Encoding: identity",
                    "Authorization: Bearer k",
                    "Content-Type: application/json",
                ]
            )
            assert sent == body

    run(loop, main)


@every_loop
@pytest.mark.parametrize("notice", ["before", "after"])
def test_a_kept_connection_that_was_closed_while_idle(loop: str, notice: str) -> None:
    """Whether the client sees the close before it writes or only afterwards: one new connection."""
    asked: list[bytes] = []

    async def once(peer: Peer) -> None:
        asked.append(await peer.request())
        await peer.say(answer(b"%d" % peer.number))
        if notice == "after" and peer.number == 0:
            asked.append(await peer.request())  # it was idle too long: closed without an answer

    async def main() -> None:
        async with serve(once) as server, pooled() as pool:
            assert await ask(pool, server.url, b"first")[1].whole() == b"0"
            if notice == "before":
                await server.peers[0].left.wait()
                # The close is on its way; another connection's round trip is longer than it.
                await fetch(pool, Request("GET", f"{server.url}/models", {}), BOUND_S)
            _, got = ask(pool, server.url, b"second")
            assert await got.whole() == (b"1" if notice == "after" else b"2")
            assert asked[-1].endswith(b"\r\n\r\nsecond")
            if notice == "after":
                assert asked[1] == asked[2]

    run(loop, main)


@every_loop
@pytest.mark.parametrize("reset", [False, True])
def test_it_is_sent_again_only_once(loop: str, reset: bool) -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def dying(peer: Peer) -> None:
            seen.append(await peer.request())
            if len(seen) == 1:
                await peer.say(LENGTH)
                seen.append(await peer.request())
            if reset:
                reset_on_close(peer)

        async with serve(dying) as server, pooled() as pool:
            await ask(pool, server.url)[1].whole()
            _, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code in ("truncated", "upstream_error")
            assert len(server.peers) == 2
            assert len(seen) == 3

    run(loop, main)


@every_loop
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 200 OK\r\n", LENGTH[:-1]])
def test_what_was_answered_in_part_is_never_sent_again(loop: str, kept: bool, said: bytes) -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def breaking(peer: Peer) -> None:
            if kept:
                await peer.request()
                await peer.say(LENGTH)
            seen.append(await peer.request())
            await peer.say(said)

        async with serve(breaking) as server, pooled() as pool:
            if kept:
                await ask(pool, server.url)[1].whole()
            exchange, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code == "truncated"
            assert exchange.reused == kept
            assert len(seen) == len(server.peers) == 1

    run(loop, main)


@every_loop
def test_a_new_connection_that_closes_without_an_answer_is_not_tried_again(loop: str) -> None:
    async def main() -> None:
        async def silent(peer: Peer) -> None:
            await peer.request()

        async with serve(silent) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code == "truncated"
            assert got.error.retryable
            assert not got.heads
            assert len(server.peers) == 1

    run(loop, main)


@every_loop
@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_closes_whatever_it_accepts(loop: str, reset: bool) -> None:
    """The connection may be lost before a request could be written: an error, never an empty end."""

    async def main() -> None:
        async def shut(peer: Peer) -> None:
            if reset:
                reset_on_close(peer)

        async with serve(shut) as server, pooled() as pool:
            for _ in range(30):
                _, got = ask(pool, server.url)
                await got.ended()
                assert got.error.code in ("truncated", "upstream_error")
                assert got.error.retryable

    run(loop, main)


@every_loop
def test_bytes_that_nobody_asked_for_spoil_a_connection(loop: str) -> None:
    """Else the next request would get the answer to no question: response splitting."""

    async def main() -> None:
        spoken = asyncio.Event()

        async def chatty(peer: Peer) -> None:
            await peer.request()
            await peer.say(answer(b"%d" % peer.number))
            if peer.number == 0:
                await spoken.wait()
                await peer.say(answer(b"poison"))
                await peer.gone()

        async with serve(chatty) as server, pooled() as pool:
            assert await ask(pool, server.url)[1].whole() == b"0"
            spoken.set()
            await server.peers[0].left.wait()
            assert await ask(pool, server.url)[1].whole() == b"1"

    run(loop, main)


@every_loop
def test_released_and_soon_over_is_kept_and_released_and_endless_is_closed(loop: str) -> None:
    async def main() -> None:
        go_on = asyncio.Event()
        kept_at: list[float] = []

        async def lingering(peer: Peer) -> None:
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await go_on.wait()
            await peer.say(b"0\r\n\r\n")
            await peer.request()
            await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await peer.gone()
            kept_at.append(time.monotonic())

        async with serve(lingering) as server, pooled() as pool:
            exchange, got = ask(pool, server.url)
            await got.until(lambda: got.pieces)
            exchange.release()
            go_on.set()
            # The end is on its way on that connection; when it has come, it is used again.
            await eventually_async(lambda: exchange.connection is None)
            exchange, again = ask(pool, server.url)
            await again.until(lambda: again.pieces)
            assert exchange.reused
            released = time.monotonic()
            exchange.release()
            async with asyncio.timeout(BOUND_S):
                await server.peers[0].left.wait()
            assert got.ends == again.ends == []  # who released hears nothing more
            assert time.monotonic() - released < BOUND_S

    run(loop, main)


@every_loop
@pytest.mark.parametrize("stage", ["head", "body"])
def test_cancel_frees_the_server_at_once(
    loop: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured at the server, in another thread."""
    silence = Answer([STALL], framing="raw") if stage == "head" else Answer([b"data: x\n\n", STALL])

    with Upstream(silence) as upstream:

        async def main() -> None:
            async with pooled() as pool:
                exchange, got = ask(pool, f"{upstream.url}/chat/completions")
                await asyncio.to_thread(upstream.wait, lambda: bool(upstream.posts))
                if stage == "body":
                    await got.until(lambda: got.pieces)
                cancelled_at = time.monotonic()
                exchange.cancel()
                exchange.cancel()
                [asked] = upstream.posts
                await asyncio.to_thread(upstream.wait, lambda: asked.hung_up_at is not None)
                assert asked.hung_up_at is not None
                took = asked.hung_up_at - cancelled_at
                assert took < 0.5
                with capsys.disabled():
                    print(f" [{stage}, {loop}: server freed after {took * 1000:.1f} ms] ", end="")
                assert not got.ends

        run(loop, main)


@every_loop
def test_cancel_before_a_connection_is_there(loop: str) -> None:
    with Upstream(Answer([b"late"])) as upstream:

        async def main() -> None:
            async with pooled() as pool:
                asked = [ask(pool, upstream.url) for _ in range(20)]
                for exchange, _ in asked:
                    exchange.cancel()
                # Whatever was in the air has landed when a later request is answered.
                await ask(pool, upstream.url)[1].whole()
                assert not any(got.heads or got.ends for _, got in asked)
            assert len(upstream.posts) == 1

        run(loop, main)


@every_loop
def test_closing_the_pool_gives_up_what_is_dialled_and_closes_what_is_idle(loop: str) -> None:
    async def main() -> None:
        async with serve(lambda peer: forever(peer, LENGTH)) as server:
            async with pooled() as pool:
                await ask(pool, server.url)[1].whole()
                _, dialling = ask(pool, "http://127.0.0.1:9/v1")
            async with asyncio.timeout(BOUND_S):
                await server.peers[0].left.wait()
            assert len(dialling.ends) <= 1

    run(loop, main)


@every_loop
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("value", ["sk-1\n", "sk-1\r\nX-Evil: 1", "sk-1\0", "sk-1-ключ"])
def test_a_header_that_cannot_be_sent_is_an_error_not_silence(
    loop: str, kept: bool, value: str
) -> None:
    """A key pasted with its newline must not look like a slow upstream."""

    async def main() -> None:
        async with serve(lambda peer: forever(peer, LENGTH)) as server, pooled() as pool:
            if kept:
                await ask(pool, server.url)[1].whole()
            got = Collector()
            with pytest.raises(HeadwaterError) as caught:
                pool.send(post(server.url, Authorization=f"Bearer {value}"), got)
            assert "sk-1" not in caught.value.message
            if kept:  # and it costs no connection
                exchange, later = ask(pool, server.url)
                await later.whole()
                assert exchange.reused

    run(loop, main)


@every_loop
def test_fetch(loop: str) -> None:
    async def main() -> None:
        async def stall(peer: Peer) -> None:
            request = await peer.request()
            if b"/stall" in request:
                await peer.gone()
            await peer.say(answer(b"[]", status=b"418 Teapot"))

        async with serve(stall) as server, pooled() as pool:
            got = await fetch(pool, Request("GET", f"{server.url}/models", {}), BOUND_S)
            assert (got.status, got.body) == (418, b"[]")
            with pytest.raises(UpstreamError) as caught:
                await fetch(pool, Request("GET", f"{server.url}/stall", {}), 0.2)
            assert caught.value.code == "upstream_timeout"
            async with asyncio.timeout(BOUND_S):
                await server.peers[-1].left.wait()

    run(loop, main)


def reset_on_close(peer: Peer) -> None:
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
