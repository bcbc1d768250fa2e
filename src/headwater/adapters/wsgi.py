"""Streams over WSGI: an iterable that blocks for bytes, and notices when its reader has left."""

from __future__ import annotations

import _socket
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from headwater.adapters.asgi import HIGH_WATER
from headwater.adapters.bridge import Bridge, Waiter
from headwater.adapters.bridged import Held
from headwater.streams import Subscriber

# How often a silent reader's socket is looked at.
_LOOK_S: Final = 0.2

Environ = dict[str, Any]


class WsgiSink:
    """What was written and not yet taken. Written to by the loop's thread, taken by the host's."""

    on_ready: Callable[[], None] | None = None

    def __init__(self, waiter: Waiter) -> None:
        self.ended = False
        self.aborted = False
        self._waiter = waiter
        # Appending and taking are one atomic step each.
        self._pending: deque[bytes] = deque()
        self._size = 0

    # in the loop's thread

    def write(self, data: bytes) -> bool:
        self._pending.append(data)
        self._size += len(data)
        self._waiter.wake()
        return self._size < HIGH_WATER

    def close(self, data: bytes = b"") -> None:
        if data:
            self._pending.append(data)
        self.ended = True
        self._waiter.wake()

    def abort(self) -> None:
        self.aborted = True
        self._waiter.wake()

    def taken(self, size: int) -> None:
        """The host has taken so many bytes."""
        was_full = self._size >= HIGH_WATER
        self._size -= size
        if was_full and self._size < HIGH_WATER and self.on_ready is not None:
            self.on_ready()

    # in the host's

    def take(self) -> bytes:
        """Everything that is there."""
        parts = []
        while self._pending:
            parts.append(self._pending.popleft())
        return b"".join(parts)


class BridgedBody:
    """The body of a response whose host is not in the stream's loop; the host wakes by `waiter`.

    The host calls `close` when it is done, whether the reader took everything or not.
    """

    def __init__(self, bridge: Bridge, held: Held, waiter: Waiter) -> None:
        self._loop = bridge.loop
        self._held = held
        self._waiter = waiter
        self._sink = WsgiSink(waiter)
        self._closed = False
        self._subscriber: Subscriber | None = None
        self._loop.call_soon_threadsafe(self._begin)

    def take(self) -> bytes | None:
        """What is there; None when the response is over. `ConnectionError` when it was cut."""
        sink = self._sink
        ended = sink.ended  # read before what is pending: nothing is written after it
        data = sink.take()
        if data:
            self._loop.call_soon_threadsafe(sink.taken, len(data))
        elif sink.aborted:
            raise ConnectionError("the stream was cut")
        elif ended:
            return None
        return data

    def close(self) -> None:
        """The reader has everything, or has gone."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon_threadsafe(self._leave)

    def _begin(self) -> None:
        if not self._closed:
            reading = self._held.reading
            attach = reading.opened.reader(reading.wire, reading.options, reading.after)
            self._subscriber = attach(self._sink)

    def _leave(self) -> None:
        if self._subscriber is not None:
            self._subscriber.leave()
        self._held.hold.close()
        self._waiter.close()


class WsgiBody:
    """What a WSGI server iterates; `gone` says whether the reader has left."""

    def __init__(self, body: BridgedBody, waiter: Waiter, gone: Callable[[], bool]) -> None:
        self._body = body
        self._waiter = waiter
        self._gone = gone
        self._begun = False
        self.close = body.close

    def __del__(self) -> None:
        """No host closes a response that it has dropped for another."""
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._begun:
            # Most servers send the head with the first item, whatever is in it: a reader is to know
            # the stream's name before its first token.
            self._begun = True
            return b""
        while True:
            data = self._body.take()
            if data:
                return data
            if data is None or self._gone():
                raise StopIteration
            self._waiter.wait(_LOOK_S)


def reader_gone(environ: Environ) -> Callable[[], bool]:
    """A function that looks whether the reader has left, as far as the server lets one see.

    gunicorn, waitress and Flask's own server show the socket; elsewhere the next heartbeat that
    cannot be written ends the response.
    """
    sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if sock is None:
        # waitress's own answer stays "no" unless it was started with --channel-request-lookahead:
        # it does not look at a socket whose request is being answered. Its channel has the socket.
        asked = environ.get("waitress.client_disconnected")
        sock = getattr(getattr(asked, "__self__", None), "socket", None)
    if sock is None:
        return lambda: False
    return lambda: _closed_by_peer(sock)


def _closed_by_peer(sock: Any) -> bool:
    # The C type: under gevent the socket's own recv would wait whatever the flags say.
    try:
        raw = _socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
    except (OSError, ValueError):  # the server has closed it: its descriptor is -1
        return True
    try:
        return raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        raw.detach()
