"""Real proxies in the foreground, with nothing of the machine's own configuration."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.helpers import nginx
from tests.helpers.nginx import free_port
from tests.helpers.polling import eventually
from tests.helpers.processes import environment, stopped_at_the_end
from tests.helpers.users import as_user

#: What writes a configuration for an address to listen on.
Config = Callable[[str], str]

_SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
_DEBIAN = "/usr/lib/apache2/modules"
_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "headers", "env", "filter", "deflate", "buffer")  # fmt: skip
_APACHE = """\
ServerRoot {folder}
ServerName localhost
PidFile apache.pid
ErrorLog {folder}/error.log
{user}
{modules}
Include {folder}/site.conf
"""
_CADDY = """\
{{
    admin off
    auto_https disable_redirects{options}
}}

"""
_HAPROXY = "global\n    maxconn 100\n\n"


def command(kind: str, folder: Path, config: str, *, check: bool = False, extra: str = "") -> list[str]:  # fmt: skip
    """Write the configuration below `folder`; what runs it, or checks it.

    `extra` goes where the proxy has what is not of one site: nginx's `http`, Caddy's global options.
    """
    if kind == "nginx":
        return [*nginx.write(folder, config, extra), *(["-t"] if check else [])]
    file = folder / "site.conf"
    if kind == "caddy":
        file.write_text(_CADDY.format(options=extra) + config)
        run = "validate" if check else "run"
        return [_program("caddy"), run, "--config", str(file), "--adapter", "caddyfile"]
    if kind == "haproxy":
        file.write_text(_HAPROXY + config)
        return [_program("haproxy"), "-c" if check else "-db", "-f", str(file)]
    file.write_text(config)
    main = folder / "apache.conf"
    user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
    lines = [f"LoadModule {name}_module {_DEBIAN}/mod_{name}.so" for name in _MODULES]
    main.write_text(_APACHE.format(folder=folder, user=user, modules="\n".join(lines)))
    return [_program("apache2"), "-f", str(main), *(["-t"] if check else ["-DFOREGROUND"])]


@contextlib.contextmanager
def proxy(
    kind: str, folder: Path, config: Config, extra: str = "", user: str | None = None
) -> Iterator[int]:
    """Run a proxy on a free port, as `user` where one is named; gives the port."""
    folder.mkdir(exist_ok=True)
    if user is not None:
        shutil.chown(folder, user)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            port = free_port()
            arguments = command(kind, folder, config(f"127.0.0.1:{port}"), extra=extra)
            log = stack.enter_context((folder / "output").open("wb"))
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment(XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **as_user(user),
            )
            stack.enter_context(stopped_at_the_end(process))
            if _listens(process, port):
                break
        else:
            raise AssertionError((folder / "output").read_text())
        yield port


def _program(name: str) -> str:
    found = shutil.which(name, path=_SBIN)
    assert found is not None, f"{name} is not installed: apt-get install {name}"
    return found


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it takes connections; False when it has ended, its port taken or its file wrong."""

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return process.poll() is not None

    eventually(connects, "the proxy listens", within_s=30)
    return process.poll() is None
