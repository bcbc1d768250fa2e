"""Timers that do not fire for what an event loop could not read while it was held up.

After a long call in the loop all timers are due at once, and they run before the sockets are read:
what was in time for them may wait there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: A timer that is called so much later than it was due met a loop that was held up.
HELD_S: Final = 1.0
#: Time for such a loop to read what waits in its sockets.
CATCH_UP_S: Final = 0.5


class Timer:
    """Calls `callback` once, `delay_s` from now; a loop that was held up catches up first."""

    __slots__ = ("_callback", "_handle", "_loop")

    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._handle = self._loop.call_later(delay_s, self._due, self._loop.time() + delay_s)

    def cancel(self) -> None:
        """Call nothing any more."""
        self._handle.cancel()

    def _due(self, at: float) -> None:
        if self._loop.time() - at > HELD_S:
            self._handle = self._loop.call_later(CATCH_UP_S, self._callback)
        else:
            self._callback()
