"""Responses over bare ASGI: a client of messages in place of a server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater import Headwater
from tests.server.wires import (
    EVERY_WIRE,
    is_end,
    outcome,
    text_of,
)

BOUND_S = 10.0
FREED_S = 2.0
some_wires = pytest.mark.parametrize("wire", ["plain", "native", "openai"])
every_wire = pytest.mark.parametrize("wire", EVERY_WIRE)


class Client:
    """A server's side of ASGI, as slow and as absent as a test says."""

    def __init__(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self._requests = [{"type": "http.request", "body": body, "more_body": False}]
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.entered = asyncio.Event()
        self._receiving = self._sending = 0
        self.fails: Exception | None = None

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def bodies(self) -> list[bytes]:
        return [m.get("body", b"") for m in self.sent[1:]]

    async def receive(self) -> dict[str, Any]:
        self._receiving += 1
        assert self._receiving == 1, "two watchers of receive()"
        try:
            if self._requests:
                return self._requests.pop(0)
            await self.gone.wait()
            return {"type": "http.disconnect"}
        finally:
            self._receiving -= 1

    async def send(self, message: Any) -> None:
        self._sending += 1
        assert self._sending == 1, "two sends at once"
        try:
            assert not self.sent or self.sent[-1].get("more_body", True), "sent after the end"
            assert (message["type"] == "http.response.start") == (not self.sent)
            if message.get("body"):
                self.entered.set()
                if self.fails is not None:
                    raise self.fails
                await self.taking.wait()
            self.sent.append(message)
            if self.sent[1:] and not message.get("more_body", False):
                self.gone.set()  # as every server: receive() then says disconnect
        finally:
            self._sending -= 1

    async def run(self, app: Any) -> None:
        async with asyncio.timeout(BOUND_S):
            await app(self.scope, self.receive, self.send)


class Generator:
    """What a test drives, and what it tells afterwards."""

    def __init__(self, *pieces: str, stalls: bool = False, piece_s: float = 0.0) -> None:
        self.pieces = pieces
        self.stalls = stalls
        self.closed = asyncio.Event()
        self.said = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            for piece in self.pieces:
                await asyncio.sleep(0)
                yield piece
            self.said.set()
            if self.stalls:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


def driven(main: Callable[[Headwater], Any]) -> None:
    """Run `main` with a library whose streams are all over at its end."""
    lost: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        hw = Headwater()
        async with asyncio.timeout(30):
            await main(hw)
            await hw.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(run())
    assert not lost, lost


@every_wire
def test_a_whole_response_over_bare_asgi(wire: str) -> None:
    async def main(hw: Headwater) -> None:
        client = Client()
        await client.run(hw.response(Generator("Was", "ser"), wire=wire))
        assert client.status == 200
        body = b"".join(client.bodies)
        assert text_of(wire, body) == "Wasser"
        assert outcome(wire, body) == is_end(wire, "stop")
        assert client.sent[-1].get("more_body", False) is False

    driven(main)


@some_wires
def test_a_slow_send_is_waited_for_with_bounded_memory(wire: str) -> None:
    """8 MiB are written while one `send` is under way; what waits beside it is bounded."""
    piece = "x" * 4096

    async def main(hw: Headwater) -> None:
        client = Client()
        client.taking.clear()
        generator = Generator(*[piece] * 2048)
        serving = asyncio.ensure_future(client.run(hw.response(generator, wire=wire)))
        async with asyncio.timeout(BOUND_S):
            await client.entered.wait()
            await generator.closed.wait()  # nobody holds the producer up
        assert not serving.done()
        client.taking.set()
        await serving
        body = b"".join(client.bodies)
        assert text_of(wire, body) == piece * 2048
        assert max(map(len, client.bodies)) < 256 * 1024

    driven(main)


@every_wire
@pytest.mark.parametrize("stage", ["before the first token", "between tokens", "while send blocks"])
def test_a_disconnect_ends_everything_at_once(wire: str, stage: str) -> None:
    async def main(hw: Headwater) -> None:
        client = Client()
        pieces = [] if stage == "before the first token" else ["x" * 4096] * 64
        generator = Generator(*pieces, stalls=True)
        if stage == "while send blocks":
            client.taking.clear()
        response = hw.response(generator, wire=wire, on_disconnect="cancel")
        serving = asyncio.ensure_future(client.run(response))
        async with asyncio.timeout(BOUND_S):
            await generator.said.wait()
            if stage == "while send blocks":
                await client.entered.wait()
            began = time.monotonic()
            client.gone.set()
            await serving
            await generator.closed.wait()
        assert time.monotonic() - began < FREED_S

    driven(main)


def test_a_disconnect_while_send_blocks_leaves_other_readers_alone() -> None:
    async def main(hw: Headwater) -> None:
        stuck, other = Client(), None
        stuck.taking.clear()
        generator = Generator(*["x" * 4096] * 64, "end")
        serving = asyncio.ensure_future(stuck.run(hw.response(generator, wire="native")))
        async with asyncio.timeout(BOUND_S):
            await stuck.entered.wait()
        stream = dict(stuck.sent[0]["headers"])[b"headwater-stream"].decode()
        other = Client(f"/v1/streams/{stream}")
        reading = asyncio.ensure_future(other.run(hw.asgi()))
        stuck.gone.set()
        await serving
        await reading
        assert text_of("native", b"".join(other.bodies)).endswith("end")

    driven(main)


def test_a_send_that_raises_frees_the_source() -> None:
    """A server may say so when the reader has gone; none does today."""

    async def main(hw: Headwater) -> None:
        client = Client()
        client.fails = OSError("gone")
        generator = Generator("a", stalls=True)
        with contextlib.suppress(OSError):
            await client.run(hw.response(generator, on_disconnect="cancel"))
        async with asyncio.timeout(BOUND_S):
            await generator.closed.wait()

    driven(main)


@pytest.mark.parametrize("blocked", [False, True])
def test_a_cancelled_request_is_cancelled_and_frees_the_source(blocked: bool) -> None:
    """A server that stops, or a time-out of the application's own, cancels the request's task."""

    async def main(hw: Headwater) -> None:
        client = Client()
        if blocked:
            client.taking.clear()
        generator = Generator("a", stalls=True)
        serving = asyncio.ensure_future(client.run(hw.response(generator, on_disconnect="cancel")))
        async with asyncio.timeout(BOUND_S):
            await client.entered.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        async with asyncio.timeout(BOUND_S):
            await generator.closed.wait()

    driven(main)


def test_lifespan_and_what_is_not_http() -> None:
    async def main(hw: Headwater) -> None:
        app: Any = hw.asgi()
        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "lifespan"}, receive, send)
        assert [m["type"] for m in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        with pytest.raises(RuntimeError):
            await app({"type": "websocket", "path": "/", "headers": []}, receive, send)

    driven(main)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xa0"},
        {"Authorization": "Bearer \x85"},
        {"x-api-key": "\xa0\xa0"},
        {"Authorization": "Bearer env:NO_SUCH_VARIABLE"},
        {},
    ],
    ids=repr,
)
def test_a_key_whose_variable_is_not_set_opens_nothing(
    headers: dict[str, str], tmp_path: Path
) -> None:
    """`headwater serve` refuses to start so; an application that mounts us starts."""
    (tmp_path / "headwater.toml").write_text('[auth.keys]\nme = "env:NO_SUCH_VARIABLE"')
    hw = Headwater(config=tmp_path / "headwater.toml", upstream="http://127.0.0.1:9/v1")

    async def main() -> None:
        raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
        client = Client("/v1/models", headers=raw)
        await client.run(hw.asgi())
        assert client.status == 401
        await hw.aclose()

    asyncio.run(main())
