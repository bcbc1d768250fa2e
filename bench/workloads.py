"""What every relay is put through.

A workload is data. What only a log can do is in `logs`, what is asked of memory in `memory`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench.load import Shape


@dataclass(frozen=True)
class Workload:
    """`stretch_s`: as many times as many streams as take a relay about so long.

    The operating system accounts in steps of 10 ms, and the fastest need as much as the slowest
    need seconds. `boxed`: as many streams as there is time for, so that fewer are no fault.
    `fast_only`: for relays of nginx's order; the others would take minutes.
    """

    name: str
    sentence: str
    model: str
    shape: Shape
    upstream: str = "plain"
    stretch_s: float = 0.0
    boxed: bool = False
    fast_only: bool = False

    def quick(self) -> Workload:
        """A tenth of it, to see that everything runs."""
        shape = self.shape
        tenth = replace(
            shape,
            streams=max(10, shape.streams // 10),
            at_once=max(min(16, shape.at_once), shape.at_once // 10),
        )
        return replace(self, shape=tenth, stretch_s=self.stretch_s / 10)


WORKLOADS: Final = [
    Workload(
        "first",
        "one stream of one token at a time, 500 in turn (at most 5 s)",
        "burst-1",
        Shape(500, 1, 0, 1, limit_s=5),
        boxed=True,
    ),
    Workload(
        "burst",
        # Ten to a write: a provider that is ahead of its reader sends a few at once, not hundreds.
        "streams of 200 tokens as fast as they go, ten to a write of the upstream, 16 streams at a "
        "time: for 2 s, or 96 of them (10 s)",
        "burst-200-10",
        Shape(96, 16, 0, 200, limit_s=10),
        boxed=True,
        stretch_s=2.0,
    ),
    Workload(
        "paced",
        # Spread, so that no relay profits from streams that beat in time.
        "500 streams of 60 tokens, 20 tokens/s each, begun within a second",
        "paced-60-20",
        Shape(500, 500, 500, 60, limit_s=12),
    ),
    Workload(
        "paced-100",
        "100 streams of 40 tokens, 20 tokens/s each: a pace that nearly every relay keeps",
        "paced-40-20",
        Shape(100, 100, 100, 40, limit_s=8),
    ),
    Workload(
        "many",
        "2,400 streams of 100 tokens, 10 tokens/s each, 200 begun a second: 2,000 at once",
        "paced-100-10",
        Shape(2400, 2400, 200, 100, limit_s=40),
        fast_only=True,
    ),
    Workload(
        "few",
        "10 streams of 400 tokens, 40 tokens/s each",
        "paced-400-40",
        Shape(10, 10, 0, 400, limit_s=20),
        fast_only=True,
    ),
    Workload(
        "paced-tls",
        "the same, the upstream behind TLS; connections are kept",
        "paced-40-20",
        Shape(100, 100, 100, 40, limit_s=8),
        upstream="tls",
    ),
    Workload(
        "connect-tls",
        "300 streams of 10 tokens, 4 at a time, each over a new TLS connection to the upstream",
        "burst-10",
        Shape(300, 4, 0, 10, limit_s=8),
        upstream="connect",
    ),
]
