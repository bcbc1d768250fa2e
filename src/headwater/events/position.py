"""Where in a log a reader stands: `EPOCH-SEQ`, the SSE `id:` of every event in every wire."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headwater.errors import RequestError

# 19 digits hold 2**63 - 1, the largest number a Redis stream id or an SQLite integer can hold on
# every store alike; longer is garbage, and int() on megabytes of digits would be quadratic.
_PATTERN: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})", re.ASCII)


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in a log. Ordered, never reused; what is at a position never changes.

    `epoch` counts the processes that have written the stream, `seq` the events of its log; both
    begin at 1.
    """

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read a position as a client sends it; `RequestError` when it is not one."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise RequestError(
                "Last-Event-ID is not a position of ours: expected EPOCH-SEQ, such as 1-42.",
                param="Last-Event-ID",
            )
        return cls(int(match[1]), int(match[2]))


#: Before the first event.
START: Final = Position(0, 0)
