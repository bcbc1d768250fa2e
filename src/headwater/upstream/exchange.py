"""One request and its response, as the two sides see it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from headwater.errors import ConfigurationError, UpstreamError

_FORBIDDEN: Final = re.compile(r"[\r\n]|[^\0-\xff]")


class Origin(NamedTuple):
    """Where a connection goes."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


class Request(msgspec.Struct, frozen=True):
    """A request; `body` is sent with its Content-Length."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def split(self) -> tuple[Origin, str]:
        """The origin and the request target of `url`; `ConfigurationError` when it is not one."""
        return _split(self.url)

    def head(self, origin: Origin, target: str) -> bytes:
        """The request's head as bytes; `ConfigurationError` when a header cannot be sent."""
        lines = [
            f"{self.method} {target} HTTP/1.1",
            f"Host: {origin.authority}",
            f"Content-Length: {len(self.body)}",
            # Compressing would hold tokens back, and cost more than it saves on loopback or LAN.
            "Accept-Encoding: identity",
        ]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        # A key pasted with its line end is the usual cause. Its text is in no message.
        text = "\0".join(lines)
        if text.count("\0") >= len(lines) or _FORBIDDEN.search(text):
            raise ConfigurationError(
                "a header for an upstream holds a character that cannot be sent; look at its key"
            )
        return (text.replace("\0", "\r\n") + "\r\n\r\n").encode("latin-1")


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[Origin, str]:
    """A process asks few URLs, and asks them again and again."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{url!r} is not an http or https URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, parts.hostname, port), target


class ResponseReceiver(Protocol):
    """Whoever reads a response. Called from the read callback; must not block."""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """The status and the headers, names in lower case."""

    def on_data(self, data: bytes) -> None:
        """All of the body that one read of the socket brought."""

    def on_end(self, error: UpstreamError | None) -> None:
        """The body is whole, or the connection failed. Called once, and nothing after it."""


class _NullReceiver:
    """Whoever has left. Taking a receiver's place, it leaves no circle for the collector."""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        pass

    def on_data(self, data: bytes) -> None:
        pass

    def on_end(self, error: UpstreamError | None) -> None:
        pass


NULL_RECEIVER: Final[ResponseReceiver] = _NullReceiver()


class Carrier(Protocol):
    """The connection that an exchange is on."""

    def abort(self) -> None:
        """Close without waiting for anything."""

    def linger(self) -> None:
        """Nobody reads any more: be kept if the response ends soon, else close."""


class Exchange:
    """A request under way.

    `connected_at` is `time.monotonic()` when a connection was there, None until then.
    """

    __slots__ = (
        "_dial",
        "answered",
        "connected_at",
        "connection",
        "dialling",
        "head",
        "origin",
        "over",
        "receiver",
        "request",
        "reused",
        "target",
    )

    def __init__(
        self, request: Request, receiver: ResponseReceiver, dial: Callable[[Exchange], None]
    ) -> None:
        self.request = request
        self.receiver = receiver
        self._dial = dial
        self.origin, self.target = request.split()
        self.head = request.head(self.origin, self.target)
        self.connected_at: float | None = None
        self.connection: Carrier | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.answered = False  # a byte of the response has come
        self.reused = False
        self.over = False

    def lost(self, error: UpstreamError | None) -> None:
        """The connection has gone. A kept one that closed before it answered had been idle for too
        long; the request is sent once more, over a new connection.
        """
        self.connection = None
        if self.reused and not self.answered and not self.over:
            self._dial(self)
        else:
            self.end(error)

    def end(self, error: UpstreamError | None) -> None:
        """Tell the receiver, unless it has left or was told."""
        if not self.over:
            self.over = True
            receiver, self.receiver = self.receiver, NULL_RECEIVER
            receiver.on_end(error)

    def cancel(self) -> None:
        """Free the upstream at once; the receiver hears nothing more."""
        self.over = True
        self.receiver = NULL_RECEIVER
        if self.dialling is not None:
            self.dialling.cancel()
        if self.connection is not None:
            self.connection.abort()

    def release(self) -> None:
        """The receiver has all it wants; the connection is kept if the response ends by itself."""
        self.over = True
        self.receiver = NULL_RECEIVER
        if self.connection is not None:
            self.connection.linger()
