"""What is refused before a request is looked into: foreign hosts and foreign pages."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from headwater.errors import RequestError
from headwater.settings import ServerSettings

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def check_host(request: Request, settings: ServerSettings) -> None:
    """Refuse a Host that is not ours: a page that rebinds its name to 127.0.0.1 sends its own."""
    host = _hostname(request.headers.get("host", ""))
    if host not in _LOCAL and host != settings.host and host not in settings.allowed_hosts:
        raise RequestError(
            f"Host {host[:100]!r} is not allowed here; add it to server.allowed_hosts.",
            code="forbidden",
        )


def check_site(request: Request, settings: ServerSettings) -> None:
    """Refuse a browser that asks on behalf of another site's page.

    By `Sec-Fetch-Site`, which a page cannot forge, else by `Origin`. `curl` sends neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    if origin is not None and origin in settings.cors_origins:
        return
    if site is None and origin is not None:
        place = origin.partition("://")[2]  # with its port: another port is another site's page
        if place == request.headers.get("host") or _hostname(place) in settings.allowed_hosts:
            return
    raise RequestError(
        "A page of another site may not call this server; add its origin to server.cors_origins.",
        code="forbidden",
    )


@lru_cache(maxsize=64)
def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
