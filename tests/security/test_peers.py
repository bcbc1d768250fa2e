"""The kernel says whose a connection is, and nothing else is taken for its answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from headwater.server import peers
from headwater.server.peers import Peer, owner_of
from tests.helpers.users import as_root
from tests.server.world import BOUND_S


def connected(host: str, family: int, to: str) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, 0))
        listener.listen()
        client = socket.create_connection((to, listener.getsockname()[1]), BOUND_S)
        return client, listener.accept()[0]


def ends(sock: socket.socket) -> tuple[peers.Address, peers.Address]:
    return sock.getpeername()[:2], sock.getsockname()[:2]


@pytest.mark.parametrize(
    ("host", "family", "to"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.1", socket.AF_INET, "localhost"),
        ("::1", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET6, "127.0.0.1"),  # which a listener on :: sees as ::ffff:127.0.0.1
    ],
)
def test_the_kernel_names_the_owner_of_a_connection(host: str, family: int, to: str) -> None:
    client, server = connected(host, family, to)
    with client, server:
        assert owner_of(*ends(server)) == os.geteuid()
        client.shutdown(socket.SHUT_WR)  # it still waits for its answer
        assert owner_of(*ends(server)) == os.geteuid()


def test_a_closed_socket_is_nobody_s() -> None:
    """The kernel shows it as root's, whichever user had it."""
    client, server = connected("127.0.0.1", socket.AF_INET, "127.0.0.1")
    with server:
        client.close()
        assert owner_of(*ends(server)) is None
    client, server = connected("127.0.0.1", socket.AF_INET, "127.0.0.1")
    addresses = ends(server)
    server.close()
    client.close()  # the server's end is in TIME-WAIT now
    assert owner_of(*addresses) is None
    assert owner_of(addresses[1], addresses[0]) is None


def test_a_listener_on_the_caller_s_port_is_not_the_caller() -> None:
    """The kernel gives it where there is no such connection any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert owner_of(listener.getsockname(), ("127.0.0.1", 1)) is None


@pytest.mark.system
@as_root
def test_a_peer_in_another_network_namespace_is_not_found() -> None:
    client, server = connected("127.0.0.1", socket.AF_INET, "127.0.0.1")
    with client, server:
        ask_there = "import sys; from headwater.server.peers import owner_of as o; "
        ask_there += f"print(o(*{ends(server)!r}))"
        for before, said in ((["unshare", "--net"], "None"), ([], "0")):
            ran = subprocess.run(
                [*before, sys.executable, "-c", ask_there],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            )
            assert ran.stdout.strip() == said


@pytest.mark.system
@as_root
def test_a_server_of_another_user_does_not_take_root_for_its_own() -> None:
    """`nginx` and the proxies of containers may run as root in front of a server that does not."""
    client, server = connected("127.0.0.1", socket.AF_INET, "127.0.0.1")
    with client, server:
        script = "import os; from headwater.server.peers import *; "
        script += f"os.seteuid(33); print(Peer(*{ends(server)!r}).is_own_user)"
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
        )
        assert ran.stdout.strip() == "False"


def test_the_kernel_is_asked_once_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(*addresses: object) -> int | None:
        asked.append(addresses)
        return None

    monkeypatch.setattr(peers, "owner_of", counted)
    peer = Peer(("127.0.0.1", 1), ("127.0.0.1", 2))
    assert asked == []
    assert [peer.is_own_user for _ in range(3)] == [False] * 3
    assert len(asked) == 1


def test_where_the_kernel_cannot_be_asked_the_token_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, server = connected("127.0.0.1", socket.AF_INET, "127.0.0.1")
    with client, server:
        addresses = ends(server)
        assert Peer(*addresses).is_own_user
        monkeypatch.delattr(socket, "AF_NETLINK")
        assert not Peer(*addresses).is_own_user
