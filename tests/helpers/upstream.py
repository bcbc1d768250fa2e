"""An upstream that does what a test says: a real HTTP/1.1 server on loopback, in a thread.

::

    with Upstream(chat(["Hel", "lo"], gap_s=0.1)) as upstream:
        ... # ask a server whose --upstream is upstream.url
        [request] = upstream.posts
        request.json["stream"], request.sent, request.hung_up_at

An `Answer` is a status, headers and steps: bytes are sent as one write, a float is a pause in
seconds, a `threading.Event` is waited for, `STALL` keeps silent until the client leaves, and `CUT`
resets the connection. After the last step the answer ends as its framing says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, Self

STALL: Final = object()
CUT: Final = object()

#: "raw" sends the steps and nothing else, for answers that are not HTTP.
Framing = Literal["chunked", "length", "close", "raw"]
Step = bytes | float | threading.Event | object


@dataclass(frozen=True)
class Answer:
    """What to send. `keep_alive` false closes the connection after it."""

    steps: Sequence[Step]
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "text/event-stream"),)
    framing: Framing = "chunked"
    keep_alive: bool = True


@dataclass
class Request:
    """A request as it came. Times are `time.monotonic()`; `connection` counts from 0."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    connection: int
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    hung_up_at: float | None = None
    ended_at: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def event(data: object) -> bytes:
    """Make an SSE event of a JSON value."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Make one chunk of OpenAI's Chat Completions."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "test-model",
            "choices": [choice],
        }
    )


DONE: Final = b"data: [DONE]\n\n"


def chat(
    tokens: Iterable[str],
    *,
    gap_s: float = 0.0,
    finish: str | None = "stop",
    usage: dict[str, int] | None = None,
    done: bool = True,
) -> Answer:
    """Stream `tokens`, one write each, `gap_s` seconds before each of them."""
    steps: list[Step] = [chunk({"role": "assistant", "content": ""})]
    for token in tokens:
        steps += [gap_s, chunk({"content": token})] if gap_s else [chunk({"content": token})]
    if finish is not None:
        steps.append(chunk({}, finish))
    if usage is not None:
        steps.append(event({"choices": [], "usage": usage}))
    return Answer([*steps, DONE] if done else steps)


def reply(status: int, body: object, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Answer a JSON value, whole."""
    all_headers = (("Content-Type", "application/json"), *headers)
    return Answer([json.dumps(body).encode()], status, all_headers, "length")


MODELS: Final = reply(200, {"object": "list", "data": [{"id": "test-model", "object": "model"}]})


class Upstream:
    """The server. `answer` is one answer for every POST, or makes one of a request.

    `GET …/models` lists `test-model` unless `answer` is a function. `requests` grows as they come.
    """

    def __init__(self, answer: Answer | Callable[[Request], Answer]) -> None:
        self._answer = answer
        self.requests: list[Request] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def wait(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Block until `condition` holds, looked at whenever something happened here."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise AssertionError(f"not within {timeout_s} s; requests: {self.requests}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, sock=self._socket)
        )
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        # A transport closes its socket one turn after it was told to.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number, self._connections = self._connections, self._connections + 1
        try:
            while (request := await _read_request(reader, number)) is not None:
                self._note(partial(self.requests.append, request))
                if not await self._serve(request, reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

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
            await sending
        except ConnectionError:
            self._note(partial(setattr, request, "hung_up_at", time.monotonic()))
            return False
        else:
            self._note(partial(setattr, request, "ended_at", time.monotonic()))
            return answer.keep_alive and answer.framing in ("chunked", "length")
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, request: Request, answer: Answer, writer: asyncio.StreamWriter) -> None:
        if answer.framing != "raw":
            writer.write(_head(answer))
        for step in answer.steps:
            if isinstance(step, bytes):
                framed = (
                    b"%x\r\n%b\r\n" % (len(step), step) if answer.framing == "chunked" else step
                )
                writer.write(framed)
                self._note(partial(request.sent.append, (time.monotonic(), step)))
                await writer.drain()
            elif step is CUT:
                return _reset(writer)
            elif step is STALL:
                await asyncio.Event().wait()
            elif isinstance(step, threading.Event):
                await asyncio.to_thread(step.wait, 60)
            else:
                assert isinstance(step, (int, float))
                await asyncio.sleep(step)
        if answer.framing == "chunked":
            writer.write(b"0\r\n\r\n")
        return await writer.drain()


def _head(answer: Answer) -> bytes:
    headers = list(answer.headers)
    if answer.framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    if answer.framing == "length":
        size = sum(len(step) for step in answer.steps if isinstance(step, bytes))
        headers.append(("Content-Length", str(size)))
    if not answer.keep_alive or answer.framing == "close":
        headers.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} Status", *(f"{k}: {v}" for k, v in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    # Lingering for no time makes the kernel send RST in place of FIN.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:] if h)}
        at = time.monotonic()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join([part async for part in _chunks(reader)])
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body, at, connection)
    return None


async def _chunks(reader: asyncio.StreamReader) -> Any:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
