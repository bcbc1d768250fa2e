"""One request over a connection of its own, with the time of everything that comes back.

The standard library's client: it shows a body read by read and how it ended, follows no redirects
and adds nothing. What a browser would do in HTTP/2 is not measured; whether it could is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
import zlib
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from headwater.sse import Decoder, SSEError
from headwater.tools.doctor.measurement import Arrival, Measurement

_READ_BYTES: Final = 64 * 1024
_REFUSAL_BYTES: Final = 4 * 1024
# A probe is bounded by the server that sends it; a stream of somebody else's by this.
_MOST_EVENTS: Final = 20_000
# A server that cannot read a request answers at once.
_EDGE_S: Final = 3.0


class Ask(msgspec.Struct, frozen=True):
    """A request.

    `patience_s` bounds each wait for bytes; `most_s` is when to leave an answer that does not end.
    """

    url: str
    headers: dict[str, str]
    body: bytes | None = None
    patience_s: float = 30.0
    most_s: float = 4000.0


def read(ask: Ask) -> Measurement:
    """Ask, and read to the end. What fails is told in the measurement."""
    parts = urlsplit(ask.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _connection(parts, ask.patience_s)
    measured = Measurement(arrivals=[])
    began = time.perf_counter()
    try:
        method = "GET" if ask.body is None else "POST"
        connection.connect()
        # A proxy that finds a body too long answers before it is all there, and closes.
        with contextlib.suppress(ConnectionError):
            connection.request(method, target, ask.body, ask.headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        measured.failure = _reason(error)
        measured.end_at = time.perf_counter() - began
        return measured
    measured.status = response.status
    measured.version = "1.0" if response.version == 10 else "1.1"
    measured.headers = _headers(response)
    with contextlib.closing(connection), response:
        _body(response, measured, began, ask.most_s)
    measured.end_at = time.perf_counter() - began
    return measured


def edge(url: str) -> bytes:
    """What whoever is asked first answers to what is not HTTP: proxies have words of their own.

    Nothing where it does not answer.
    """
    parts = urlsplit(url)
    request = f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nthis is no header\r\n\r\n".encode()
    answer = b""
    with contextlib.suppress(OSError, ValueError), _socket(parts, ["http/1.1"]) as sock:
        sock.sendall(request)
        while len(answer) < _REFUSAL_BYTES and (part := sock.recv(_REFUSAL_BYTES)):
            answer += part
    return answer


def negotiated(url: str) -> str:
    """The protocol that a browser would be given: `h2`, `http/1.1`, or nothing when not known.

    Without TLS browsers speak HTTP/1.1.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "http/1.1"
    with contextlib.suppress(OSError, ValueError), _socket(parts, ["h2", "http/1.1"]) as sock:
        assert isinstance(sock, ssl.SSLSocket)  # noqa: S101 - for the type checker
        return sock.selected_alpn_protocol() or "http/1.1"
    return ""


def _connection(parts: SplitResult, patience_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=patience_s)
    return http.client.HTTPConnection(host, parts.port, timeout=patience_s)


def _socket(parts: SplitResult, protocols: list[str]) -> socket.socket:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    sock = socket.create_connection((parts.hostname or "", port), _EDGE_S)
    if parts.scheme != "https":
        return sock
    context = ssl.create_default_context()
    context.set_alpn_protocols(protocols)
    try:
        return context.wrap_socket(sock, server_hostname=parts.hostname)
    except BaseException:
        sock.close()
        raise


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _body(
    response: http.client.HTTPResponse, measured: Measurement, began: float, most_s: float
) -> None:
    if not measured.is_stream:
        with contextlib.suppress(OSError, http.client.HTTPException):
            measured.refusal = response.read(_REFUSAL_BYTES).decode(errors="replace")
        return
    decoder, inflate, size = Decoder(), _inflater(measured.encoding), 0
    try:
        while chunk := response.read1(_READ_BYTES):
            at = time.perf_counter() - began
            size += len(chunk)
            for message in decoder.feed(inflate(chunk)):
                measured.arrivals.append(Arrival(at, size, _object(message.data)))
            if at > most_s or len(measured.arrivals) > _MOST_EVENTS:
                return
        measured.ended = "cut" if response.length else "whole"
    except TimeoutError:
        measured.ended = "left"
    except (OSError, http.client.HTTPException, SSEError, zlib.error):
        measured.ended = "cut"


def _inflater(encoding: str) -> Any:
    if encoding in ("gzip", "deflate", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    # Of another coding only the times of its reads are known, and that it is there.
    return bytes


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
