"""Where a proxy listens, and where Headwater is behind it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec

# What may stand in a configuration unquoted: anything else could end a directive and begin
# another.
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9._*:\[\]-]+", re.ASCII)
_SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*", re.ASCII)

_KEYS: Final = """\
# Headwater takes a request that came through a proxy for one from the internet, since a proxy makes
# all of it look like 127.0.0.1: such a request gets 401 until headwater.toml says who may call,
# and by which name.
#
#   [server]
#   allowed_hosts = ["{host}"]
#   trusted_proxies = ["127.0.0.1"]    # where this proxy is: behind TLS the page's cookie is Secure
#
#   [auth.keys]
#   web = "env:HEADWATER_WEB_KEY"      # or, to spend your providers' keys on whoever comes:
#                                      # headwater serve --no-auth"""


class Site(msgspec.Struct, frozen=True):
    """Values that no configuration can be broken with.

    `name` is the host that browsers call, `_` for any; `address` where to listen, empty for
    everywhere, and `port`; `path` ends with a slash; `scheme`, `authority` and `base` (a path
    without its last slash) are Headwater's.
    """

    name: str
    address: str
    port: str
    path: str
    scheme: str
    authority: str
    base: str

    @property
    def any_name(self) -> bool:
        """Whether it answers to every name."""
        return self.name == "_"

    @property
    def host(self) -> str:
        """A name to show."""
        return "chat.example.com" if self.any_name else self.name

    @property
    def keys(self) -> str:
        """The comment on who may call, for the head of every configuration."""
        return _KEYS.format(host=self.host)

    @property
    def upstream_port(self) -> str:
        """Headwater's authority with its port, which not every proxy derives from the scheme."""
        if re.search(r":\d+$", self.authority):
            return self.authority
        return f"{self.authority}:{443 if self.scheme == 'https' else 80}"

    @property
    def upstream_host(self) -> str:
        """Headwater's name alone."""
        return self.upstream_port.rpartition(":")[0]


def site(*, server_name: str, upstream: str, path: str, listen: str) -> Site:
    """The options as a site; `click.UsageError` when a value would break out of its place."""
    for option, value in (("--server-name", server_name), ("--listen", listen)):
        if _SAFE_NAME.fullmatch(value) is None:
            raise click.BadOptionUsage(option, f"{option} is no name or address: {value}")
    if _SAFE_PATH.fullmatch(path) is None:
        raise click.BadOptionUsage("--path", f"--path must be a path such as /ai/: {path}")
    address, _, port = listen.rpartition(":")
    if not port.isdigit() or (address.count(":") and not address.startswith("[")):
        message = f"--listen is no name or address with a port, such as 127.0.0.1:8080: {listen}"
        raise click.BadOptionUsage("--listen", message)
    parts = urlsplit(upstream)
    right = parts.scheme in ("http", "https") and _SAFE_NAME.fullmatch(parts.netloc)
    if not right or parts.query or parts.fragment or not _SAFE_PATH.fullmatch(parts.path or "/"):
        raise click.BadOptionUsage(
            "--upstream", f"--upstream must be a URL such as http://127.0.0.1:8000: {upstream}"
        )
    return Site(
        name=server_name,
        address="" if address == "*" else address,
        port=port,
        path=path.rstrip("/") + "/",
        scheme=parts.scheme,
        authority=parts.netloc,
        base=parts.path.rstrip("/"),
    )
