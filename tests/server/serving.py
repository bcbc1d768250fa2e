"""A real `headwater serve`, and whole answers from it, for tests of one server."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.arrivals import Response
from tests.helpers.processes import HEADWATER, environment, stopped_at_the_end


class Served:
    """A running server; `output` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.port = 0
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def wait(self, timeout_s: float) -> int:
        """The exit status, once everything it printed was read."""
        status = self.process.wait(timeout_s)
        self._thread.join(timeout_s)
        return status

    def line(self, pattern: str, timeout_s: float = 30.0) -> re.Match[str]:
        """Wait for a line of its output."""

        def found() -> re.Match[str] | None:
            return next((m for line in self._lines if (m := re.search(pattern, line))), None)

        with self._news:
            match = self._news.wait_for(found, timeout_s)
        assert match, f"no line like {pattern!r} within {timeout_s} s in: {self.output}"
        return match

    def _drain(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line.decode(errors="replace"))
                self._news.notify_all()


@contextlib.contextmanager
def serving(
    *arguments: str,
    cwd: Path,
    config: str = "",
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = (HEADWATER,),
) -> Iterator[Served]:
    """Run `headwater serve` on a free port, with `config` as its headwater.toml.

    `command` is what runs Headwater, where that is to happen under other limits than ours.
    """
    (cwd / "headwater.toml").write_text(config)
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", *arguments],
        cwd=cwd,
        env=environment(**(environ or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        served = Served(process)
        served.port = int(served.line(r"listening on http://[^ ]*:(\d+)")[1])
        yield served
        served.process.terminate()
        served.wait(40)


class Answer(NamedTuple):
    """A whole answer, header names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error's members; fails unless the answer has an error's shape."""
        assert self.headers["content-type"] == "application/json"
        assert self.headers["cache-control"] == "no-store"
        value = self.json
        assert list(value) == ["error"]
        error: dict[str, Any] = value["error"]
        assert set(error) == {"code", "message", "type", "param", "request_id"}
        assert isinstance(error["message"], str)
        assert error["message"]
        assert error["type"] in ("invalid_request_error", "server_error")
        assert error["request_id"] == self.headers["x-request-id"]
        return error


def raw(port: int, data: bytes, *, timeout_s: float = 30.0) -> Answer:
    """What the server answers to these very bytes."""
    sock = socket.create_connection(("127.0.0.1", port), timeout_s)
    with contextlib.suppress(ConnectionError):  # it may answer before it has read everything
        sock.sendall(data)
    response = Response(sock)
    if response.head.status == 204 or data.startswith(b"HEAD"):
        response.close()
        return Answer(response.head.status, response.head.headers, b"")
    return Answer(response.head.status, response.head.headers, b"".join(response))


def ask(
    port: int,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
) -> Answer:
    """One request, whole answer; `body` is JSON unless it is bytes."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
    given = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if "Transfer-Encoding" not in given:
        given.setdefault("Content-Length", str(len(payload)))
    lines = [f"{method or ('POST' if payload else 'GET')} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    return raw(port, "\r\n".join([*lines, "", ""]).encode("latin-1") + payload)


def frames(body: bytes) -> list[bytes]:
    """The events of a body, each with its blank line; comments belong to the event after them."""
    parts = body.split(b"\n\n")
    assert parts[-1] == b""
    return [part + b"\n\n" for part in parts[:-1]]


def data_of(frame: bytes) -> bytes:
    """The data of an event that has one line of it."""
    [line] = [line for line in frame.split(b"\n") if line.startswith(b"data:")]
    return line.removeprefix(b"data:").removeprefix(b" ")


def ids(body: bytes) -> list[str]:
    return [line[4:].decode() for line in body.split(b"\n") if line.startswith(b"id: ")]


class Reader:
    """An answer read piece by piece."""

    def __init__(self, response: Response) -> None:
        self.head = response.head
        self._response = response
        self._parts = iter(response)
        self.body = b""

    @property
    def stream(self) -> str:
        return self.head.headers["headwater-stream"]

    def until(self, mark: bytes, count: int = 1) -> bytes:
        """Read until `mark` has come `count` times."""
        while self.body.count(mark) < count:
            part = next(self._parts, None)
            assert part is not None, f"ended without {mark!r}: {self.body!r}"
            self.body += part
        return self.body

    def rest(self) -> bytes:
        parts = [self.body]
        try:
            parts.extend(self._parts)
        finally:  # what came before a cut is there
            self.body = b"".join(parts)
        return self.body

    def leave(self) -> float:
        """Close the connection; when that was."""
        left_at = time.monotonic()
        self._response.close()
        return left_at


def anonymous(body: bytes, stream: str) -> str:
    """A response without what differs from one to the next."""
    text = body.decode().replace(stream, "ID")
    text = re.sub(r'"(created|created_at|createdAt)":\d{10}', r'"\1":0', text)
    return re.sub(r'"timing":\{[^}]*\}', '"timing":T', text)
