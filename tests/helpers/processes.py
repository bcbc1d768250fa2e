"""Real servers as child processes, stopped by their pid."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

#: The command of the environment that runs the tests.
HEADWATER = str(Path(sys.executable).with_name("headwater"))


def environment(**extra: str) -> dict[str, str]:
    """Make an environment in which no key, setting or proxy of the machine is seen."""
    # PYTHONPATH, so that children run the code under test wherever that is.
    keep = {"PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"}
    return {k: v for k, v in os.environ.items() if k in keep} | extra


@contextlib.contextmanager
def stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ask the process to end, then make it."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def line_matching(
    process: subprocess.Popen[bytes], pattern: str, timeout_s: float
) -> re.Match[str]:
    """Wait for a line on the process's stdout; its output so far is in the error otherwise."""
    assert process.stdout is not None
    seen, end = b"", time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        part = os.read(process.stdout.fileno(), 65536)
        seen += part
        for line in seen.decode(errors="replace").splitlines():
            if match := re.search(pattern, line):
                return match
        if not part:
            break
    raise AssertionError(f"no line like {pattern!r} within {timeout_s} s in: {seen.decode()}")


@contextlib.contextmanager
def headwater_serve(
    *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run `headwater serve` on a free port, in a folder without settings; gives the port."""
    process = subprocess.Popen(
        [HEADWATER, "serve", "--port", "0", *arguments],
        cwd=cwd,
        env=environment(**(environ or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with stopped_at_the_end(process):
        yield int(line_matching(process, r"listening on http://[^ ]*:(\d+)", 30)[1])
