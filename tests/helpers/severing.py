"""A TCP proxy that breaks connections: what a lift, a changed network or a restarted proxy does."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD = re.compile(rb"[A-Z]+ /\S* HTTP/1\.1\r\n")


@dataclass(eq=False)
class _Link:
    """A client's connection and ours to the server; `asked` is what the client sent last."""

    client: socket.socket
    server: socket.socket
    asked: bytes = b""

    def other(self, sock: socket.socket) -> socket.socket:
        return self.server if sock is self.client else self.client


@dataclass
class Severing:
    """Passes bytes between `port` and the server until told to cut."""

    target: int
    port: int = 0
    _links: list[_Link] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self, asked: bytes) -> int:
        """Break the connections whose last request holds `asked`; how many they were."""
        with self._lock:
            found = [link for link in self._links if asked in link.asked]
            for link in found:
                _break(link.client)
                _break(link.server)
                self._links.remove(link)
        return len(found)

    def run(self, listener: socket.socket, stop: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(stop, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is stop:
                        return self._close()
                    if key.fileobj is listener:
                        self._accept(listener, selector)
                    else:
                        self._pass_on(key.data, key.fileobj, selector)

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        client = listener.accept()[0]
        link = _Link(client, socket.create_connection(("127.0.0.1", self.target)))
        with self._lock:
            self._links.append(link)
        for sock in (link.client, link.server):
            selector.register(sock, selectors.EVENT_READ, link)

    def _pass_on(self, link: _Link, sock: object, selector: selectors.BaseSelector) -> None:
        assert isinstance(sock, socket.socket)
        data = b""
        with self._lock, contextlib.suppress(OSError):
            data = sock.recv(65536)
            if sock is link.client:
                # A browser sends head and body apart; the next head begins anew.
                link.asked = data if _HEAD.match(data) else link.asked + data
            link.other(sock).sendall(data)
        if not data:
            for end in (link.client, link.server):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(end)
                end.close()
            with self._lock, contextlib.suppress(ValueError):
                self._links.remove(link)

    def _close(self) -> None:
        for link in self._links:
            link.client.close()
            link.server.close()


@contextlib.contextmanager
def severing(target: int) -> Iterator[Severing]:
    """Run a proxy in front of a server on loopback."""
    proxy = Severing(target)
    stop, stopped = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, stop, stopped:
        proxy.port = listener.getsockname()[1]
        thread = threading.Thread(target=proxy.run, args=(listener, stopped), daemon=True)
        thread.start()
        yield proxy
        stop.sendall(b".")
        thread.join(10)
        assert not thread.is_alive()


def _break(sock: socket.socket) -> None:
    # The proxy's thread then reads an end and closes; lingering for no time makes that a reset.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
