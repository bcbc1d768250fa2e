"""One given value to the type of its setting, or a clause that says what it must be."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import unquote, urlsplit

import msgspec

from headwater.settings import plugins, store_url
from headwater.settings.schema import DIALECTS, PREFIX, plain

_UNITS: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS_BINARY: Final = {"kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE: Final = re.compile(r"\s*([0-9]{1,16})\s*([A-Za-z]{0,3})\s*", re.ASCII)
_KEY: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|sha256:[0-9a-fA-F]{64}", re.ASCII)
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_KINDS: Final = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_NAMES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "a table",
}


class WrongValue(ValueError):  # noqa: N818 - becomes a ConfigurationError where its place is known
    """A value is not what its setting wants; the message is a clause such as "must be …"."""


def read(value: object, annotated: Any, path: tuple[str, ...], *, text: bool = False) -> Any:
    """Read a value as its setting holds it; `WrongValue` when it cannot be.

    With `text` the value came from where everything is a string (the environment): numbers and
    booleans are read from it, lists from commas or JSON, tables from JSON.
    """
    kind, metas = plain(annotated)
    if any((m.extra or {}).get("size") for m in metas) and isinstance(value, str):
        value = _size(value)
    elif text and isinstance(value, str):
        value = _from_text(value, kind)
    elif type(value) in (int, float) and any((m.extra or {}).get("seconds") for m in metas):
        value = f"{value:f}s"
    if isinstance(value, list) and get_origin(kind) is tuple:
        value = tuple(value)
    try:
        result = msgspec.convert(value, annotated, strict=True)
    except msgspec.ValidationError:
        raise WrongValue(f"must be {_wanted(annotated)}, not {_shown(value, kind)}") from None
    check = CHECKS.get(".".join(path)) or CHECKS.get(f"{path[0]}.*.{path[-1]}")
    if check is not None and result is not None:
        check(result)
    return result


def _from_text(value: str, kind: Any) -> object:
    if kind is bool:
        return _TRUTH.get(value.strip().lower(), value)
    if kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            return value
    if get_origin(kind) is tuple and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if kind is str or get_origin(kind) is Literal else from_json(value)


def from_json(value: str) -> object:
    """Read a list or table written as JSON in the environment; other text stays as it is."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    scale = (_UNITS | _UNITS_BINARY).get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise WrongValue(f'must be bytes such as 1048576 or "16 MiB", not "{text[:40]}"')
    return int(match[1]) * scale


def _wanted(annotated: Any) -> str:
    kind, metas = plain(annotated)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of strings"
    above, least, most = (_bound(metas, name) for name in ("gt", "ge", "le"))
    words = _KINDS.get(kind, "a table")
    if above is not None:
        words += f" above {above:g}"
    if least is not None:
        words += f" from {least:g}"
    # A bound that only keeps numbers exact would tell nobody anything.
    if most is not None and most < 2**53:
        words += f"{' and at most' if above is not None else ' to'} {most:.0f}"
    return words


def _bound(metas: list[msgspec.Meta], name: str) -> float | None:
    for meta in metas:
        if (value := getattr(meta, name)) is not None:
            return float(value)
    return None


def _shown(value: object, kind: Any) -> str:
    """Show the value, unless its setting holds free text: a URL or a key may be a secret."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value}"[:40]
    if isinstance(value, str) and (kind in (int, float, bool) or get_origin(kind) is Literal):
        return f'"{value[:40]}"'
    return _NAMES.get(type(value), "a date" if hasattr(value, "isoformat") else "nothing")


def folder_of(base_url: str) -> Path:
    """The folder that a path or a file: URL names, from the working directory."""
    scheme, _, rest = base_url.partition(":")
    if scheme.lower() == "file":
        return Path(unquote(rest.removeprefix("//localhost").removeprefix("//")))
    return Path(os.path.expanduser(base_url))  # noqa: PTH111 - Path's own raises for ~nobody


def check_provider(table: Mapping[str, Any], name: str) -> None:
    """Raise `WrongValue` for a base_url that does not suit the dialect of a provider's table."""
    base_url = table.get("base_url")
    if table.get("dialect") != "tape":
        if base_url is not None:
            _check_base_url(base_url)
    elif base_url is None:
        if name != "tape":
            raise WrongValue('wants a base_url beside "tape": the folder of the tapes')
    elif not base_url or not folder_of(base_url).is_dir():
        raise WrongValue("must be a folder that is there, or its file: URL, for tapes")


def _check_base_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise WrongValue("must be a URL such as http://127.0.0.1:8080/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right:
        raise WrongValue("must be an http:// or https:// URL such as http://127.0.0.1:8080/v1")
    if "@" in parts.netloc:
        raise WrongValue("must hold no user or password: name the key's variable in api_key_env")
    if "?" in url or "#" in url:
        raise WrongValue("must be a base URL, without a query or a fragment")
    if any(c <= " " or c == "\x7f" for c in url):
        raise WrongValue("must hold no spaces or control characters")


def _check_store_url(url: str) -> None:
    problem = store_url.problem_of(url)
    if problem is not None:
        raise WrongValue(problem)


def _check_prefix(prefix: str) -> None:
    if re.fullmatch(PREFIX, prefix, re.ASCII) is None:
        raise WrongValue("must be 1 to 64 letters, digits, dots, colons, hyphens or underscores")


def _check_dialect(dialect: str) -> None:
    known = (*DIALECTS, *plugins.names("headwater.dialects"))
    if dialect not in known:
        raise WrongValue(f'must be one of {", ".join(known)}, not "{dialect[:40]}"')


def _check_key(key: str) -> None:
    # The message does not show it: it may be the key itself, written where its name belongs.
    if _KEY.fullmatch(key) is None:
        raise WrongValue(
            'must be "env:VAR", naming the variable that holds the key, or "sha256:HEX", the 64 hex'
            " digits of its SHA-256; a key itself does not belong in a file"
        )


def _check_route(route: tuple[str, ...]) -> None:
    if not route:
        raise WrongValue("must name at least one provider/model")
    for entry in route:
        provider, slash, model = entry.partition("/")
        if not (provider and slash and model):
            raise WrongValue(f'must hold provider/model entries, not "{entry[:60]}"')


def _check_after(after: str) -> None:
    # A number of the file comes here as "0.5s", which the environment may say too.
    seconds = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,6})?)s", after, re.ASCII)
    if re.fullmatch(r"p[1-9][0-9]?", after, re.ASCII) is None and not (
        seconds and float(seconds[1]) > 0
    ):
        raise WrongValue('must be a percentile from "p1" to "p99", or seconds such as 0.5')


def _check_hosts(hosts: tuple[str, ...]) -> None:
    for host in hosts:
        if not host or "/" in host or "*" in host or "@" in host:
            raise WrongValue(f'must hold host names such as app.example.com, not "{host[:60]}"')


def _check_origins(origins: tuple[str, ...]) -> None:
    for origin in origins:
        if re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@*\s]+", origin) is None:
            raise WrongValue(
                f'must hold origins such as https://app.example.com, not "{origin[:60]}"'
            )


def _check_networks(networks: tuple[str, ...]) -> None:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise WrongValue(
                f'must hold addresses or networks such as 10.0.0.0/8, not "{network[:60]}"'
            ) from None


def _check_globs(globs: tuple[str, ...]) -> None:
    if not all(globs):
        raise WrongValue('must hold names of models or globs such as "gpt-*"')


#: Checks by the path of a setting; `*` is a name that the user chooses.
CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "auth.*.key": _check_key,
    "auth.*.models": _check_globs,
    "server.upstream": _check_base_url,
    "server.allowed_hosts": _check_hosts,
    "server.cors_origins": _check_origins,
    "server.trusted_proxies": _check_networks,
    "store.url": _check_store_url,
    "store.prefix": _check_prefix,
    "providers.*.dialect": _check_dialect,
    "models.*.after": _check_after,
    "models.*.route": _check_route,
}
