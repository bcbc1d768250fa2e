"""What an upstream says: a status, headers, and steps in the order in which they happen."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from typing import Any, Final, Literal


class Act(Enum):
    """A step that is neither bytes nor a wait."""

    STALL = "stall"
    CUT = "cut"
    EOF = "eof"


#: Keep silent until the client leaves.
STALL: Final = Act.STALL
#: Reset the connection (RST).
CUT: Final = Act.CUT
#: Close the connection here (FIN), whatever the framing still owes.
EOF: Final = Act.EOF

#: Bytes are one write, a number is a pause in seconds, a `threading.Event` is waited for (a `Gate`
#: without a thread), and then there are `STALL`, `CUT` and `EOF`.
Step = bytes | float | threading.Event | object

#: "raw" sends the steps and nothing else: no head, no framing.
Framing = Literal["chunked", "length", "close", "raw"]

DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Answer:
    """What to send. After the last step it ends as its framing says.

    `keep_alive` false closes the connection after it.
    """

    steps: Sequence[Step]
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "text/event-stream"),)
    framing: Framing = "chunked"
    keep_alive: bool = True

    def head(self) -> bytes:
        """Its first bytes; nothing of a raw one."""
        if self.framing == "raw":
            return b""
        headers = list(self.headers)
        if self.framing == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        if self.framing == "length":
            size = sum(len(step) for step in self.steps if isinstance(step, bytes))
            headers.append(("Content-Length", str(size)))
        if not self.keep_alive or self.framing == "close":
            headers.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {self.status} Status", *(f"{k}: {v}" for k, v in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def framed(self, data: bytes) -> bytes:
        """`data` as it goes over the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.framing == "chunked" else data

    def ending(self) -> bytes:
        """Its last bytes."""
        return b"0\r\n\r\n" if self.framing == "chunked" else b""


class Gate(threading.Event):
    """An event that any number of answers can wait for, in any loop, without a thread each."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []

    def set(self) -> None:
        """Let everything go on that waits."""
        super().set()
        with self._guard:
            waiting, self._waiting = self._waiting, []
        for loop, go_on in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(go_on)

    async def passed(self) -> None:
        """Wait until it is set."""
        come = asyncio.Event()
        with self._guard:
            if self.is_set():
                return
            self._waiting.append((asyncio.get_running_loop(), come.set))
        await come.wait()


def event(data: object) -> bytes:
    """Make a server-sent event of a JSON value."""
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


def chat(
    tokens: Iterable[str],
    *,
    gap_s: float = 0.0,
    finish: str | None = "stop",
    usage: dict[str, int] | None = None,
    done: bool = True,
) -> Answer:
    """Stream `tokens`, one write each, `gap_s` seconds before each of them.

    Without `finish` or `done` the answer lacks them, as some providers' do.
    """
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


def limited(
    seconds: float, form: Literal["seconds", "date", "milliseconds"] = "seconds", status: int = 429
) -> Answer:
    """Refuse with a `Retry-After` in one of its three forms."""
    header = {
        "seconds": ("Retry-After", f"{seconds:.3f}".rstrip("0").rstrip(".")),
        "date": ("Retry-After", formatdate(time.time() + seconds, usegmt=True)),
        "milliseconds": ("retry-after-ms", f"{seconds * 1000:.0f}"),
    }[form]
    error = {"message": "slow down", "type": "rate_limit_error", "param": None, "code": None}
    return reply(status, {"error": error}, [header])


#: What `GET …/models` is answered where a test does not say otherwise.
MODELS: Final = reply(200, {"object": "list", "data": [{"id": "test-model", "object": "model"}]})
