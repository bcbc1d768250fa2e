"""Ports of loopback."""

from __future__ import annotations

import socket
import time


def free_port() -> int:
    """One that nobody listens on; programs that are started at once might still collide."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def await_port(port: int, at_most_s: float = 10.0) -> bool:
    """Whether somebody has come to listen on it."""
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False
