"""deploy/ is what the commands print. That it is healthy, `test_doctor.py` tries."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import redis

from headwater.cli.proxy_config import configuration
from headwater.cli.proxy_config.site import site
from tests.helpers.nginx import free_port
from tests.helpers.polling import eventually
from tests.helpers.processes import HEADWATER, environment, stopped_at_the_end
from tests.server.serving import ask, serving

pytestmark = pytest.mark.system

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize(
    ("proxy", "file"),
    [
        ("nginx", "nginx.conf"),
        ("caddy", "Caddyfile"),
        ("haproxy", "haproxy.cfg"),
        ("apache", "apache.conf"),
        ("traefik", "traefik.yaml"),
    ],
)
def test_a_configuration_is_what_the_command_prints(proxy: str, file: str) -> None:
    where = site(
        server_name="chat.example.com", upstream="http://127.0.0.1:8000", path="/", listen="80"
    )
    assert (DEPLOY / file).read_text() == configuration(proxy, where)


def test_the_one_of_compose_too() -> None:
    where = site(server_name="_", upstream="http://headwater:8000", path="/", listen="80")
    assert (DEPLOY / "compose/nginx.conf").read_text() == configuration("nginx", where)


# the unit of systemd


def test_the_unit_leaves_little_open(tmp_path: Path) -> None:
    """By the program's own measure where it is there; else by what makes up most of it."""
    unit = DEPLOY / "systemd/headwater.service"
    directives = set(unit.read_text().split("\n"))
    assert directives >= {
        "CapabilityBoundingSet=",
        "DynamicUser=yes",
        "MemoryDenyWriteExecute=yes",
        "NoNewPrivileges=yes",
        "PrivateDevices=yes",
        "PrivateUsers=yes",
        "ProtectSystem=strict",
        "RestrictNamespaces=yes",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "UMask=0077",
    }
    program = shutil.which("systemd-analyze")
    if program is not None:
        arguments = ["security", "--offline=true", "--threshold=30", str(unit)]
        ran = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout


_REFUSE_EXEC_GAIN = "import ctypes, os, sys; sys.exit(3) if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) else os.execv(sys.argv[1], sys.argv[1:])"  # fmt: skip


def test_it_streams_under_the_unit_s_ban_on_executable_memory(
    embedded: str, tmp_path: Path
) -> None:
    """PR_SET_MDWE of Linux 6.3 is what `MemoryDenyWriteExecute` does by a filter."""
    before = [sys.executable, "-c", _REFUSE_EXEC_GAIN]
    able = subprocess.run([*before, sys.executable, "-c", ""], check=False, timeout=30).returncode
    if able == 3:
        pytest.skip("this kernel has no PR_SET_MDWE")
    with serving(cwd=tmp_path, command=(*before, HEADWATER)) as served:
        body = {"prompt": "Why is the sky blue?", "model": embedded, "max_tokens": 3}
        answer = ask(served.port, "/stream", body)
        assert answer.body.endswith(b"data: [DONE]\n\n"), answer


# compose


def test_the_redis_of_compose_wants_its_password(tmp_path: Path) -> None:
    """Its very command, run, with the dollar that compose takes doubled."""
    text = (DEPLOY / "compose/compose.yaml").read_text()
    script = dedent(text.partition("      - |\n")[2].partition("    volumes:")[0])
    assert "REDISCLI_AUTH" in script
    port, password = free_port(), secrets.token_hex(24)
    script = script.replace("$$", "$").replace("--appendonly", f"--port {port} --appendonly")
    environ = environment(REDISCLI_AUTH=password)
    process = subprocess.Popen(["sh", "-c", script], cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL)  # fmt: skip
    with stopped_at_the_end(process):
        eventually(lambda: refused(port), "a Redis that asks for a password")
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        with redis.Redis.from_url(url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        with serving("--store", url, cwd=tmp_path) as served:
            body = {"prompt": "hi", "model": "tape/story?speed=max"}
            assert ask(served.port, "/stream", body).body.endswith(b"data: [DONE]\n\n")


def refused(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            client.ping()
    except redis.AuthenticationError:
        return True
    except redis.ConnectionError:
        return False
    raise AssertionError("it asks for no password")
