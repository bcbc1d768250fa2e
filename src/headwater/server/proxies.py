"""What proxies say of a request, and which of them are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

#: The beginnings of names of headers that proxies and CDNs add: a request with one of them came
#: from elsewhere, whatever the address of its connection is.
_FORWARDING: Final = (
    "forwarded",
    "x-forwarded",
    "x-original-forwarded-",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "via",
    "cdn-loop",
    "true-client-ip",
    "cf-",
    "fastly-",
    "akamai-",
    "x-akamai-",
    "x-amz-cf-",
    "x-amzn-trace-id",
    "x-azure-",
    "x-arr-",
    "x-appengine-",
    "x-cloud-trace-context",
    "x-envoy-",
    "x-vercel-",
    "x-nf-",
    "fly-",
)


def is_forwarded(request: Request) -> bool:
    """Whether a proxy has left its mark. Without one it may still have come through a proxy."""
    return any(name.startswith(_FORWARDING) for name in request.headers)


class TrustedProxies:
    """The proxies of `server.trusted_proxies`; what all others say is not believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def is_secure(self, request: Request) -> bool:
        """Whether the caller's connection is encrypted, here or at a proxy that is trusted."""
        if request.url.scheme == "https":
            return True
        proto = request.headers.get("x-forwarded-proto", "")
        return self._trusts(_peer(request)) and _last(proto).lower() == "https"

    def address(self, request: Request) -> str:
        """The caller's address: the last that is not a trusted proxy's."""
        address = _peer(request)
        chain = request.headers.get("x-forwarded-for", "").split(",")
        while chain and self._trusts(address):
            address = chain.pop().strip() or address
        return address[:64]

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in self._networks)


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _last(values: str) -> str:
    """What the nearest proxy says: it adds to what came from elsewhere."""
    return values.rpartition(",")[2].strip()
