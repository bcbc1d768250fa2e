"""Samples to figures: medians of the rounds, and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.peer import Relay
from bench.peers.direct import Direct
from bench.trial import Sample


@dataclass(frozen=True)
class Entry:
    """A relay in this run: its versions, or why it was not run."""

    relay: Relay
    versions: str
    missing: str = ""


@dataclass
class Figures:
    """All that was measured."""

    entries: list[Entry] = field(default_factory=list)
    samples: list[tuple[str, str, int, Sample]] = field(default_factory=list)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, relay: str, workload: str, turn: int, sample: Sample) -> None:
        self.samples.append((relay, workload, turn, sample))

    def median(self, relay: str, workload: str, metric: str) -> float | None:
        """Over the rounds; None when it was not measured."""
        values = [
            float(sample[metric])
            for name, what, _, sample in self.samples
            if name == relay and what == workload and metric in sample
        ]
        return statistics.median(values) if values else None

    def added(self, relay: str, workload: str, metric: str) -> float | None:
        """What the relay adds to what it takes without one."""
        value = self.median(relay, workload, metric)
        direct = self.median(Direct.name, workload, metric)
        return None if value is None or direct is None else value - direct

    def complete(self, relay: str, workload: str) -> bool:
        """Whether every stream of every round was whole."""
        runs = [s for name, what, _, s in self.samples if name == relay and what == workload]
        return bool(runs) and all(s["whole"] == s["asked"] for s in runs if "whole" in s)

    def relays(self, workload: str) -> list[Relay]:
        """Those that were put through a workload, in the order of the tables."""
        measured = {name for name, what, _, _ in self.samples if what == workload}
        return [entry.relay for entry in self.entries if entry.relay.name in measured]

    def best_peer(
        self, of: Callable[[str], float | None], pick: Callable[[Iterable[float]], float]
    ) -> float | None:
        """The best of what `of` gives for the peers; `pick` is min or max."""
        peers = [e.relay.name for e in self.entries if e.relay.peer and not e.missing]
        known = [value for value in map(of, peers) if value is not None]
        return pick(known) if known else None


def ratio(a: float | None, b: float | None) -> float | None:
    """`a / b`; None when either is unknown."""
    return a / b if a is not None and b else None
