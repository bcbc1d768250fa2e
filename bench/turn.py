"""One relay's turn: started, warmed up, put through its workloads, ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench import logs, memory
from bench.figures import Figures
from bench.load import Loader, Shape
from bench.peer import House, Missing, Relay, Upstreams
from bench.ports import free_port
from bench.processes import Program
from bench.source import Source
from bench.trial import Sample, Trial
from bench.workloads import WORKLOADS

# LiteLLM takes ten seconds on an idle machine.
_READY_S: Final = 90.0

#: What is measured, by name.
Steps = dict[str, Callable[[Trial], Sample]]


@dataclass(frozen=True)
class Turns:
    """What all turns of a run share; `quick` makes everything a tenth as large."""

    figures: Figures
    house: House
    source: Source
    loader: Loader
    quick: bool

    def run(self, relay: Relay, turn: int, steps: Steps) -> None:
        """Measure, and note what could not be; `Missing` when the relay does not get ready."""
        with self.started(relay) as trial:
            for name, step in steps.items():
                print(f"{turn + 1} · {relay.name} · {name}", file=sys.stderr, end="", flush=True)
                try:
                    sample = step(trial)
                except (RuntimeError, OSError, ValueError) as error:
                    self.figures.failures[relay.name, name] = str(error)
                    print(f" · {error}", file=sys.stderr)
                else:
                    self.figures.add(relay.name, name, turn, sample)
                    print(f" · {_shown(sample)}", file=sys.stderr)

    def steps(self, relay: Relay) -> Steps:
        """What this relay is put through."""
        steps: Steps = {}
        for workload in WORKLOADS:
            # The load generator itself does not speak TLS.
            upstreams = ["plain"] if relay.direct else self.source.upstreams.urls
            if workload.upstream in upstreams and (relay.fast or not workload.fast_only):
                chosen = workload.quick() if self.quick else workload
                steps[workload.name] = partial(Trial.measure, workload=chosen)
        part = 10 if self.quick else 1
        if relay.log:
            steps |= _log_steps(part)
        if relay.fast and not relay.direct:
            steps["idle"] = partial(memory.idle, streams=5000 // part)
        return steps

    @contextmanager
    def started(self, relay: Relay) -> Iterator[Trial]:
        """The relay, warm. `Missing` when it does not get ready."""
        if relay.direct:
            yield Trial(relay, None, self.source.port, self.loader)
            return
        with relay.beside(self.house):
            yield from self._started(relay)

    def _started(self, relay: Relay) -> Iterator[Trial]:
        port = free_port()
        command = relay.command(self.house, port, self.source.upstreams)
        trusted = str(self.source.upstreams.certificate)
        environment = {
            "SSL_CERT_FILE": trusted,
            "NODE_EXTRA_CA_CERTS": trusted,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        log = self.house.work / f"relay-{port}.log"
        with Program(
            command.line,
            log=log,
            environment={**environment, **command.environment},
            cwd=self.house.scratch(f"cwd-{port}"),
        ) as program:
            trial = Trial(relay, program, port, self.loader)
            _warm_up(trial, self.source.upstreams)
            yield trial


def _log_steps(part: int) -> Steps:
    resume = partial(logs.resume, events=10_000 // part, times=30 // part)
    return {
        "fan-out": partial(logs.fan_out, readers=1000 // part, tokens=200 // part, rate=20),
        "resume": partial(resume, rate=2000),
        "resume, large entries": partial(resume, rate=0),
        "long log": partial(logs.long_log, streams=10, tokens=6000 // part, rate=500),
    }


def _warm_up(trial: Trial, upstreams: Upstreams) -> None:
    """Wait until it relays, then let it relay from each upstream until its code is warm."""
    deadline = time.monotonic() + _READY_S
    once = Shape(1, 1, 0, 1, limit_s=10)
    while (load := trial.load("plain", "burst-1", once)).whole == 0:
        alive = trial.program is not None and trial.program.running
        if trial.program is not None and (not alive or time.monotonic() > deadline):
            said = trial.program.last_words()
            raise Missing(f"{load.failure or 'no answer'}; {said}" if alive else f"ended: {said}")
        time.sleep(0.2)
    for upstream in upstreams.urls:
        trial.load(upstream, "burst-20", Shape(64, 16, 0, 20, limit_s=5))


def _shown(sample: Sample) -> str:
    return json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in sample.items()})
