"""An OpenAI-compatible upstream that does what a test says: real HTTP/1.1 on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from headwater.testing.answers import CUT, EOF, MODELS, STALL, Answer, Gate, Step, chat
from headwater.testing.looping import Looping, now, reset

#: "refuse": the port is taken and nobody listens. "hang": connecting never ends.
Reach = Literal["listen", "refuse", "hang"]


@dataclass
class Request:
    """A request as it came. Times are `time.monotonic()`; `connection` counts from 0.

    `sent` is what was written, and when; `hung_up_at` when the client left before the end,
    `ended_at` when the answer was whole.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    at: float
    connection: int
    sent: list[tuple[float, bytes]] = field(default_factory=list, repr=False)
    hung_up_at: float | None = None
    ended_at: float | None = None

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def freed_at(self) -> float | None:
        """When it cost nothing any more, however that came; None while it is under way."""
        return self.ended_at if self.hung_up_at is None else self.hung_up_at


class FaultyUpstream(Looping):
    """The server.

    `answer` is one answer for every POST, or makes one of a `Request`; `GET …/models` lists
    `test-model` unless it is a function. With `tls` it speaks TLS: a context without a certificate
    fails every handshake. `reach` says whether it can be connected to at all.

    `requests` grows as they come, `connections` counts what was accepted.
    """

    def __init__(
        self,
        answer: Answer | Callable[[Request], Answer] | None = None,
        *,
        reach: Reach = "listen",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__("upstream")
        self._answer = chat(["Hello", " world"]) if answer is None else answer
        self._reach = reach
        self._tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._fillers: list[socket.socket] = []
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        if reach != "refuse":
            self._socket.listen(0 if reach == "hang" else 2048)
        self.port: int = self._socket.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/v1"

    def __repr__(self) -> str:
        return f"<FaultyUpstream {self.url}, the last of its requests: {self.requests[-5:]}>"

    @property
    def posts(self) -> list[Request]:
        """The requests that generate."""
        return [request for request in self.requests if request.method == "POST"]

    async def start(self) -> None:
        """Listen, or see to it that connecting does not succeed."""
        if self._reach == "listen":
            self._server = await asyncio.start_server(
                self._accept, sock=self._socket, ssl=self._tls, backlog=2048
            )
        elif self._reach == "hang":
            self._fill()

    async def stop(self) -> None:
        """Close every socket that listens."""
        if self._server is not None:
            self._server.close()
        for sock in (self._socket, *self._fillers):
            sock.close()

    def _fill(self) -> None:
        """Fill the backlog that nobody accepts from: the kernel then answers no SYN."""
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        number, self.connections = self.connections, self.connections + 1
        try:
            while (request := await _read_request(reader, number)) is not None:
                self._note(partial(self.requests.append, request))
                if not await self._serve(request, reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        except ValueError:  # TLS where none is spoken, or what else is not HTTP
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        finally:
            if task is not None:
                self._tasks.discard(task)
            writer.close()

    def _choose(self, request: Request) -> Answer:
        if callable(self._answer):
            return self._answer(request)
        return MODELS if request.method == "GET" else self._answer

    async def _serve(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; whether the connection can take another."""
        answer = self._choose(request)
        sending = asyncio.create_task(self._send(request, answer, writer))
        # Bytes that come now would be a pipelined request, which no client of ours makes.
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ConnectionResetError
            whole = await sending
        except ConnectionError:
            self._note(partial(setattr, request, "hung_up_at", now()))
            return False
        else:
            self._note(partial(setattr, request, "ended_at", now()))
            return whole and answer.keep_alive and answer.framing in ("chunked", "length")
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, request: Request, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        """Take the steps; False when the connection is of no use afterwards."""
        writer.write(answer.head())
        for step in answer.steps:
            if isinstance(step, bytes):
                writer.write(answer.framed(step))
                self._note(partial(request.sent.append, (now(), step)))
                await writer.drain()
            elif step is CUT:
                reset(writer)
                return False
            elif step is EOF:
                return False
            else:
                await _pause(step)
        writer.write(answer.ending())
        await writer.drain()
        return True


async def _pause(step: Step) -> None:
    if step is STALL:
        await asyncio.Event().wait()
    elif isinstance(step, Gate):
        await step.passed()
    elif isinstance(step, threading.Event):
        await asyncio.to_thread(step.wait, 60)
    elif isinstance(step, (int, float)):
        await asyncio.sleep(step)
    else:
        raise TypeError(f"no step: {step!r}")


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        first = await reader.readexactly(1)
        if not first.isalpha():
            raise ValueError("this is not HTTP")
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:] if h)}
        at = now()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join([part async for part in _chunks(reader)])
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body, at, connection)
    return None


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
