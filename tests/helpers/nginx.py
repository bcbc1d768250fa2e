"""A real nginx in the foreground, with nothing of the machine's own configuration."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers.processes import environment, stopped_at_the_end

PROGRAM = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

_MAIN = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
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
    """Run nginx with the `server` block made for an address to listen on; gives the port.

    nginx takes over a socket that listens already (by its variable NGINX, made for upgrades): no
    port can be lost to another process, and there is nothing to wait for.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        number = listener.fileno()
        process = subprocess.Popen(
            write(prefix, server(f"127.0.0.1:{port}"), http),
            env=environment(NGINX=f"{number};"),
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
        )
    with stopped_at_the_end(process):
        yield port
