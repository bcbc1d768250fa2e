"""What machine this is."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """As the page of results names it."""

    text: str
    date: str


def this_machine() -> Machine:
    """Processor, cores, kernel, Python."""
    cores = len(os.sched_getaffinity(0))
    system = f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Machine(f"{cores} cores of {_processor()}, {system}", today)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
