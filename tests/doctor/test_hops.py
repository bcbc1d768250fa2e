"""Who stands between, from the words of each."""

from __future__ import annotations

import pytest

from headwater.tools.doctor.hops import NAMES, path
from headwater.tools.doctor.remedies import lines

NGINX_400 = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<center>nginx</center>"
HAPROXY_400 = b"HTTP/1.1 400 Bad request\r\n\r\n<h1>400 Bad request</h1>\nYour browser sent an invalid request.\n"  # fmt: skip
GO_400 = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"  # fmt: skip
OURS_400 = b'HTTP/1.1 400 Bad Request\r\n\r\n{"error":{"code":"invalid_request"}}'


@pytest.mark.parametrize(
    ("answered", "asked", "refused", "names", "proxies"),
    [
        ({}, {}, OURS_400, (), 0),
        ({}, {}, b"", (), None),
        ({}, None, b"", (), None),
        ({"server": "nginx/1.22.1"}, {"x-forwarded-for": "1.2.3.4"}, NGINX_400, ("nginx",), 1),
        ({"server": "nginx"}, {"x-forwarded-for": "1.2.3.4, 10.0.0.1"}, NGINX_400, ("nginx",), 2),
        ({"server": "Apache"}, {"x-forwarded-for": "1.2.3.4"}, HAPROXY_400, ("haproxy", "apache"), 2),
        ({"server": "Caddy"}, {"x-forwarded-for": "1.2.3.4"}, GO_400, ("caddy",), 1),
        ({}, {"x-forwarded-for": "1.2.3.4", "x-forwarded-server": "t"}, GO_400, ("traefik",), 1),
        ({"server": "cloudflare", "cf-ray": "8f"}, {"cf-ray": "8f"}, b"", ("cloudflare",), 1),
        ({}, {"x-amzn-trace-id": "Root=1"}, b"Server: awselb/2.0", ("alb",), 1),
    ],
)  # fmt: skip
def test_the_way(
    answered: dict[str, str],
    asked: dict[str, str] | None,
    refused: bytes,
    names: tuple[str, ...],
    proxies: int | None,
) -> None:
    found = path(answered, asked, refused)
    assert (found.names, found.proxies) == (names, proxies)


def test_who_does_not_name_himself_gets_the_lines_of_the_usual_ones() -> None:
    assert lines(["haproxy"], "silence") == {"HAProxy": "timeout server 1h"}
    assert list(lines([], "buffering")) == ["nginx", "HAProxy", "Traefik", "Apache", "Caddy"]
    assert {NAMES[name] for name in NAMES} >= set(lines(NAMES, "buffering"))
