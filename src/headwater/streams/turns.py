"""Work that holds the event loop for milliseconds, one piece a turn."""

from __future__ import annotations

import asyncio
from typing import Final

# Decoding, hashing or encoding so much takes less than a millisecond.
_SMALL: Final = 256 * 1024


class Turns:
    """Spreads the large steps of many tasks over the turns of one event loop.

    A step of one task takes up to 50 ms for a body of 10 MiB. Eight of them in one turn would hold
    up every stream for eight times as long.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Wait for a turn in which no other task has a large step; `size` is of the step's data.

        Returns at once for a small one.
        """
        if size > _SMALL:
            async with self._lock:
                await asyncio.sleep(0)
