"""Who stands between, as far as they give themselves away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

# A header that only one product writes, or what its header says: outermost evidence first.
_ANSWERED: Final = (
    ("cloudflare", "cf-ray", ""),
    ("cloudfront", "x-amz-cf-id", ""),
    ("cloudfront", "via", r"cloudfront"),
    ("cloudflare", "server", r"cloudflare"),
    ("alb", "server", r"awselb"),
    ("nginx", "server", r"nginx|openresty"),
    ("caddy", "server", r"Caddy"),
    ("caddy", "via", r"\bCaddy\b"),
    ("apache", "server", r"Apache"),
    ("nextjs", "x-powered-by", r"Next\.js"),
)
_ASKED: Final = (
    ("cloudflare", "cf-ray", ""),
    ("cloudflare", "cdn-loop", r"cloudflare"),
    ("cloudfront", "via", r"cloudfront"),
    ("alb", "x-amzn-trace-id", ""),
    ("caddy", "via", r"\bCaddy\b"),
)
# What each says to a request that it cannot read. It names whoever is asked first.
_REFUSED: Final = (
    ("cloudflare", rb"cloudflare"),
    ("alb", rb"awselb"),
    ("nginx", rb"<center>(nginx|openresty)|[Ss]erver: (nginx|openresty)"),
    ("haproxy", rb"Your browser sent an invalid request"),
    ("apache", rb"[Ss]erver: Apache|<address>Apache|Your browser sent a request that this server"),
    ("go", rb"HTTP/1\.1 400 Bad Request\r\nContent-Type: text/plain[^\r]*\r\nConnection: close"),
    ("headwater", rb'"code":"invalid_request"'),
)
#: How they are called.
NAMES: Final = {
    "nginx": "nginx",
    "caddy": "Caddy",
    "haproxy": "HAProxy",
    "apache": "Apache",
    "traefik": "Traefik",
    "cloudflare": "Cloudflare",
    "cloudfront": "CloudFront",
    "alb": "AWS ALB",
    "nextjs": "Next.js",
}


class Path(NamedTuple):
    """The way of a request: proxies that could be named, the outermost first, and how many there
    are at least; None where nothing tells.
    """

    names: tuple[str, ...]
    proxies: int | None

    @property
    def described(self) -> str:
        """The suspects, for a sentence."""
        named = " or ".join(NAMES[name] for name in self.names)
        return named or "a proxy that does not name itself"


def path(
    answered: Mapping[str, str], asked: Mapping[str, str] | None, refused: bytes = b""
) -> Path:
    """The way, from the head that came here, the head that came there, and the edge's refusal.

    `asked` is None where the server does not tell what it saw.
    """
    edge = next((name for name, words in _REFUSED if re.search(words, refused)), "")
    names: list[str] = []
    if edge in NAMES:
        names.append(edge)
    for table, headers in ((_ANSWERED, answered), (_ASKED, asked or {})):
        names += [name for name, header, words in table if _says(headers, header, words)]
    if edge == "go" and "x-forwarded-server" in (asked or {}) and "caddy" not in names:
        names.insert(0, "traefik")
    names = list(dict.fromkeys(names))
    return Path(tuple(names), _count(names, asked, direct=edge == "headwater"))


def _says(headers: Mapping[str, str], header: str, words: str) -> bool:
    return header in headers and re.search(words, headers[header]) is not None


def _count(names: list[str], asked: Mapping[str, str] | None, *, direct: bool) -> int | None:
    """Each proxy that says for whom it asks adds one address."""
    if asked is None:
        return len(names) or None
    forwarded = [each for each in asked.get("x-forwarded-for", "").split(",") if each.strip()]
    if not forwarded and not names:
        return 0 if direct else None
    return max(len(forwarded), len(names))
