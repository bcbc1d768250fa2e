"""Streams over WSGI: an iterable that blocks for bytes, and notices when its reader has left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from headwater.adapters.asgi import HIGH_WATER, PIECE
from headwater.adapters.bridge import Bridge, Waiter
from headwater.adapters.bridged import Held
from headwater.adapters.sockets import ReaderSocket
from headwater.streams import Subscriber

# How often a silent reader's socket is looked at.
_LOOK_S: Final = 0.2


class WsgiSink:
    """What was written and not yet taken. Written to by the loop's thread, taken by the host's."""

    on_ready: Callable[[], None] | None = None

    def __init__(self, waiter: Waiter, socket: ReaderSocket) -> None:
        self.ended = False
        self.aborted = False
        self._waiter = waiter
        self._socket = socket
        # Pieces that the host has asked for, and whether it is sending the last: it asks for the
        # next when that is sent.
        self._asked = 0
        self._sending = False
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
        if self._sending:
            self._socket.cut()  # frees the host's thread, which waits for the reader
        self._waiter.wake()

    def taken(self) -> int | None:
        return (self._socket.acknowledged() or self._asked) if self._sending else None

    def make_room(self, size: int) -> None:
        """The host has taken so many bytes."""
        was_full = self._size >= HIGH_WATER
        self._size -= size
        if was_full and self._size < HIGH_WATER and self.on_ready is not None:
            self.on_ready()

    # in the host's

    def take(self) -> bytes:
        """The next piece; nothing when none is there."""
        self._asked += 1
        parts, size = [], 0
        while self._pending and size < PIECE:
            parts.append(self._pending.popleft())
            size += len(parts[-1])
        data = b"".join(parts)
        if size > PIECE:
            self._pending.appendleft(data[PIECE:])
            data = data[:PIECE]
        self._sending = bool(data)
        return data


class BridgedBody:
    """The body of a response whose host is not in the stream's loop; the host wakes by `waiter`.

    The host calls `close` when it is done, whether the reader took everything or not.
    """

    def __init__(self, bridge: Bridge, held: Held, waiter: Waiter, socket: ReaderSocket) -> None:
        self._loop = bridge.loop
        self._held = held
        self._waiter = waiter
        self._sink = WsgiSink(waiter, socket)
        self._closed = False
        self._subscriber: Subscriber | None = None
        self._loop.call_soon_threadsafe(self._begin)

    def take(self) -> bytes | None:
        """What is there; None when the response is over. `ConnectionError` when it was cut."""
        sink = self._sink
        ended = sink.ended  # read before what is pending: nothing is written after it
        data = sink.take()
        if data:
            self._loop.call_soon_threadsafe(sink.make_room, len(data))
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
            attach = reading.opened.reader(reading.format, reading.after)
            self._subscriber = attach(self._sink)
            self._held.hold.close()  # from here on the subscriber is what counts as a reader

    def _leave(self) -> None:
        if self._subscriber is not None:
            self._subscriber.leave()
        self._held.hold.close()
        self._waiter.close()


class WsgiBody:
    """What a WSGI server iterates."""

    def __init__(self, body: BridgedBody, waiter: Waiter, socket: ReaderSocket) -> None:
        self._body = body
        self._waiter = waiter
        self._socket = socket
        self._begun = False
        self.close = body.close

    def __del__(self) -> None:
        """Hosts do not close a response that middleware replaced."""
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
            if data is None or self._socket.gone():
                raise StopIteration
            self._waiter.wait(_LOOK_S)
