"""Programs that are measured: started, accounted for and ended with all that they started.

Each gets a session of its own, so that workers, and what workers begin, are found and ended by it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# What a server gets to end by itself; it has no streams left by then.
_GRACE_S: Final = 4.0
# Below this share of a core, what is left is timers.
_QUIET: Final = 0.05


class Usage(NamedTuple):
    """What a session has used of the processor so far, and holds of memory now."""

    cpu_s: float
    rss: int


class Program:
    """A running program; a context that ends it. What it prints goes to the file `log`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def usage(self) -> Usage:
        """The operating system's account, children that have ended and were waited for included."""
        cpu, rss = 0, 0
        for fields in _session(self.pid):
            cpu += sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
            rss += int(fields[21])
        return Usage(cpu * _TICK_S, rss * _PAGE)

    def settle(self, at_most_s: float = 15.0) -> None:
        """Wait until what is left of the last workload is done."""
        deadline = time.monotonic() + at_most_s
        while time.monotonic() < deadline:
            before = self.usage().cpu_s
            time.sleep(0.3)
            if self.usage().cpu_s - before <= 0.3 * _QUIET:
                return

    def stop(self) -> None:
        """End it and all of its session: politely, then not."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        for fields in _session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(fields[-1]), signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The last line that it printed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else "it said nothing"


def allow_many_files() -> None:
    """Thousands of streams are thousands of descriptors: what is started inherits the bound."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _session(leader: int) -> list[list[str]]:
    """What /proc/PID/stat has behind the name, of every process of the session; the pid at last."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append([*fields, folder.name])
    return found
