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
    host = request.headers.get("host", "")
    if not _is_known(host, settings):
        raise RequestError(
            f"Host {_hostname(host)[:100]!r} is not allowed here; add it to server.allowed_hosts.",
            code="forbidden",
        )


def check_site(request: Request, settings: ServerSettings, *, guarded: bool) -> None:
    """Refuse a browser that asks on behalf of another site's page.

    By `Sec-Fetch-Site`, which a page cannot forge, else by `Origin`. `curl` sends neither. Where
    no credential protects the server (`guarded`), its own page too must be on a name that is known
    here: a proxy in front that passes no header on makes any name same-origin.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if origin is not None and origin in settings.cors_origins:
        return
    if guarded and origin is not None and not _is_known(origin.partition("://")[2], settings):
        raise RequestError(
            f"The page's origin {origin[:100]!r} is not known here; add its host to "
            "server.allowed_hosts.",
            code="forbidden",
        )
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    if site is None and origin is not None:
        place = origin.partition("://")[2]  # with its port: another port is another site's page
        if place == request.headers.get("host") or _hostname(place) in settings.allowed_hosts:
            return
    raise RequestError(
        "A page of another site may not call this server; add its origin to server.cors_origins.",
        code="forbidden",
    )


def _is_known(netloc: str, settings: ServerSettings) -> bool:
    """Whether it is a name of this server: a local one, or one of the settings."""
    host = _hostname(netloc)
    return host in _LOCAL or host == settings.host or host in settings.allowed_hosts


@lru_cache(maxsize=64)
def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
