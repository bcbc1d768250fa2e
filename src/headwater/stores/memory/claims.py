"""Claims in memory: what each key stands for, until its time is over."""

from __future__ import annotations

import heapq
import sys
from collections import OrderedDict
from itertools import islice
from typing import Final, NamedTuple

# What a claim weighs besides its two strings; measured with tracemalloc, rounded up.
_CLAIM_BYTES: Final = 250
# Ends of claims that are gone already, beyond as many as there are claims: then they are cleared.
_STALE: Final = 64


class _Claim(NamedTuple):
    value: str
    expires: float
    weight: int


class Claims:
    """Claims of two kinds: those kept for `ttl_s`, and those with a time of their own.

    The first may be dropped early, oldest first, to make room. The second, such as sessions, may
    not. `bytes` is what all of them weigh.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        # All are kept equally long, so the order in which they were made is that of their ends.
        self._usual: OrderedDict[str, _Claim] = OrderedDict()
        self._lasting: dict[str, _Claim] = {}
        self._ends: list[tuple[float, str]] = []  # a heap, of the lasting ones
        self.bytes = 0

    def claim(self, key: str, value: str, keep_s: float | None, now: float) -> str:
        """`Store.claim`."""
        self.expire(now)
        held = self._find(key)
        if held is not None:
            return held.value
        weight = sys.getsizeof(key) + sys.getsizeof(value) + _CLAIM_BYTES
        self.bytes += weight
        if keep_s is None:
            self._usual[key] = _Claim(value, now + self._ttl_s, weight)
        else:
            self._lasting[key] = _Claim(value, now + keep_s, weight)
            heapq.heappush(self._ends, (now + keep_s, key))
        return value

    def claimed(self, key: str, now: float) -> str | None:
        """`Store.claimed`."""
        self.expire(now)
        held = self._find(key)
        return None if held is None else held.value

    def disclaim(self, key: str, value: str) -> None:
        """`Store.disclaim`."""
        for held in (self._usual, self._lasting):
            if key in held and held[key].value == value:
                self.bytes -= held.pop(key).weight
        if len(self._ends) > 2 * len(self._lasting) + _STALE:
            self._ends = [(claim.expires, key) for key, claim in self._lasting.items()]
            heapq.heapify(self._ends)

    def expire(self, now: float) -> None:
        """Drop the claims whose time is over."""
        while self._usual and next(iter(self._usual.values())).expires <= now:
            self.drop_oldest()
        while self._ends and self._ends[0][0] <= now:
            expires, key = heapq.heappop(self._ends)
            # Disclaimed and claimed again, the key has a later end, which is in the heap too.
            if key in self._lasting and self._lasting[key].expires == expires:
                self.bytes -= self._lasting.pop(key).weight

    def drop_oldest(self) -> bool:
        """Make room; False where there is no claim that may be dropped."""
        if not self._usual:
            return False
        _, claim = self._usual.popitem(last=False)
        self.bytes -= claim.weight
        return True

    def next_end(self) -> float | None:
        """When the next claim expires; None where there is none."""
        ends = [claim.expires for claim in islice(self._usual.values(), 1)]
        ends += [expires for expires, _ in self._ends[:1]]
        return min(ends, default=None)

    def _find(self, key: str) -> _Claim | None:
        return self._usual.get(key) or self._lasting.get(key)
