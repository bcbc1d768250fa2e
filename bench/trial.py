"""One relay that runs: asked, and accounted for."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

from bench.load import Load, Loader, Shape
from bench.peer import Ask, Relay
from bench.processes import Program
from bench.workloads import Workload

#: What one run of one workload gave: metric by name.
Sample = dict[str, float | str]

_MOST_TIMES: Final = 50


class Trial:
    """A relay at its port; without a program when there is nothing but the upstream."""

    def __init__(self, relay: Relay, program: Program | None, port: int, loader: Loader) -> None:
        self.relay = relay
        self.program = program
        self.port = port
        self.loader = loader

    def ask(self, upstream: str, model: str) -> Ask:
        return self.relay.ask(upstream, model)

    def cpu_s(self) -> float:
        return self.program.usage().cpu_s if self.program else 0.0

    def rss(self) -> int:
        return self.program.usage().rss if self.program else 0

    def settle(self) -> None:
        if self.program:
            self.program.settle()

    def load(self, upstream: str, model: str, shape: Shape) -> Load:
        return self.loader.run(self.port, self.ask(upstream, model), shape)

    def measure(self, workload: Workload) -> Sample:
        """One run of a workload, with what it cost."""
        shape = self._stretched(workload) if workload.stretch_s else workload.shape
        self.settle()
        before = self.cpu_s()
        load = self.load(workload.upstream, workload.model, shape)
        cpu_s = self.cpu_s() - before
        boxed = workload.boxed and not load.failure
        sample: Sample = {**asdict(load), "asked": load.whole if boxed else shape.streams}
        sample["tokens_s"] = load.tokens / load.seconds
        if self.program and load.tokens:
            sample["rss"] = self.rss()
            sample["cpu_us"] = cpu_s / load.tokens * 1e6
            sample["cpu_us_stream"] = cpu_s / load.streams * 1e6
        return sample

    def _stretched(self, workload: Workload) -> Shape:
        """As many streams as take about the wanted time, judged by a first run."""
        shape = workload.shape
        first = self.load(workload.upstream, workload.model, replace(shape, streams=32))
        a_second = first.whole / first.seconds
        times = round(a_second * workload.stretch_s / shape.streams)
        return replace(shape, streams=shape.streams * max(1, min(_MOST_TIMES, times)))
