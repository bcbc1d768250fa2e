"""Servers of every kind that run Headwater, as child processes with a known pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.processes import HEADWATER, environment, line_matching, stopped_at_the_end


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> list[int]:
        return [pid for pid in _pids() if _parent(pid) == self.process.pid]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(sign)
        self.process.wait(30)


@contextlib.contextmanager
def serve(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`headwater serve` on a free port."""
    command = [HEADWATER, "serve", "--port", "0", *arguments]
    with _running(command, r"listening on http://[^ ]*:(\d+)", cwd, environ) as server:
        yield server


@contextlib.contextmanager
def gunicorn(
    app: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run gunicorn with `app`, `module:object` of a module in `cwd`."""
    command = [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "--no-control-socket"]
    command += ["--graceful-timeout", "1", *arguments, app]
    # The port is there before a worker is, but connections wait until then.
    with _running(command, r"Listening at: http://[^ ]*:(\d+)", cwd, environ) as server:
        yield server


@contextlib.contextmanager
def uvicorn(
    app: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    command = [sys.executable, "-m", "uvicorn", "--port", "0", *arguments, app]
    with _running(command, r"Uvicorn running on http://[^ ]*:(\d+)", cwd, environ) as server:
        yield server


@contextlib.contextmanager
def waitress(
    app: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    command = [sys.executable, "-m", "waitress", "--listen=127.0.0.1:0", *arguments, app]
    with _running(command, r"Serving on http://[^ ]*:(\d+)", cwd, environ) as server:
        yield server


@contextlib.contextmanager
def flask_run(
    app: str, *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Flask's own server, with which everyone begins."""
    command = [sys.executable, "-m", "flask", "--app", app, "run", "--port", "0", *arguments]
    with _running(command, r"Running on http://[^ ]*:(\d+)", cwd, environ) as server:
        yield server


@contextlib.contextmanager
def _running(
    command: list[str], ready: str, cwd: Path, environ: Mapping[str, str] | None
) -> Iterator[Server]:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        # A host's own import of the app is looked for in the folder where it is started.
        env=environment(PYTHONPATH=_path(cwd), PYTHONUNBUFFERED="1") | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        yield Server(int(line_matching(process, ready, 30)[1]), process)


def _path(cwd: Path) -> str:
    return os.pathsep.join(filter(None, (str(cwd), os.environ.get("PYTHONPATH"))))


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what is left for its parent to collect."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _parent(pid: int) -> int | None:
    try:
        return int(_stat(pid)[1])
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    """State, parent and what follows of /proc/PID/stat; the name before them may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
