"""Wrong keys are answered late, and later with each one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

# A person's slips are answered at once. From then on the wait doubles with each wrong key.
_FREE: Final = 5
_FREE_OF_ALL: Final = 100
_FIRST_S: Final = 0.05
_LONGEST_S: Final = 2.0
# One wrong key is forgiven in so many seconds: an address at rest is free again after a minute.
_FORGIVEN_S: Final = 10.0
_FORGIVEN_OF_ALL_S: Final = 0.1
# Addresses that are remembered: about 1 MB. Who comes from more is met by the count of all.
_ADDRESSES: Final = 4096
# Answers that wait at once. Beyond them a wrong key costs no memory, and gains nothing but speed.
_WAITING: Final = 1024


class _Count:
    """Wrong keys of late."""

    __slots__ = ("_at", "_forgiven_s", "_free", "_wrong")

    def __init__(self, free: int, forgiven_s: float) -> None:
        self._free, self._forgiven_s = free, forgiven_s
        self._wrong, self._at = 0.0, 0.0

    def add(self, now: float) -> float:
        """Count one; seconds to wait for it."""
        self._wrong = max(0.0, self._wrong - (now - self._at) / self._forgiven_s) + 1
        self._at = now
        beyond = self._wrong - self._free
        return min(_LONGEST_S, _FIRST_S * 2 ** min(beyond, 16)) if beyond > 0 else 0.0


class Guesses:
    """Delays the answers to wrong keys, by the caller's address and in all.

    A right key is never delayed, whatever else comes from its address: behind a proxy all callers
    may have one. So the delay bounds what a connection can try; the rest is the length of keys.
    """

    def __init__(self) -> None:
        self._all = _Count(_FREE_OF_ALL, _FORGIVEN_OF_ALL_S)
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._waiting = 0

    async def wrong(self, address: str) -> None:
        """Return when a wrong key from this address may be answered."""
        delay = self._delay(address, time.monotonic())
        if not delay or self._waiting >= _WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._waiting -= 1

    def _delay(self, address: str, now: float) -> float:
        count = self._counts.pop(address, None) or _Count(_FREE, _FORGIVEN_S)
        self._counts[address] = count  # the last that was used is the last to be forgotten
        if len(self._counts) > _ADDRESSES:
            self._counts.popitem(last=False)
        return max(count.add(now), self._all.add(now))
