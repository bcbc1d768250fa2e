"""Notes from other processes: one channel for this one. Hints, since the log is the truth."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from headwater.stores.base import OnNote, read_note
from headwater.stores.redis.connection import Dialler, Line, Link, pack

log = logging.getLogger("headwater.stores.redis")


class Notes:
    """Hears what is published on `channel`, over a connection of its own that comes back."""

    def __init__(self, dialler: Dialler, channel: str, patience_s: float) -> None:
        self._line = Line(dialler, self._up, self._replies, self._down)
        self._channel = channel
        self._on_note: OnNote | None = None
        self._patience_s = patience_s
        self._asked_at: float | None = None
        self._subscribed = asyncio.Event()

    async def start(self, on_note: OnNote) -> None:
        """Connect, and hear from then on; raises one of `UNREACHABLE`."""
        self._on_note = on_note
        await self._line.start()
        async with asyncio.timeout(self._patience_s):
            await self._subscribed.wait()

    def beat(self) -> None:
        """See whether the connection still lives: a dead one only falls silent. Call often."""
        link, now = self._line.link, asyncio.get_running_loop().time()
        if link is None:
            return
        if self._asked_at is None:
            self._asked_at = now
            link.write(pack(("PING",)))
        elif now - self._asked_at > self._patience_s:
            link.drop()

    async def aclose(self) -> None:
        """Hear no more."""
        await self._line.aclose()

    def _up(self, link: Link) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        link.write(pack(("SUBSCRIBE", self._channel)))

    def _down(self) -> None:
        self._subscribed.clear()

    def _replies(self, replies: list[Any]) -> None:
        self._asked_at = None
        for reply in replies:
            match reply:
                case [b"message", _, bytes(message)]:
                    self._heard(message)
                case [b"subscribe", *_]:
                    self._subscribed.set()

    def _heard(self, message: bytes) -> None:
        note = read_note(message)
        if note is None or self._on_note is None:
            return
        try:
            self._on_note(*note)
        except Exception:
            log.exception("a note was not taken")
