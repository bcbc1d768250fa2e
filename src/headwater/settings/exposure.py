"""Whether a server with these settings may listen where they say."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from headwater.errors import ConfigurationError
from headwater.settings.schema import Settings


def check_exposure(settings: Settings, environ: Mapping[str, str] | None = None) -> None:
    """Refuse, with `ConfigurationError`, to serve beyond loopback without keys.

    A key of the form env:VAR whose variable is not set is refused too: the server would start and
    answer nobody, and an empty one would be a key that everybody has.
    """
    environ = os.environ if environ is None else environ
    host = settings.server.host
    if not settings.auth.keys and not is_loopback(host):
        raise ConfigurationError(
            f"refusing to listen on {host or 'all addresses'} without keys: whoever reaches it"
            " would spend yours. Set [auth.keys], or listen on 127.0.0.1"
        )
    for name, caller in settings.auth.keys.items():
        key = caller.key
        variable = key.removeprefix("env:")
        if key.startswith("env:") and not environ.get(variable, "").strip():
            raise ConfigurationError(
                f"auth.keys.{name}: the environment variable {variable} is not set"
            )


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
