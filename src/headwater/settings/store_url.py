"""`store.url`: checked before anything is opened, and never shown.

It may hold a password. A URL with `#` or `/` in its password is read as something else: parts of
the password become the host, the port or the database, and then stand in errors. So a URL that is
not exactly of its scheme's form is refused, with a message that holds nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from headwater.errors import ConfigurationError
from headwater.observe.shown import keep_secret

#: Schemes of Redis.
REDIS: Final = ("redis", "rediss", "unix")
EXAMPLES: Final = "memory://, sqlite:///headwater.db or redis://host/0"

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.ASCII)
_VARIABLE: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_ENCODE: Final = (
    "in its user and password write every character except letters, digits, '-', '.', '_' and '~' "
    "percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40, : is %3A, % is %25"
)


def problem_of(url: str) -> str | None:
    """What a URL or `env:VAR` must be instead, a clause such as "must be …"; None: it is right."""
    if _VARIABLE.fullmatch(url):
        return None
    match = _SCHEME.match(url)
    if match is None:
        return f"must be a URL such as {EXAMPLES}, or env:VAR for a URL in a variable"
    if any(c <= " " or c == "\x7f" for c in url):
        return "must hold no spaces or control characters: write them percent-encoded"
    scheme, rest = match[1], url[match.end() :]
    if scheme == "memory":
        return "must be memory:// and nothing behind it" if rest else None
    if scheme == "sqlite":
        return _sqlite(rest)
    return _redis(scheme, url) if scheme in REDIS else None


def resolved(url: str, environ: Mapping[str, str]) -> str:
    """The URL itself, out of its variable where it is `env:VAR`.

    `ConfigurationError`, which holds nothing of it, where it is not one.
    """
    where, variable = "store.url", _VARIABLE.fullmatch(url)
    if variable is not None:
        where = f"store.url: the environment variable {variable[1]}"
        url = environ.get(variable[1], "").strip()
        if not url or _VARIABLE.fullmatch(url):
            raise ConfigurationError(f"{where} must hold a URL such as {EXAMPLES}")
    problem = problem_of(url)
    if problem is not None:
        raise ConfigurationError(f"{where} {problem}")
    if password := urlsplit(url).password:
        keep_secret(password)
        keep_secret(unquote(password))
    return url


def sqlite_path(url: str) -> str:
    """The file of a right `sqlite:` URL."""
    # As SQLAlchemy has it: three slashes before a relative path, four before an absolute one.
    return unquote(url.removeprefix("sqlite:///"))


def _sqlite(rest: str) -> str | None:
    if not rest.startswith("/") or not unquote(rest[1:]) or "\0" in unquote(rest):
        return "must name a file: sqlite:///relative.db or sqlite:////absolute.db"
    return None


def _redis(scheme: str, url: str) -> str | None:
    form = "unix:///PATH?db=N" if scheme == "unix" else f"{scheme}://USER:PASSWORD@HOST:PORT/DB"
    wrong = f"must have the form {form}; {_ENCODE}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return wrong
    userinfo, _, address = parts.netloc.rpartition("@")
    right = (
        "#" not in url
        and userinfo.count(":") <= 1
        and re.search(r"%(?![0-9A-Fa-f]{2})", userinfo) is None
        and all(_OPTION.fullmatch(name) for name, _ in options)
    )
    if scheme == "unix":
        right = right and not address and len(parts.path) > 1
    else:
        right = right and bool(host) and re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) is not None
    return None if right else wrong
