"""When to give an upstream up. The one place that measures an upstream's silence.

One timer a generation, armed again when it fires early: a token costs a clock reading, no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headwater.errors import UpstreamError
from headwater.settings import TimeoutSettings
from headwater.timers import CATCH_UP_S, HELD_S


class Deadlines:
    """Watches one attempt; `on_late` is called once with the reason.

    Before the first event an upstream has `first_token_s`, afterwards `idle_s` between data. One
    that sends comments is alive: a reasoning model may think for minutes, so comments stretch
    either to `comments_s` since the last data. `total_s` bounds everything.

    Whoever gets the events calls `begun` at the first of them, and then sets `data_at`, the loop's
    time: an attribute, since a call would cost a token more than the rest of this.
    """

    __slots__ = (
        "_began",
        "_comment_at",
        "_first",
        "_limits",
        "_loop",
        "_on_late",
        "_timer",
        "data_at",
    )

    def __init__(self, limits: TimeoutSettings, on_late: Callable[[UpstreamError], None]) -> None:
        self._limits = limits
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._began = self.data_at = self._comment_at = self._loop.time()
        self._first = True
        first = self._began + min(limits.first_token_s, limits.total_s)
        self._timer = self._loop.call_at(first, self._check)

    def begun(self) -> None:
        """The first event has come."""
        self._first = False
        self.data_at = self._loop.time()
        # The idle limit may be the shorter one.
        self._timer.cancel()
        self._timer = self._loop.call_at(self._due()[0], self._check)

    @property
    def spent(self) -> bool:
        """Whether the time for all of it is up."""
        return self._loop.time() >= self._began + self._limits.total_s

    def anew(self) -> None:
        """A first event is awaited again, of another attempt; the time for all of it runs on."""
        self._first = True
        self.data_at = self._comment_at = self._loop.time()
        self._timer.cancel()
        self._timer = self._loop.call_at(self._due()[0], self._check)

    def alive(self, data: bool) -> None:
        """Something has come that makes no event: data, or only comments."""
        now = self._loop.time()
        self._comment_at = now
        if data and not self._first:
            self.data_at = now

    def stop(self) -> None:
        """The attempt is over."""
        self._timer.cancel()

    def _due(self) -> tuple[float, UpstreamError]:
        limits = self._limits
        silence = limits.first_token_s if self._first else limits.idle_s
        at = self.data_at + silence
        what = (
            f"sent no token within {silence:g} s"
            if self._first
            else f"was silent for {silence:g} s"
        )
        if self._comment_at > self.data_at:
            at = min(self._comment_at + silence, self.data_at + max(silence, limits.comments_s))
            if at > self._comment_at + silence - 1e-9:
                what = f"was silent for {silence:g} s"
            else:
                what = f"sent nothing but comments for {limits.comments_s:g} s"
        if self._began + limits.total_s <= at:
            at = self._began + limits.total_s
            what = f"took longer than {limits.total_s:g} s in all"
        return at, UpstreamError("upstream_timeout", f"The provider {what}.")

    def _check(self) -> None:
        at, error = self._due()
        now = self._loop.time()
        if now < at:
            self._timer = self._loop.call_at(at, self._check)
        elif now - at > HELD_S:  # what came in time may not have been read yet
            self._timer = self._loop.call_later(CATCH_UP_S, self._check_again)
        else:
            self._on_late(error)

    def _check_again(self) -> None:
        at, error = self._due()
        if self._loop.time() < at:
            self._check()
        else:
            self._on_late(error)
