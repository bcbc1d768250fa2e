"""A TCP proxy in the test's own loop that cuts connections, or lets them die in silence."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator


class Cutting:
    """Passes bytes on until a connection's allowance for one direction is used up.

    Unarmed, nothing is cut. Armed, each connection, those that are there included, gets its
    allowances from `chance`: up to `most` bytes to the server and as many back.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cuts = 0
        self._target = target
        self._chance: random.Random | None = None
        self._most = 0
        self._writers: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._left: dict[asyncio.StreamWriter, float] = {}
        self._dead: set[asyncio.StreamWriter] = set()

    def silence(self) -> None:
        """Nothing comes through the connections there are any more, and nobody is told."""
        self._dead |= set(self._writers)

    def arm(self, chance: random.Random, most: int) -> None:
        self._chance, self._most = chance, most
        for writer in self._writers:
            self._allow(writer)

    def disarm(self) -> None:
        self._chance = None
        self._left = dict.fromkeys(self._writers, float("inf"))

    def _allow(self, writer: asyncio.StreamWriter) -> None:
        chance = self._chance
        self._left[writer] = chance.randrange(self._most) if chance else float("inf")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer: server, server: writer}
        self._allow(writer)
        self._allow(server)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pass_on(reader, server), self._pass_on(server_reader, writer)
            )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if writer in self._dead:
                    continue
                left = self._left.get(writer, 0)
                if len(data) > left:
                    writer.write(data[: int(left)])
                    await writer.drain()
                    self.cuts += 1
                    break
                self._left[writer] = left - len(data)
                writer.write(data)
                await writer.drain()
        self._break(writer)

    def _break(self, writer: asyncio.StreamWriter) -> None:
        other = self._writers.pop(writer, None)
        for end in (writer, other):
            if end is not None:
                self._left.pop(end, None)
                self._writers.pop(end, None)
                end.close()  # what is buffered still goes out


@contextlib.asynccontextmanager
async def cutting(target: int) -> AsyncIterator[Cutting]:
    """A proxy in front of a server on loopback."""
    proxy = Cutting(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in list(proxy._writers):
            proxy._break(writer)
        await asyncio.sleep(0.01)
