"""The way of every append: one pipeline in flight, and what arrives meanwhile is the next.

There is no timer that gathers and no task an append. Idle, what one turn of the event loop brings
goes out at its end; busy, the reply to one pipeline sends the next.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from headwater.observe.logs import without_request
from headwater.stores.base import Appended
from headwater.stores.redis.connection import Command, Dialler, Line, Link, pack
from headwater.stores.redis.scripts import APPEND, KEEP, Script
from headwater.timers import CATCH_UP_S, HELD_S

log = logging.getLogger("headwater.stores.redis")

Done = Callable[[Appended], None]
#: A command of `APPEND`, how many bytes it holds, and whom to tell what it came to.
Append = tuple[Command, int, Done]


class _Sure(NamedTuple):
    """A command that is sent again until Redis has run it; `tries` counts its refusals."""

    command: Command
    tries: int = 0


# Bytes that may wait: some four streams of the greatest length. Redis takes so much in less than a
# second; where it does not, it takes nothing.
_ROOM: Final = 64 * 1024 * 1024
# As append.lua numbers them.
_ANSWERS: Final[tuple[Appended, ...]] = (
    "failed", "ok", "duplicate", "fenced", "gap", "closed", "gone",
)  # fmt: skip
# Redis starts, fails over or is held up: what it refused so, it may take on another connection.
# Before Redis 7 the code of what a script met stands somewhere in the error's text.
_PASSING: Final = re.compile(
    r"(?:^|-)(?:LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNKILLABLE)\b"
)


# A command that Redis refuses, since its memory is full or the user may not run it, is tried again
# so often, in this time.
_TRIES: Final = 5
_TRY_AGAIN_S: Final = 1.0


class Pipeline:
    """Appends, hints and sure commands of one process, over one connection.

    An append is answered in the order of appends. When its reply is lost it is sent again, marked
    so, which makes the script look for it further back. `patience_s` without any answer, and all
    that wait are answered `failed`; after half of it the connection is given up for another one.
    """

    def __init__(self, dialler: Dialler, patience_s: float) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._line = Line(dialler, self._up, self._replies, self._down)
        self._patience_s = patience_s
        self._waiting: list[Append] = []
        self._bytes = 0
        self._hints: dict[Command, None] = {}
        self._sure: list[_Sure] = []
        # In the order of the replies to come. None: the reply to a hint.
        self._in_flight: deque[Append | _Sure | None] = deque()
        self._unloaded: list[Append] = []
        self._loaded: set[str] = set()
        self._scheduled = False
        self._progress_at = 0.0
        self._sent_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        self._closed = False
        self._drained = asyncio.Event()

    async def start(self) -> None:
        """Connect; raises one of `UNREACHABLE`."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        await self._line.start()

    def append(self, command: Command, size: int, done: Done) -> None:
        """Send a command of `APPEND`, whose last argument is empty; `done` is called later."""
        if not self._waiting and not self._in_flight:
            self._begin()
        self._waiting.append((command, size, done))
        self._bytes += size
        if self._bytes > _ROOM:
            self._loop.call_soon(self._fail_all)
        self._schedule()

    def hint(self, command: Command) -> None:
        """Send a command that may be lost; the same one only once a pipeline."""
        if self._line.link is None:
            return
        if not self._waiting and not self._in_flight:
            self._begin()
        self._hints[command] = None
        self._schedule()

    def sure(self, *commands: Command) -> None:
        """Send commands that must run, and may run twice; a lost connection does not lose them."""
        self._send_surely([_Sure(command) for command in commands])

    async def aclose(self, timeout_s: float) -> None:
        """Let Redis answer what waits, then answer it ourselves; close the connection."""
        if self._line.link is not None and (self._waiting or self._in_flight or self._sure):
            self._drained.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._drained.wait()
            except TimeoutError:
                log.warning("appends were still unanswered when the store was closed")
        self._closed = True
        self._fail_all()
        if self._watch is not None:
            self._watch.cancel()
        await self._line.aclose()

    # out

    def _schedule(self) -> None:
        """Send at the end of this turn of the loop, unless the next reply does."""
        if not self._scheduled and not self._in_flight:
            self._scheduled = True
            self._loop.call_soon(self._flush, context=without_request())

    def _send_surely(self, sure: list[_Sure]) -> None:
        if self._closed:
            return
        if self._line.link is not None and not self._waiting and not self._in_flight:
            self._begin()
        self._sure += sure
        self._schedule()

    def _begin(self) -> None:
        """Something waits, and nothing did before."""
        if self._closed:
            self._loop.call_soon(self._fail_all)
            return
        self._progress_at = self._loop.time()
        if self._watch is None:
            self._look_at(self._progress_at + self._patience_s / 2)

    def _flush(self) -> None:
        self._scheduled = False
        link = self._line.link
        if link is None or self._in_flight or not (self._waiting or self._hints or self._sure):
            return
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        parts: list[bytes] = []
        if waiting:
            parts += self._loading(APPEND)
            parts += [pack(command) for command, _, _ in waiting]
            self._in_flight.extend(waiting)
        if self._sure:
            parts += self._loading(KEEP)
            parts += [pack(sure.command) for sure in self._sure]
            self._in_flight.extend(self._sure)
            self._sure = []
        if self._hints:
            parts += [pack(hint) for hint in self._hints]
            self._in_flight.extend([None] * len(self._hints))
            self._hints.clear()
        self._sent_at = self._loop.time()
        link.write(b"".join(parts))

    def _loading(self, script: Script) -> list[bytes]:
        """What makes Redis know the script, where it may not."""
        if script.sha in self._loaded:
            return []
        self._loaded.add(script.sha)
        self._in_flight.append(None)
        return [pack(("SCRIPT", "LOAD", script.source))]

    # in

    def _replies(self, replies: list[Any]) -> None:
        in_flight = self._in_flight
        progress = False
        for reply in replies:
            if not in_flight:
                log.error("Redis answered what nobody asked")
                self._drop()
                return
            append = in_flight.popleft()
            answered = type(reply) is int
            progress |= answered
            if append is None:
                continue
            if isinstance(append, _Sure):
                if not answered and not self._try_again(append, str(reply)):
                    return
            elif answered and not self._unloaded:
                _tell(append, _ANSWERS[reply])
            elif not self._refused(append, reply):
                return
        if progress:
            self._progress_at = self._loop.time()
        if not in_flight:
            self._answered()

    def _answered(self) -> None:
        """Every reply of the pipeline is there."""
        if self._unloaded:
            self._loaded.clear()
            again, self._unloaded = self._unloaded, []
            self._send_again(again)
        self._flush()
        if not self._in_flight and not self._waiting and not self._sure:
            self._drained.set()

    def _try_again(self, sure: _Sure, error: str) -> bool:
        """Redis has not run a sure command; whether the next reply may be looked at."""
        if error.startswith("NOSCRIPT"):
            self._loaded.clear()
            self._sure.append(sure)
            return True
        if _PASSING.search(error):
            self._in_flight.appendleft(sure)
            self._drop()
            return False
        log.error("Redis refused a command: %s", error.partition(" ")[0])
        if sure.tries < _TRIES:
            again = _Sure(sure.command, sure.tries + 1)
            self._loop.call_later(_TRY_AGAIN_S, self._send_surely, [again])
        return True

    def _refused(self, append: Append, reply: Any) -> bool:
        """Redis answered with an error; whether the next reply may be looked at."""
        error = str(reply)
        if self._unloaded or error.startswith("NOSCRIPT"):
            # Somebody else may load the script before the next command of this very pipeline, so
            # whatever follows is asked again as well: its answer then is the true one.
            self._unloaded.append(append)
            return True
        if _PASSING.search(error):
            self._in_flight.appendleft(append)
            self._drop()
            return False
        log.error("Redis refused an append: %s", error.partition(" ")[0])
        _tell(append, "failed")
        return True

    # the connection

    def _up(self, _link: Link) -> None:
        self._flush()

    def _down(self) -> None:
        self._hints.clear()
        self._sure[:0] = [each for each in self._in_flight if isinstance(each, _Sure)]
        in_flight = [e for e in self._in_flight if e is not None and not isinstance(e, _Sure)]
        unanswered = [*self._unloaded, *in_flight]
        self._unloaded = []
        self._in_flight.clear()
        self._send_again(unanswered)

    def _send_again(self, appends: list[Append]) -> None:
        again: list[Append] = [
            ((*command[:-1], b"1"), size, done) for command, size, done in appends
        ]
        self._waiting = again + self._waiting
        self._bytes = sum(size for _, size, _ in self._waiting)

    def _drop(self) -> None:
        if self._line.link is not None:
            self._line.link.drop()

    # when no answer comes

    def _look(self) -> None:
        """Called twice in the time that is waited for an answer, while one is waited for."""
        self._watch = None
        if not self._waiting and not self._in_flight:
            return
        half, now = self._patience_s / 2, self._loop.time()
        if now - self._looks_at > HELD_S:  # the answers may wait in the socket
            self._look_at(now + CATCH_UP_S)
            return
        if now - self._progress_at >= 2 * half:
            log.error("Redis has not answered an append for %.1f s", now - self._progress_at)
            self._drop()
            self._fail_all()
            return
        if self._in_flight and now - max(self._sent_at, self._progress_at) >= half:
            self._drop()  # its connection may be dead without having said so
        nearest = half if now - self._progress_at < half else 2 * half
        self._look_at(self._progress_at + nearest)

    def _look_at(self, at: float) -> None:
        self._looks_at = at
        self._watch = self._loop.call_at(at, self._look)

    def _fail_all(self) -> None:
        """Answer `failed` to everything that waits. Whether it was stored, nobody knows."""
        if self._in_flight:
            self._drop()  # brings what is in flight back to what waits
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        for append in waiting:
            _tell(append, "failed")


def _tell(append: Append, result: Appended) -> None:
    try:
        append[2](result)
    except Exception:
        log.exception("an append's answer was not taken")
