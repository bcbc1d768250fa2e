"""Opening a connection: addresses raced, proxies asked, certificates checked."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import aiohappyeyeballs

from headwater.errors import UpstreamError
from headwater.upstream.connection import Connection
from headwater.upstream.exchange import Origin

# RFC 8305, section 5: the recommended delay before the next address is tried.
_RACE_DELAY_S: Final = 0.25
# A proxy's answer to CONNECT is a status line and a few headers.
_MAX_CONNECT_HEAD: Final = 16 * 1024


class Dialler:
    """Connects to origins. TLS trusts the system's store, or `SSL_CERT_FILE`.

    For https origins `HTTPS_PROXY` (an http URL, perhaps with user and password) is used by
    CONNECT, unless `NO_PROXY` names the host. http origins are reached directly: they are local
    models and test servers.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls

    async def connect(self, origin: Origin, factory: Callable[[], Connection]) -> Connection:
        """A connection ready for a request; `UpstreamError` says why there is none."""
        try:
            return await self._connect(origin, factory)
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError(
                "upstream_error",
                f"The certificate of {origin.authority} is not trusted: {error.verify_message}. "
                "Name your authority's file in SSL_CERT_FILE if it is a private one.",
                retryable=False,
            ) from error
        except ssl.SSLError as error:
            raise UpstreamError(
                "upstream_error", f"TLS with {origin.authority} failed: {error.reason}."
            ) from error
        # UnicodeError: a label that is empty or too long never reaches the resolver.
        except (socket.gaierror, UnicodeError) as error:
            raise UpstreamError(
                "upstream_error", f"The name {origin.host} cannot be resolved."
            ) from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise UpstreamError(
                "upstream_error", f"No connection to {origin.authority}: {why}."
            ) from error

    async def _connect(self, origin: Origin, factory: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        if origin.scheme == "http" and _is_address(origin.host):
            _, plain = await loop.create_connection(factory, origin.host, origin.port)
            return plain
        proxy = _proxy(origin)
        if proxy is None:
            sock = await _open(origin.host, origin.port)
        else:
            sock = await _tunnel(proxy, origin)
        try:
            if origin.scheme == "http":
                _, connection = await loop.create_connection(factory, sock=sock)
            else:
                _, connection = await loop.create_connection(
                    factory, sock=sock, ssl=self._context(), server_hostname=origin.host
                )
        except BaseException:
            sock.close()
            raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if not self._tls.cert_store_stats()["x509_ca"] and not _system_store():
                import certifi

                self._tls.load_verify_locations(certifi.where())
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _system_store() -> bool:
    """Whether OpenSSL's own places hold certificates (a directory is read only when needed)."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _open(host: str, port: int) -> socket.socket:
    """A socket connected to the first address that answers."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=_RACE_DELAY_S, interleave=1, loop=loop
    )


def _proxy(origin: Origin) -> str | None:
    if origin.scheme != "https":
        return None
    # Here, since it costs as much to import as all of Headwater; typeshed lacks the second.
    from urllib.request import (  # type: ignore[attr-defined]
        getproxies_environment,
        proxy_bypass_environment,
    )

    proxies = getproxies_environment()
    url = proxies.get("https")
    if not url or proxy_bypass_environment(f"{origin.host}:{origin.port}", proxies):
        return None
    return url


async def _tunnel(proxy: str, origin: Origin) -> socket.socket:
    """A socket that the proxy has connected to `origin` (RFC 9110, section 9.3.6)."""
    parts, port = _proxy_address(proxy)
    authority = f"{f'[{origin.host}]' if ':' in origin.host else origin.host}:{origin.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
    loop = asyncio.get_running_loop()
    sock = await _open(parts.hostname or "", port)
    try:
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await _established(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _proxy_address(proxy: str) -> tuple[SplitResult, int]:
    wrong = UpstreamError(
        "upstream_error",
        "HTTPS_PROXY must be an http:// URL; other kinds of proxy are not supported.",
        retryable=False,
    )
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port = parts.port or 80
    except ValueError:  # its text may hold the proxy's password
        raise wrong from None
    if parts.scheme != "http" or not parts.hostname:
        raise wrong
    return parts, port


async def _established(sock: socket.socket) -> None:
    """Wait for the proxy's 2xx. Nothing may follow it: in TLS the client speaks first."""
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        part = await loop.sock_recv(sock, 4096)
        if not part or len(head) > _MAX_CONNECT_HEAD:
            raise UpstreamError("upstream_error", "The proxy closed the connection.")
        head += part
    status = head.split(None, 2)[1:2]
    if not status or not status[0].startswith(b"2"):
        code = status[0][:3].decode("latin-1") if status else "?"
        raise UpstreamError("upstream_error", f"The proxy refused the connection with HTTP {code}.")
