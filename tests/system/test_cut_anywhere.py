"""A reader's connection cut anywhere, and the answer whole all the same.

`make proof` cuts at every byte; `make test` at a seeded sample of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater import events as ev
from headwater.sse import Decoder
from headwater.testing import DONE, Answer, FaultyUpstream, chat, chunk, event
from tests.conftest import Figures
from tests.helpers.arrivals import request
from tests.helpers.redis import empty_redis
from tests.server.serving import Served, anonymous, serving
from tests.server.wires import EVERY_WIRE, PATHS, body_of

pytestmark = pytest.mark.system

SAMPLE = 30
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "rain", "arguments": ""},
}
MIXED = Answer(
    [
        b"".join(
            [
                chunk({"role": "assistant", "content": ""}),
                chunk({"reasoning_content": "Erst denken… "}),
                chunk({"reasoning_content": "dann 🌧 reden."}),
                chunk({"content": "Es "}),
                chunk({"content": "reg\u2028net — "}),
            ]
        ),
        0.001,  # so that it is more than one entry of the log
        b"".join(
            [
                chunk({"content": "大雨 "}),
                chunk({"content": "🌧🌧\n\nid: 9-9\ndata: x"}),
                chunk({"tool_calls": [CALL]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"wo": "Kö'}}]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ln"}'}}]}),
                chunk({}, "tool_calls"),
                event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}),
                DONE,
            ]
        ),
    ]
)
BODY = {"messages": [{"role": "user", "content": "?"}], "stream": True}


@pytest.fixture(params=["memory", "sqlite", "redis"], scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "redis":
        return empty_redis()
    folder = tmp_path_factory.mktemp("store")
    return "memory://" if request.param == "memory" else f"sqlite:///{folder / 's.db'}"


@pytest.fixture(scope="module")
def served(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        FaultyUpstream(MIXED) as upstream,
        serving(
            "--upstream", upstream.url, "--store", store, cwd=tmp_path_factory.mktemp("served")
        ) as served,
    ):
        yield served


class Cut:
    """One stream, read up to a byte of what the server sends after its head."""

    def __init__(self, port: int, wire: str, at: int | None) -> None:
        # Not the wire's own policy: some end a stream whose reader has gone.
        policy = {"Headwater-On-Disconnect": "30"}
        response = request(port, PATHS[wire], body_of(wire, "?"), policy)
        self.stream = response.head.headers["headwater-stream"]
        self.raw = 0
        body = b""
        parts = iter(response)
        with contextlib.closing(response):
            while at is None or len(body) < at:
                part = next(parts, None)
                if part is None:
                    break
                body += part
        self.body = body if at is None else body[:at]


def resumed(port: int, cut: Cut, wire: str) -> bytes:
    """What the reader has in the end: whole events up to the cut, then what a resume brings."""
    decoder = Decoder()
    decoder.feed(cut.body)
    headers = {"Last-Event-ID": decoder.last_event_id} if decoder.last_event_id else {}
    whole = cut.body
    # What came after the last event that has an id is read again.
    mark = f"id: {decoder.last_event_id}\n".encode() if decoder.last_event_id else None
    kept = b"" if mark is None else whole[: whole.index(b"\n\n", whole.rindex(mark)) + 2]
    response = request(port, f"/v1/streams/{cut.stream}?wire={wire}", None, headers)
    return kept + b"".join(response)


def told(body: bytes, stream: str) -> list[bytes]:
    """The data of a response, without what differs from one response to the next."""
    return [message.data for message in Decoder().feed(anonymous(body, stream).encode())]


def check(served: Served, wire: str, offsets: list[int], whole: list[Any]) -> None:
    for at in offsets:
        cut = Cut(served.port, wire, at)
        assert told(resumed(served.port, cut, wire), cut.stream) == whole, f"cut at byte {at}"


every_wire = pytest.mark.parametrize("wire", EVERY_WIRE)


@every_wire
def test_cut_at_a_sample_of_bytes(served: Served, wire: str) -> None:
    uncut = Cut(served.port, wire, None)
    offsets = random.Random(wire).sample(range(len(uncut.body)), SAMPLE)
    check(served, wire, [0, *offsets], told(uncut.body, uncut.stream))


@pytest.mark.proof
@pytest.mark.timeout(900)
@every_wire
def test_cut_at_every_byte(served: Served, wire: str, figures: Figures, store: str) -> None:
    uncut = Cut(served.port, wire, None)
    size = len(uncut.body)
    check(served, wire, list(range(size)), told(uncut.body, uncut.stream))
    figures(f"{store.partition(':')[0]}, {wire}: cut at every byte", f"{size} of {size}")


# many at once


TOKENS = [f"{number}·" for number in range(30)]
CUTS = 3


async def _one(port: int, chance: random.Random, refused: list[bytes]) -> str:
    """The text of one stream, its connection reset at three random moments."""
    stream, last, text, cuts = "", "", "", CUTS
    while True:
        reader, writer = await _asked(port, stream, last)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 503 "):  # a starved server may refuse; clients retry
                refused.append(head)
                await asyncio.sleep(0.1 + chance.random() / 10)
                continue
            stream = stream or _header(head, b"headwater-stream")
            decoder = Decoder()
            left = chance.randint(1, 900) if cuts else 1 << 30
            while left > 0:
                part = await _chunk(reader)
                if not part:
                    return text
                left -= len(part)
                for message in decoder.feed(part):
                    event = ev.decode(message.data)
                    last = message.id
                    if isinstance(event, ev.TextDelta):
                        text += event.text
                    elif isinstance(event, ev.Terminal):
                        return text if isinstance(event, ev.StreamEnd) else f"failed: {event}"
            cuts -= 1
        finally:
            writer.transport.abort()


async def _asked(
    port: int, stream: str, last: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if stream:
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        head = f"GET /v1/streams/{stream} HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n"
        writer.write(head.encode())
    else:
        body = msgspec.json.encode(BODY)
        head = (
            f"POST /v1/streams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
    return reader, writer


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:size]


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    raise AssertionError(head)


def test_a_thousand_streams_each_cut_three_times(
    store: str, tmp_path: Path, figures: Figures
) -> None:
    refused: list[bytes] = []

    async def all_of(port: int, count: int) -> list[str]:
        chance = random.Random(7)
        return await asyncio.gather(
            *(_one(port, random.Random(chance.random()), refused) for _ in range(count))
        )

    with (
        FaultyUpstream(chat(TOKENS, gap_s=0.15)) as upstream,
        serving("--upstream", upstream.url, "--store", store, cwd=tmp_path) as served,
    ):
        texts = asyncio.run(all_of(served.port, 1000))
        whole = sum(text == "".join(TOKENS) for text in texts)
        figures(
            f"{store.partition(':')[0]}: of 1,000 streams at once, each cut three times, whole",
            f"{whole}, after {len(refused)} refusals",
        )
        assert whole == 1000, (set(texts), served.output[-2000:])
        assert len(upstream.posts) == 1000


def test_the_socket_is_really_cut() -> None:
    """`abort` resets: what the tests above call a cut is one for the server too."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def cut() -> None:
            _, writer = await asyncio.open_connection(*server.getsockname())
            writer.transport.abort()
            await asyncio.sleep(0)

        asyncio.run(cut())
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert accepted.recv(1) == b""
