"""The socket behind a host's response: what its reader has taken, and how to cut it.

Neither ASGI nor WSGI can cut a reader that takes nothing: a host that closes a connection waits
until its last bytes are taken. The kernel can, and it knows what the reader has acknowledged.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self

# Of Linux's `struct tcp_info`, since 4.6: segments in flight, bytes acknowledged, bytes not sent.
_TCP_INFO: Final = struct.Struct("=24xI92xQ16xI")
# Close with a reset: the kernel would keep what the reader does not take, and probe for minutes.
_RESET: Final = struct.pack("ii", 1, 0)
# A scan takes 15 µs a descriptor: scans take at most one part in so many of the time.
_SCAN_SHARE: Final = 20

#: The addresses of both ends of a connection, host and port: the reader's first.
Ends = tuple[Any, Any]


class ReaderSocket:
    """One response's socket. Safe to use from any thread, after the host has closed it too.

    It holds a number and the addresses, no socket: the host alone decides when to close. Where the
    host hides its socket, the reader counts as present and `cut` does nothing.
    """

    def __init__(self, ends: Ends | None = None, fd: int | None = None) -> None:
        self._ends = ends
        self._fd = fd

    @classmethod
    def shown(cls, environ: Mapping[str, Any]) -> ReaderSocket:
        """The socket that gunicorn, waitress and Flask's own server put into a WSGI environ."""
        sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        if sock is None:
            # waitress's own answer stays "no" unless it was started with
            # --channel-request-lookahead: it does not look at a socket whose request is being
            # answered. Its channel has the socket.
            asked = environ.get("waitress.client_disconnected")
            sock = getattr(getattr(asked, "__self__", None), "socket", None)
        if sock is None:
            return cls()
        try:
            return cls((sock.getpeername(), sock.getsockname()), sock.fileno())
        except OSError:  # the reader has reset it already
            return cls(None, -1)

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> ReaderSocket:
        """The socket between the two addresses of an ASGI scope; looked for when it is needed."""
        client, server = scope.get("client"), scope.get("server")
        if not client or not server or server[1] is None:
            return cls()
        return cls((tuple(client), tuple(server)))

    def gone(self) -> bool:
        """Whether the reader has closed the connection, as far as the host lets one see."""
        if self._fd is None:
            return False
        with self._opened() as sock:
            try:
                return sock is None or not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True

    def acknowledged(self) -> int:
        """Bytes that the reader's kernel has acknowledged; 0 where that cannot be seen."""
        with self._opened() as sock:
            sent = None if sock is None else Sent.of(sock)
            return 0 if sent is None else sent.acknowledged

    def cut(self) -> bool:
        """Cut the connection, whatever is still to be sent; False where its socket is hidden.

        The host hears of it as of a reader that has left.
        """
        with self._opened() as sock:
            if sock is None:
                return False
            with contextlib.suppress(OSError):
                reset_at_close(sock)
                sock.shutdown(socket.SHUT_RDWR)
            return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_socket.socket | None]:
        """A duplicate of the host's socket: its number may be another's by now."""
        if self._fd is None and self._ends is not None:
            self._fd = _scan().get(self._ends)
        sock = _duplicate(-1 if self._fd is None else self._fd)
        try:
            same = sock is not None and _short(_ends(sock)) == _short(self._ends)
            yield sock if same else None
        finally:
            if sock is not None:
                sock.close()


class Sent(NamedTuple):
    """What the kernel knows of the bytes that it was given for a connection."""

    acknowledged: int
    waiting: bool  # some are not acknowledged yet

    @classmethod
    def of(cls, sock: Any) -> Self | None:
        """None where the system does not say, and of a socket that is closed or no TCP."""
        if sock is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            in_flight, acknowledged, not_sent = _TCP_INFO.unpack(info)
        except (OSError, struct.error):
            return None
        return cls(acknowledged, bool(in_flight or not_sent))


def reset_at_close(sock: Any) -> None:
    """Drop what is not sent when the socket is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _duplicate(fd: int) -> _socket.socket | None:
    # The C type: under gevent a socket's own methods would wait whatever the flags say.
    try:
        fd = os.dup(fd)
    except OSError:
        return None
    try:
        return _socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None


def _ends(sock: _socket.socket) -> Ends | None:
    try:
        return sock.getpeername(), sock.getsockname()
    except OSError:
        return None


def _short(ends: Ends | None) -> Ends | None:
    """Host and port alone: the kernel adds a flow and a scope to IPv6 addresses, ASGI does not."""
    if ends is None:
        return None
    peer, local = ends
    return (
        peer[:2] if isinstance(peer, tuple) else peer,
        local[:2] if isinstance(local, tuple) else local,
    )


_found: dict[Ends | None, int] = {}
_scan_again_at = 0.0


def _scan() -> dict[Ends | None, int]:
    """The descriptors of this process's connections by their ends, as of a moment ago."""
    global _found, _scan_again_at
    began = time.monotonic()
    if began < _scan_again_at:
        return _found
    found: dict[Ends | None, int] = {}
    for name in _descriptors():
        try:
            sock = _socket.socket(fileno=int(name))
        except OSError:  # no socket
            continue
        try:
            found[_short(_ends(sock))] = sock.fileno()
        finally:
            sock.detach()  # else the host's descriptor would be closed with this object
    found.pop(None, None)
    now = time.monotonic()
    _found, _scan_again_at = found, now + _SCAN_SHARE * (now - began)
    return found


def _descriptors() -> list[str]:
    try:
        return os.listdir("/dev/fd")  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
