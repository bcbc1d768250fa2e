"""What is refused before a request is looked into: foreign hosts, foreign pages, huge bodies."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from headwater.errors import RequestError
from headwater.settings import ServerSettings

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Far beyond any schema of a tool, far below what encoding the request again has stack for.
_MAX_DEPTH: Final = 128


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


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body; `RequestError` when it is too large (found while reading) or breaks off."""
    if int(request.headers.get("content-length", "0") or 0) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestError("The request broke off.")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, whatever its content type, since `curl -d` must work.

    `RequestError` when it is not JSON, not an object, or nested deeper than a request is.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    # Most bodies have too few brackets to be deep; counting them costs next to nothing.
    if body.count(b"{") + body.count(b"[") > _MAX_DEPTH and _deeper(value, _MAX_DEPTH):
        raise _too_deep()
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested in more levels than these."""
    level = [value]
    for _ in range(levels):
        members = (each.values() if isinstance(each, dict) else each for each in level)
        level = [inner for each in members for inner in each if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _too_deep() -> RequestError:
    return RequestError(f"The body is nested too deeply: {_MAX_DEPTH} levels are the most.")


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        f"The body is larger than {max_bytes} bytes (server.max_body_bytes).", code="too_large"
    )


@lru_cache(maxsize=64)
def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
