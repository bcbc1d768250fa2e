"""A real nginx in the foreground, with nothing of the machine's own configuration."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.processes import environment, line_matching, stopped_at_the_end

PROGRAM = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

_MAIN = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
    include server.conf;
}}
"""


def write(prefix: Path, server: str, http: str = "") -> list[str]:
    """Write the configuration below `prefix`; the command that runs it."""
    assert PROGRAM is not None, "nginx is not installed: apt-get install nginx"
    (prefix / "nginx.conf").write_text(_MAIN.format(http=http))
    (prefix / "server.conf").write_text(server)
    return [PROGRAM, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", "stderr"]


@contextlib.contextmanager
def nginx(prefix: Path, server: Callable[[str], str], http: str = "") -> Iterator[int]:
    """Run nginx with the `server` block made for an address to listen on; gives the port."""
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            port = free_port()
            command = write(prefix, server(f"127.0.0.1:{port}"), http)
            process = stack.enter_context(stopped_at_the_end(_start(command)))
            # It says so once it listens; a port that another process took meanwhile is an error.
            if line_matching(process, r"bind\(\) .*failed|getrlimit", 10)[0] == "getrlimit":
                break
        yield port


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
