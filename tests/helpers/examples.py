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

from tests.helpers.nginx import free_port
from tests.helpers.node import ROOT, path_with_node
from tests.helpers.processes import environment, line_matching, stopped_at_the_end
from tests.helpers.servers import Server

EXAMPLES = ROOT / "examples"

#: How the servers that examples are run with say that they listen.
READY = r"(?:Listening at:|running on|Running on|listening on) http://[^ ]*:(\d+)"

#: What npm reads of the machine's own settings: where its registry is, and whom to trust there.
NPM = re.compile(r"npm_config_|NPM_|NODE_EXTRA_CA_CERTS$|SSL_CERT_|https?_proxy$", re.IGNORECASE)


def any_ports() -> dict[str, str]:
    """Free ports, for each of those servers; what a README's command says of itself stays."""
    return {
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0 --no-control-socket --graceful-timeout 1",
        "UVICORN_PORT": "0",
        # A proxy does not tell which one it was given.
        "PORT": str(free_port()),
        "APP_PORT": str(free_port()),
    }


def with_npm() -> dict[str, str]:
    """What a command with npm in it needs: Node, and the client as it would come from npm."""
    own = {name: value for name, value in os.environ.items() if NPM.match(name)}
    environ = own | {"PATH": path_with_node()}
    once = "[ -d node_modules ] || npm ci --loglevel=error; npm run --silent dist -w client"
    subprocess.run(
        ["/bin/sh", "-ec", once], cwd=ROOT / "js", env=environment() | environ, check=True
    )
    return environ


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
        # A build may be part of it.
        yield Server(int(line_matching(process, READY, 110)[1]), process)


@contextlib.contextmanager
def started(
    name: str, environ: Mapping[str, str] | None = None, *, tty: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The same for one that is no server; in a terminal, where `tty` is the descriptor of one."""
    line, given = command(name), dict[str, Any](stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    env = environment(PYTHONUNBUFFERED="1") | any_ports() | (with_npm() if "npm " in line else {})
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    if tty is not None:
        # Ctrl-C is a signal then, and to the example alone: a shell would die of it first.
        line, given = f"exec {line}", dict[str, Any](stdin=tty, stdout=tty)
        given["preexec_fn"] = lambda: fcntl.ioctl(tty, termios.TIOCSCTTY, 0)
    process = subprocess.Popen(
        ["/bin/sh", "-c", line],
        cwd=EXAMPLES / name,
        env=env | dict(environ or {}),
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
