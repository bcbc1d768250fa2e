"""What Headwater is to reach, as data: each check is a figure and its bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.figures import Figures, ratio
from bench.peers.direct import Direct
from bench.peers.fastapi import FastAPI
from bench.peers.nginx import Nginx

#: By store, the most that a token may cost in it, to what it costs in memory.
_STORES = {"sqlite": 1.8, "redis": 2.0}

DIRECT, FASTAPI, NGINX = Direct.name, FastAPI.name, Nginx.name


@dataclass(frozen=True)
class Check:
    """`value` is None when it was not measured in this run."""

    sentence: str
    value: float | None
    bound: float
    at_most: bool
    unit: str

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def at_most(sentence: str, value: float | None, bound: float, unit: str = "×") -> Check:
    """A check with an upper bound."""
    return Check(sentence, value, bound, True, unit)


def at_least(sentence: str, value: float | None, bound: float, unit: str = "×") -> Check:
    """A check with a lower bound."""
    return Check(sentence, value, bound, False, unit)


def checks(figures: Figures) -> list[Check]:
    """Every check that was measured: of the memory store in each wire, and of the others."""
    names = [e.relay.name for e in figures.entries if e.relay.name.startswith("Headwater, memory")]
    found = []
    for name in names:
        wire = name.rpartition(", ")[2]
        for part in (_burst, _paced, _first, _memory_and_log):
            found += [replace(c, sentence=f"{wire}, {c.sentence}") for c in part(figures, name)]
    for store, factor in _STORES.items():
        found += _store(figures, store, factor)
    return [check for check in found if check.value is not None]


def _store(figures: Figures, store: str, factor: float) -> list[Check]:
    name, memory = f"Headwater, {store}, plain", "Headwater, memory, plain"
    cost = ratio(figures.median(name, "paced", "cpu_us"), figures.median(memory, "paced", "cpu_us"))
    age = figures.median(name, "paced", "age_p99")
    return [
        at_most(f"{store}, paced: CPU a token to memory's", cost, factor),
        at_most(f"{store}, paced: token age p99", age, 25, " ms"),
    ]


def _burst(figures: Figures, name: str) -> list[Check]:
    def rate(of: str) -> float | None:
        return figures.median(of, "burst", "tokens_s")

    mine, best = rate(name), figures.best_peer(rate, max)
    return [
        at_least("burst: tokens/s to FastAPI's", ratio(mine, rate(FASTAPI)), 40),
        at_least("burst: tokens/s to the best peer's", ratio(mine, best), 4),
        at_least("burst: tokens/s to nginx's", ratio(mine, rate(NGINX)), 0.3),
        at_least("burst: tokens/s without a relay, to Headwater's", ratio(rate(DIRECT), mine), 3),
    ]


def _paced(figures: Figures, name: str) -> list[Check]:
    def cost(of: str) -> float | None:
        return figures.median(of, "paced", "cpu_us")

    def many(metric: str) -> float | None:
        return figures.median(name, "many", metric)

    mine, best = cost(name), figures.best_peer(cost, min)
    few = figures.median(name, "few", "cpu_us")
    age = figures.added(name, "paced", "age_p99")
    return [
        at_most("paced: CPU a token to nginx's", ratio(mine, cost(NGINX)), 1.7),
        at_most("paced: CPU a token to the best peer's", ratio(mine, best), 1 / 4),
        at_most("paced: CPU a token to FastAPI's", ratio(mine, cost(FASTAPI)), 1 / 12),
        at_most("paced: token age p99 over direct", age, 5, " ms"),
        at_least(
            "many: part of the streams that was whole", ratio(many("whole"), many("asked")), 1
        ),
        at_most("many: token age p99", many("age_p99"), 25, " ms"),
        at_most("many: first token p99", many("first_p99"), 50, " ms"),
        at_most("many: CPU a token to that of few streams", ratio(many("cpu_us"), few), 1.2),
    ]


def _first(figures: Figures, name: str) -> list[Check]:
    def added(of: str) -> float | None:
        return figures.added(of, "first", "first_p50")

    mine, best = added(name), figures.best_peer(added, min)
    return [
        at_most("first: p50 over direct", mine, 0.4, " ms"),
        at_most("first: p50 over direct to the best peer's", ratio(mine, best), 1 / 3),
    ]


def _memory_and_log(figures: Figures, name: str) -> list[Check]:
    def median(workload: str, metric: str) -> float | None:
        return figures.median(name, workload, metric)

    delivered = ratio(median("fan-out", "cpu_us"), median("paced", "cpu_us"))
    grown = ratio(median("long log", "cpu_us_end"), median("long log", "cpu_us_start"))
    return [
        at_most("fan-out: CPU a delivered event to a token's full relay", delivered, 1 / 3),
        at_most("resume: first byte", median("resume", "first_p50"), 20, " ms"),
        at_least("resume: events/s", median("resume", "events_s"), 300_000, ""),
        at_most("long log: CPU a token at its end to that at its start", grown, 1.1),
        at_most("idle: memory a quiet stream", median("idle", "kb_stream"), 25, " kB"),
        at_most("soak: memory of the last quarter to the first's", median("soak", "grown"), 1.05),
    ]
