"""SIGTERM as the beginning of a drain, inside a host that has handlers of its own."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType

from headwater.streams import Hub


def drain_on_sigterm(loop: asyncio.AbstractEventLoop, hub: Hub, deadline_s: float) -> None:
    """At SIGTERM let the streams of `hub` finish; then the handler that was there before runs.

    Where signals cannot be had, in a thread that is not the main one, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    tasks: set[asyncio.Task[None]] = set()

    def begin() -> None:
        tasks.add(loop.create_task(hub.drain(deadline_s)))

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin)
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, handle)
