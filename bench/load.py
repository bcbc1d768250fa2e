"""The load generator: started, and what it reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peer import Ask


@dataclass(frozen=True)
class Shape:
    """How many streams, how many of them at once, how many begun a second (0: no bound).

    `limit_s` is when the load generator gives up; 0 is when all streams have ended.
    """

    streams: int
    at_once: int
    a_second: float
    tokens: int
    limit_s: float = 0.0


@dataclass(frozen=True)
class Load:
    """What came. Times in milliseconds but `seconds`."""

    streams: int
    whole: int
    tokens: int
    seconds: float
    age_p50: float
    age_p99: float
    first_p50: float
    first_p99: float
    failure: str


class Loader:
    """Runs the compiled program `load`."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def run(self, port: int, ask: Ask, shape: Shape) -> Load:
        """Read all streams, and say how they came."""
        with self.begin(port, ask, shape) as running:
            return running.report()

    @contextmanager
    def begin(self, port: int, ask: Ask, shape: Shape, *, mark: bool = False) -> Iterator[Running]:
        """Begin to read; leaving the context ends it."""
        options = [word for header in ask.headers for word in ("-H", header)]
        options += ["-m"] if mark else []
        options += ["-s", str(shape.limit_s)] if shape.limit_s else []
        numbers = (shape.streams, shape.at_once, shape.a_second, shape.tokens)
        arguments = [str(port), ask.path, ask.body, *map(str, numbers)]
        process = subprocess.Popen(
            [self._program, *options, *arguments], stdout=subprocess.PIPE, text=True
        )
        try:
            yield Running(process)
        finally:
            process.kill()
            process.communicate()


class Running:
    """A load generator at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def marked(self) -> None:
        """Wait until every stream has had its first token; only what comes after is reported."""
        said = self._line()
        if "marked" not in said:
            raise RuntimeError(f"the load ended before every stream had a token: {said}")

    def report(self) -> Load:
        """Wait for the end."""
        said = self._line()
        for name in ("age_p50", "age_p99", "first_p50", "first_p99"):
            said[name] /= 1000
        del said["broken"]
        return Load(**said)

    def _line(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the load generator ended without a report")
        said: dict[str, Any] = json.loads(line)
        return said
