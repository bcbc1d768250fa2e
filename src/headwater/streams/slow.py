"""The slow-reader policy, the same in every host: `limits.write_timeout_s`.

A reader whose connection takes nothing for so long is cut, no longer counts as a reader, and may
resume. One byte taken starts the time again, so a reader that is slow but steady is never cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Taking(Protocol):
    """The part of a sink that the policy looks at."""

    def taken(self) -> int | None:
        """How much the connection has taken; None while nothing waits to be taken.

        Another number than before is progress, whatever it counts.
        """


class WriteDeadline:
    """How long one reader may take nothing. It is looked at by a timer: a write costs nothing."""

    __slots__ = ("_since", "_sink", "_taken", "_timeout_s")

    def __init__(self, sink: Taking, timeout_s: float, now: float) -> None:
        self._sink = sink
        self._timeout_s = timeout_s
        self._taken: int | None = None
        self._since = now

    def look(self, now: float) -> float | None:
        """Seconds until the next look; None when the reader has taken nothing for too long."""
        taken = self._sink.taken()
        if taken is None or taken != self._taken:
            self._taken, self._since = taken, now
        left = self._since + self._timeout_s - now
        # Looks at half the time find progress early: a reader is cut within 1.5 times the timeout.
        return min(left, self._timeout_s / 2) if left > 0 else None

    @property
    def idle(self) -> bool:
        """Whether nothing waited to be taken at the last look."""
        return self._taken is None


class ReaderTimer:
    """The one timer of a reader: heartbeats while its stream is silent, and its write deadline.

    Args:
        sink: What the reader takes bytes from.
        heartbeat_s: Seconds of silence until `beat` is called.
        write_timeout_s: Seconds without progress until `cut` is called.
        beat: Writes a heartbeat. Set it to None when the stream has ended.
        cut: Cuts the reader; calls `stop`.

    """

    __slots__ = ("_cut", "_deadline", "_heartbeat_s", "_loop", "_timer", "beat", "written_at")

    def __init__(
        self,
        sink: Taking,
        heartbeat_s: float,
        write_timeout_s: float,
        beat: Callable[[], None],
        cut: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        #: When the stream last had something for the reader.
        self.written_at = self._loop.time()
        self.beat: Callable[[], None] | None = beat
        self._cut: Callable[[], None] | None = cut
        self._heartbeat_s = heartbeat_s
        self._deadline = WriteDeadline(sink, write_timeout_s, self.written_at)
        self._timer = self._loop.call_later(min(heartbeat_s, write_timeout_s / 2), self._look)

    def stop(self) -> None:
        """The reader has left, or everything is sent."""
        self._timer.cancel()
        self.beat = self._cut = None  # frees the reference cycle

    def _look(self) -> None:
        now = self._loop.time()
        wait = self._deadline.look(now)
        if wait is None:
            if self._cut is not None:
                self._cut()
        elif self.beat is not None:
            due = self.written_at + self._heartbeat_s - now
            if due <= 0:
                self.beat()
                self.written_at, due = now, self._heartbeat_s
            self._timer = self._loop.call_later(min(wait, due), self._look)
        elif not self._deadline.idle:
            self._timer = self._loop.call_later(wait, self._look)
