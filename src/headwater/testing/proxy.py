"""A TCP proxy that breaks connections: what a lift, a changed network or a bad proxy does."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from headwater.testing.looping import Looping, now, reset

_HEAD: Final = re.compile(rb"[A-Z]+ /\S* HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")

#: "close" is an orderly end, "reset" a broken one, "stall" silence on a connection that stays.
How = Literal["close", "reset", "stall"]


@dataclass(frozen=True)
class Fault:
    """What happens to one connection; by default nothing.

    `how` comes exactly behind the first `after` bytes of what the server answered on it, heads
    included, or when the connection is `lasts_s` old. Each piece of the answer is `delay_s` late.
    The request is sent to the server `repeats` times too often, as proxies do that try again: each
    time the server has begun to answer it is left alone with that.
    """

    after: int | None = None
    how: How = "reset"
    delay_s: float = 0.0
    lasts_s: float | None = None
    repeats: int = 0


@dataclass(eq=False)
class Link:
    """A reader's connection. `asked` is its last request, `answered` bytes that went back."""

    number: int
    client: asyncio.StreamWriter = field(repr=False)
    server: asyncio.StreamWriter | None = field(default=None, repr=False)
    asked: bytes = field(default=b"", repr=False)
    answered: int = 0
    over_at: float | None = None
    fault: Fault = field(default_factory=Fault)


class FaultyProxy(Looping):
    """Passes bytes between `port` and the server on the loopback port `target`.

    `faults` is one for every connection, or one each in their order (and none for those after), or
    makes one of a connection's number and its first bytes.
    """

    def __init__(
        self,
        target: int,
        faults: Fault | Sequence[Fault] | Callable[[int, bytes], Fault] = (),
    ) -> None:
        super().__init__("proxy")
        self._target = target
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.links: list[Link] = []
        self.port = 0

    def __repr__(self) -> str:
        return (
            f"<FaultyProxy {self.port} to {self._target}, the last of its links: {self.links[-5:]}>"
        )

    @property
    def url(self) -> str:
        """Where readers connect."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self, asked: bytes = b"") -> int:
        """Reset the connections whose last request holds `asked`; how many they were."""
        return self._do(self._cut(asked))

    def down(self) -> None:
        """Reset everything, and refuse connections until `up`."""
        self._do(self._down())

    def up(self) -> None:
        """Take connections again, on the same port."""
        self._do(self.start())

    def stall(self) -> None:
        """Pass nothing on, in silence, until `flow`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Pass on what was held back, and what comes."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _cut(self, asked: bytes) -> int:
        found = [link for link in self.links if link.over_at is None and asked in link.asked]
        for link in found:
            self._over(link)
            for writer in (link.client, link.server):
                if writer is not None:
                    reset(writer)
        return len(found)

    async def _down(self) -> None:
        await self.stop()
        await self._cut(b"")

    def _over(self, link: Link) -> None:
        if link.over_at is None:
            self._note(partial(setattr, link, "over_at", now()))

    def _fault(self, number: int, first: bytes) -> Fault:
        if isinstance(self._faults, Fault):
            return self._faults
        if callable(self._faults):
            return self._faults(number, first)
        return self._faults[number] if number < len(self._faults) else Fault()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        link = Link(len(self.links), writer)
        self._note(partial(self.links.append, link))
        try:
            await self._pass_on(link, reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._over(link)
            for end in (link.client, link.server):
                if end is not None:
                    end.close()

    async def _pass_on(self, link: Link, reader: asyncio.StreamReader) -> None:
        """One connection, from its first bytes to its end or its fault."""
        first = await reader.read(65536)
        if not first:
            return
        link.fault = fault = self._fault(link.number, first)
        if fault.repeats:
            first = await _whole(first, reader)
        for _ in range(fault.repeats):
            answer, server = await self._ask(first)
            await answer.read(1)
            server.close()
        answer, link.server = await self._ask(first)
        link.asked = first
        # Exactly so many bytes: nothing may wait here when the connection is reset.
        link.client.transport.set_write_buffer_limits(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.lasts_s):
                if await self._both_ways(link, reader, answer):
                    return
        await self._fail(link, reader)

    async def _ask(self, asked: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        answer, server = await asyncio.open_connection("127.0.0.1", self._target)
        server.write(asked)
        await server.drain()
        return answer, server

    async def _both_ways(
        self, link: Link, reader: asyncio.StreamReader, answer: asyncio.StreamReader
    ) -> bool:
        """Pass bytes on until either side ends: True. False: the fault is due."""
        there = asyncio.create_task(self._requests(link, reader))
        back = asyncio.create_task(self._answers(link, answer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            return back.result() if back.done() else True
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        server = link.server
        while server is not None and (data := await reader.read(65536)):
            # A browser sends head and body apart; the next head begins anew.
            link.asked = data if _HEAD.match(data) else link.asked + data
            await self._flowing.wait()
            server.write(data)
            await server.drain()

    async def _answers(self, link: Link, answer: asyncio.StreamReader) -> bool:
        fault = link.fault
        while data := await answer.read(65536):
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            await self._flowing.wait()
            if fault.after is not None:
                data = data[: fault.after - link.answered]
            link.client.write(data)
            await link.client.drain()
            self._note(partial(setattr, link, "answered", link.answered + len(data)))
            if link.answered == fault.after:
                return False
        return True

    async def _fail(self, link: Link, reader: asyncio.StreamReader) -> None:
        self._over(link)
        if link.fault.how == "reset":
            reset(link.client)
        elif link.fault.how == "stall":
            while await reader.read(65536):
                pass


async def _whole(first: bytes, reader: asyncio.StreamReader) -> bytes:
    """The request that begins with `first`, as far as its Content-Length says."""
    while b"\r\n\r\n" not in first:
        first += await reader.readexactly(1)
    head, _, body = first.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    missing = int(length[1]) - len(body) if length else 0
    return first + (await reader.readexactly(missing) if missing > 0 else b"")
