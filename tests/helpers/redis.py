"""A real Redis on loopback that keeps nothing: one for the session, others to be killed."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import redis

from tests.helpers.polling import eventually


class RedisServer:
    """`redis-server` on a port of its own. After `kill` it may be started again, empty.

    `options` are more of its own, after those that keep it on loopback and off the disk.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        #: Of the default user, for our own questions.
        self.password: str | None = None
        if "--requirepass" in options:
            self.password = options[options.index("--requirepass") + 1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/"
        )
        eventually(self._answers, "redis-server answers")

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> Any:
        """A client that waits for each answer."""
        return redis.Redis(port=self.port, protocol=2, password=self.password)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It answers nothing; its connections stay."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """As a machine dies: at once, and everything is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextlib.contextmanager
def redis_server(*options: str, running: bool = True) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    server = RedisServer(*options)
    if running:
        server.start()
    try:
        yield server
    finally:
        server.kill()


@functools.cache
def _of_the_session() -> RedisServer:
    server = RedisServer()
    server.start()
    atexit.register(server.kill)
    return server


def empty_redis() -> str:
    """The URL of a Redis with nothing in it; what was there before is gone."""
    server = _of_the_session()
    with server.client() as client:
        client.flushall()
    return server.url
