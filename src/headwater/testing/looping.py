"""An event loop in a thread of its own, for servers that must not be held up by what they test."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

#: Starting and stopping take milliseconds; beyond this something hangs.
_BOUND_S: Final = 10.0


class Looping:
    """Runs `start` and then whatever that began, until it is left.

    Enter with `with` or `async with`.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._broken: BaseException | None = None

    async def start(self) -> None:
        """Begin to serve."""

    async def stop(self) -> None:
        """Serve no more; what runs is cancelled afterwards."""

    def wait(self, condition: Callable[[], object], timeout_s: float = _BOUND_S) -> None:
        """Block until `condition` holds, looked at whenever something happened here."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise AssertionError(f"not within {timeout_s} s: {self!r}")

    async def until(self, condition: Callable[[], object], timeout_s: float = _BOUND_S) -> None:
        """Do as `wait` does, without holding up the loop of the caller."""
        await asyncio.to_thread(self.wait, condition, timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(_BOUND_S)
        if self._broken is not None:
            raise self._broken
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_BOUND_S)
        if self._thread.is_alive():
            raise AssertionError(f"does not stop: {self!r}")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def _note(self, change: Callable[[], object]) -> None:
        """Change what a test may be waiting for."""
        with self._changed:
            change()
            self._changed.notify_all()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop, from the thread of a test."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_BOUND_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self.start())
        except OSError as error:
            self._broken = error
            self._loop.close()
            return
        finally:
            self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        await self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A transport closes its socket one turn after it was told to.
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer is told of a reset."""
    sock = writer.get_extra_info("socket")
    # Lingering for no time makes the kernel send RST in place of FIN.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def now() -> float:
    """The clock of every time in this package."""
    return time.monotonic()
