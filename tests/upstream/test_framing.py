"""Responses as bytes: whole, in pieces, cut anywhere, compressed, wrong."""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import Iterator, Sequence

import pytest

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

BODY = b'data: {"token": "Wasser \xf0\x9f\x8c\x8a"}\n\ndata: [DONE]\n\n'
EVENTS = [BODY[:20], BODY[20:30], BODY[30:]]
SSE = b"Content-Type: text/event-stream"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", SSE, *lines, b"", b""])


CHUNKS = head(b"Transfer-Encoding: chunked")
#: Every way in which a body can be framed, and whether its end can be told from a cut.
FRAMED = {
    "length": (answer(BODY, SSE), True),
    "chunked": (CHUNKS + chunked(*EVENTS), True),
    "chunked, extensions and trailers": (
        CHUNKS
        + b'%x;name=value;q="a b"\r\n%b\r\n' % (len(BODY), BODY)
        + b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        True,
    ),
    "chunked in capitals": (
        head(b"TRANSFER-ENCODING: Chunked") + chunked(*EVENTS).upper().replace(BODY.upper(), BODY),
        True,
    ),
    "to the close": (head() + BODY, False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + SSE + b"\r\n\r\n" + BODY, False),
    "after 1xx": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + answer(BODY, SSE),
        True,
    ),
    "LF alone": (answer(BODY, SSE).partition(BODY)[0].replace(b"\r\n", b"\n") + BODY, True),
}
del FRAMED["chunked in capitals"]  # data in capitals is other data; the header's case is below
FRAMED["header names in any case"] = (
    head(b"tRANSFER-eNCODING: Chunked") + chunked(*EVENTS),
    True,
)


def ways(response: bytes) -> Iterator[Sequence[bytes]]:
    """Whole, byte by byte, and in two at a few places."""
    yield [response]
    yield [response[at : at + 1] for at in range(len(response))]
    for at in range(1, len(response), 17):
        yield [response[:at], response[at:]]


@every_loop
@pytest.mark.parametrize("framing", FRAMED)
def test_whole_at_whatever_boundaries_it_comes(loop: str, framing: str) -> None:
    response, _ = FRAMED[framing]
    writes = list(ways(response))
    if framing == "LF alone":
        # llhttp may refuse it, since lenience here lets requests be smuggled; then it is an error.
        writes = writes[:1]

    async def main() -> None:
        async def piecewise(peer: Peer) -> None:
            await peer.request()
            for piece in writes[peer.number]:
                await peer.say(piece)
                await asyncio.sleep(0)  # let the client read it by itself, where it will

        async with serve(piecewise) as server:
            for _ in writes:
                async with pooled() as pool:  # a new connection for each
                    _, got = ask(pool, server.url)
                    await got.ended()
                    if framing == "LF alone" and got.ends != [None]:
                        assert got.error.code == "upstream_error"
                        return
                    assert await got.whole() == BODY
                    [(status, headers)] = got.heads
                    assert status == 200
                    assert headers["content-type"] == "text/event-stream"
                    assert "link" not in headers

    run(loop, main)


@every_loop
@pytest.mark.parametrize("framing", [name for name in FRAMED if name != "LF alone"])
def test_cut_at_every_byte(loop: str, framing: str) -> None:
    """One end; what came is a beginning of the body; a cut is told wherever it can be told."""
    response, delimited = FRAMED[framing]
    body_at = response.rindex(b"\r\n\r\n", 0, response.index(BODY[:20])) + 4

    async def main() -> None:
        cuts = range(len(response))

        async def cutting(peer: Peer) -> None:
            request = await peer.request()
            await peer.say(response[: int(request.rpartition(b"\r\n")[2])])

        async with serve(cutting) as server, pooled() as pool:
            asked = [ask(pool, server.url, b"%d" % cut)[1] for cut in cuts]
            for cut, got in zip(cuts, asked, strict=True):
                await got.ended()
                assert BODY.startswith(got.body)
                if delimited or cut < body_at:
                    assert got.error.code == "truncated", cut
                    assert got.error.retryable
                else:
                    assert (got.ends, got.body) == ([None], response[body_at:cut])
                assert bool(got.heads) == (cut >= body_at), cut

    run(loop, main)


@every_loop
@pytest.mark.parametrize(
    "response",
    [
        b"\x00",
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKS + b"xyz\r\n",
        CHUNKS + b"-5\r\nhello\r\n",
        CHUNKS + b"fffffffffffffffff\r\n",
        CHUNKS + b"5\r\nhelloworld\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_not_http_is_one_error(loop: str, response: bytes) -> None:
    async def main() -> None:
        async def talk(peer: Peer) -> None:
            await peer.request()
            await peer.say(response)
            await peer.gone()  # it is the client who closes

        async with serve(talk) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code == "upstream_error"
            assert "Traceback" not in got.error.message
            async with asyncio.timeout(BOUND_S):
                await server.peers[0].left.wait()

    run(loop, main)


@every_loop
def test_many_1xx_then_the_response(loop: str) -> None:
    async def main() -> None:
        async def patient(peer: Peer) -> None:
            await peer.request()
            for _ in range(100):
                await peer.say(b"HTTP/1.1 102 Processing\r\nX-Interim: yes\r\n\r\n")
            await peer.say(answer(b"body", b"X-Final: yes"))

        async with serve(patient) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            assert await got.whole() == b"body"
            [(status, headers)] = got.heads
            assert status == 200
            assert headers["x-final"] == "yes"
            assert "x-interim" not in headers

    run(loop, main)


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"a" * 1000 + b"\r\n"),
    "a header's value": (b"HTTP/1.1 200 OK\r\nX-Filler: ", b"a" * 4096),
    "a header's name": (b"HTTP/1.1 200 OK\r\nX", b"a" * 4096),
    "a folded header": (b"HTTP/1.1 200 OK\r\nX: a", b"\r\n " + b"a" * 1000),
    "the reason": (b"HTTP/1.1 200 ", b"a" * 4096),
    "1xx": (b"", b"HTTP/1.1 100 Continue\r\nX-Filler: " + b"a" * 1000 + b"\r\n\r\n"),
    "trailers": (CHUNKS + b"0\r\n", b"X-Filler: " + b"a" * 1000 + b"\r\n"),
    "a trailer": (CHUNKS + b"0\r\nX: ", b"a" * 4096),
}


@every_loop
@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_head_is_refused(loop: str, what: str) -> None:
    begin, more = ENDLESS[what]

    async def main() -> None:
        sent = 0

        async def endless(peer: Peer) -> None:
            nonlocal sent
            await peer.request()
            await peer.say(begin)
            while sent < 16 << 20:
                await peer.say(more)
                sent += len(more)

        async with serve(endless) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code == "upstream_error"
            async with asyncio.timeout(BOUND_S):
                await server.peers[0].left.wait()
            # The bound, and what was in the buffers of two sockets.
            assert sent < 8 << 20

    run(loop, main)


@every_loop
def test_large_headers_are_no_error(loop: str) -> None:
    """Providers send policies and cookies of some kilobytes."""

    async def main() -> None:
        async def policies(peer: Peer) -> None:
            await peer.request()
            await peer.say(answer(b"ok", *(b"X-%d: " % n + b"a" * 1000 for n in range(32))))

        async with serve(policies) as server, pooled() as pool:
            assert await ask(pool, server.url)[1].whole() == b"ok"

    run(loop, main)


# compression, though identity was asked


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


PACKED = {
    "gzip": (b"gzip", gzip.compress(BODY)),
    "gzip in capitals": (b"GZIP", gzip.compress(BODY)),
    "deflate": (b"deflate", deflated(BODY)),
    "gzip in two members": (b"gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
    "identity": (b"identity", BODY),
    "empty name": (b"", BODY),
}


@every_loop
@pytest.mark.parametrize("packing", PACKED)
def test_compressed_though_identity_was_asked(loop: str, packing: str) -> None:
    name, data = PACKED[packing]
    response = CHUNKS[:-2] + b"Content-Encoding: " + name + b"\r\n\r\n"
    bytewise = chunked(*(data[at : at + 1] for at in range(len(data))))

    async def main() -> None:
        async def packed(peer: Peer) -> None:
            await peer.request()
            await peer.say(response, chunked(data) if peer.number == 0 else bytewise)

        async with serve(packed) as server:
            for _ in range(2):
                async with pooled() as pool:
                    assert await ask(pool, server.url)[1].whole() == BODY

    run(loop, main)


@every_loop
@pytest.mark.parametrize("name", [b"gzip", b"deflate"])
def test_decoded_as_it_comes(loop: str, name: bytes) -> None:
    """Each piece is handed on before the next is sent."""
    pieces = [b"data: %d\n\n" % number for number in range(20)]

    async def main() -> None:
        taken = asyncio.Event()

        async def flushing(peer: Peer) -> None:
            await peer.request()
            await peer.say(CHUNKS[:-2] + b"Content-Encoding: " + name + b"\r\n\r\n")
            packer = zlib.compressobj(wbits=31 if name == b"gzip" else 15)
            for piece in pieces:
                data = packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
                taken.clear()
                await peer.say(chunked(data)[: -len(b"0\r\n\r\n")])
                await taken.wait()
            await peer.say(chunked(packer.flush()))

        async with serve(flushing) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            for number in range(1, 21):
                size = len(b"".join(pieces[:number]))
                await got.until_size(size)
                assert got.body == b"".join(pieces)[:size]
                taken.set()
            await got.whole()

    run(loop, main)


@functools.cache
def bomb() -> bytes:
    return gzip.compress(bytes(80 << 20), 9)


@every_loop
@pytest.mark.parametrize("framing", ["length", "chunked", "to the close"])
@pytest.mark.parametrize("fault", ["bomb", "corrupt", "cut", "not compressed"])
def test_a_compressed_body_that_cannot_be_decoded_is_an_error(
    loop: str, framing: str, fault: str
) -> None:
    """Whole in one read or in many: never a success, never more than the bound."""
    data = {
        "bomb": bomb(),
        "corrupt": gzip.compress(BODY)[:-8] + bytes(8),
        "cut": gzip.compress(BODY)[:-9],
        "not compressed": BODY,
    }[fault]
    encoding = b"Content-Encoding: gzip"
    response = {
        "length": answer(data, encoding),
        "chunked": head(b"Transfer-Encoding: chunked", encoding) + chunked(data),
        "to the close": head(encoding) + data,
    }[framing]

    async def main() -> None:
        async def packed(peer: Peer) -> None:
            await peer.request()
            await peer.say(response)

        async with serve(packed) as server, pooled() as pool:
            got = Counter()
            pool.send(post(server.url), got)
            await got.ended()
            assert got.error.code == ("truncated" if fault == "cut" else "upstream_error")
            assert got.size <= 64 << 20

    run(loop, main)


class Counter(Collector):
    """Keeps no body, only its size."""

    size = 0

    def on_data(self, data: bytes) -> None:
        self.size += len(data)
        super().on_data(b"")


@every_loop
@pytest.mark.parametrize(
    "name", [b"br", b"zstd", b"gzip, br", b"compress", b"aws-chunked", b"x" * 500]
)
def test_an_encoding_that_is_not_known_is_refused(loop: str, name: bytes) -> None:
    async def main() -> None:
        async def odd(peer: Peer) -> None:
            await peer.request()
            await peer.say(answer(BODY, b"Content-Encoding: " + name))
            await peer.gone()

        async with serve(odd) as server, pooled() as pool:
            _, got = ask(pool, server.url)
            await got.ended()
            assert got.error.code == "upstream_error"
            assert name.decode()[:8] in got.error.message
            assert len(got.error.message) < 200
            assert not got.pieces

    run(loop, main)


@every_loop
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_not_followed(loop: str, status: int) -> None:
    async def main() -> None:
        async def elsewhere(peer: Peer) -> None:
            await peer.request()
            location = b"Location: http://127.0.0.1:%d/secret" % server.port
            body = b"" if status == 304 else b"moved"
            await peer.say(answer(body, location, status=b"%d Moved" % status))

        async with serve(elsewhere) as server, pooled() as pool:
            _, got = ask(pool, server.url, Authorization="Bearer secret")
            assert await got.whole() == (b"" if status == 304 else b"moved")
            [(seen, headers)] = got.heads
            assert seen == status
            assert headers["location"].endswith("/secret")
            assert len(server.peers) == 1

    run(loop, main)


@every_loop
def test_a_compressed_body_is_decoded_in_bounded_steps(loop: str) -> None:
    """At most 64 KiB a turn of the loop, however much one read of the socket holds."""
    data = gzip.compress(bytes(range(256)) * 40_000, 9)

    class Turns(Counter):
        turn = 0
        sizes: dict[int, int]

        def on_data(self, data: bytes) -> None:
            self.sizes[self.turn] = self.sizes.get(self.turn, 0) + len(data)
            super().on_data(data)

    async def main() -> None:
        async def packed(peer: Peer) -> None:
            for _ in range(2):  # the connection is kept
                await peer.request()
                await peer.say(answer(data, b"Content-Encoding: gzip"))

        async with serve(packed) as server, pooled() as pool:
            for _ in range(2):
                got = Turns()
                got.sizes = {}
                pool.send(post(server.url), got)
                while not got.ends:
                    got.turn += 1
                    await asyncio.sleep(0)
                assert got.ends == [None]
                assert got.size == 256 * 40_000
                assert max(got.sizes.values()) <= 64 * 1024

    run(loop, main)
