"""The examples, started as the README in the folder of each says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.helpers.processes import environment, line_matching, stopped_at_the_end
from tests.helpers.servers import Server

EXAMPLES = Path(__file__).parents[2] / "examples"

#: How the servers that examples are run with say that they listen.
READY = r"(?:Listening at:|running on|Running on|listening on) http://[^ ]*:(\d+)"

#: Any free port, for each of those servers; what a README's command says of itself stays.
ANY_PORT = {
    "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0 --no-control-socket --graceful-timeout 1",
    "UVICORN_PORT": "0",
    "PORT": "0",
}


def command(name: str) -> str:
    """The command that starts the example: the last line of its README's first block of shell."""
    text = (EXAMPLES / name / "README.md").read_text()
    block = re.search(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None, f"examples/{name}/README.md has no block of shell"
    return block[1].splitlines()[-1].split("  #")[0].strip()


@contextlib.contextmanager
def example(name: str, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run the example's one command in its folder, on a free port, with what `environ` adds."""
    with started(name, environ) as process:
        yield Server(int(line_matching(process, READY, 60)[1]), process)


@contextlib.contextmanager
def started(
    name: str, environ: Mapping[str, str] | None = None, *, tty: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The same for one that is no server; in a terminal, where `tty` is the descriptor of one."""
    line, given = command(name), dict[str, Any](stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if tty is not None:
        # Ctrl-C is a signal then, and to the example alone: a shell would die of it first.
        line, given = f"exec {line}", dict[str, Any](stdin=tty, stdout=tty)
        given["preexec_fn"] = lambda: fcntl.ioctl(tty, termios.TIOCSCTTY, 0)
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", line],
        cwd=EXAMPLES / name,
        env=environment(PYTHONUNBUFFERED="1") | ANY_PORT | {"PATH": found} | dict(environ or {}),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **given,
    )
    with stopped_at_the_end(process):
        try:
            yield process
        finally:
            # The shell's children too: those of one command are one process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
