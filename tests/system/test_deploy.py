"""deploy/ is what the commands print. That it is healthy, `test_doctor.py` tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.cli.proxy_config import configuration
from headwater.cli.proxy_config.site import site

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
