"""Bursts told from streams, by differences alone.

The clocks of the two sides are never compared: of two ticks that were sent apart, the second must
arrive apart too. On a busy machine single pairs fall together; where something holds back, most do,
and they do so each time.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from headwater.tools.doctor.measurement import Tick

# A pair has fallen together when less than this share of its gap is left.
_TOGETHER: Final = 0.1
# Buffers that hold two ticks at a time already make half of the pairs fall together.
_HELD: Final = 0.5
_LIVE: Final = 0.3


class Rhythm(NamedTuple):
    """How ticks arrived.

    `held` is the share of pairs that fell together; `lumps` the number of groups that arrived
    together, `lump_bytes` and `lump_s` what the usual one holds, and how long it was collected.
    """

    ticks: int
    held: float
    lumps: int
    lump_bytes: float
    lump_s: float

    @property
    def verdict(self) -> Literal["live", "held", "unclear"]:
        """Whether ticks arrived as they were sent."""
        if self.ticks < 4:
            return "unclear"
        if self.held >= _HELD:
            return "held"
        return "live" if self.held < _LIVE else "unclear"


def rhythm(ticks: Sequence[Tick]) -> Rhythm:
    """The rhythm of ticks that were sent one by one."""
    groups = [list(ticks[:1])]
    together = pairs = 0
    for before, after in itertools.pairwise(ticks):
        sent = after.sent - before.sent
        fell = after.arrived - before.arrived < sent * _TOGETHER
        pairs += 1
        together += fell
        if fell:
            groups[-1].append(after)
        else:
            groups.append([after])
    ends = [group[-1] for group in groups if group]
    gaps = [(b.size - a.size, b.sent - a.sent) for a, b in itertools.pairwise(ends)]
    return Rhythm(
        ticks=len(ticks),
        held=together / pairs if pairs else 0.0,
        lumps=len(groups),
        lump_bytes=statistics.median(size for size, _ in gaps) if gaps else 0.0,
        lump_s=statistics.median(time for _, time in gaps) if gaps else 0.0,
    )
