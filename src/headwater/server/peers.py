"""Which user of this machine is at the other end of a connection.

Source: sock_diag(7). The kernel looks up one socket by its addresses and gives its owner: about
20 µs, however many connections there are. Reading /proc/net/tcp takes longer with each of them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from functools import cached_property
from typing import Final

#: The key of a scope under which the server gives the connection's `Peer`.
PEER: Final = "headwater.peer"

#: An address and a port.
Address = tuple[str, int | None]

_SOCK_DIAG: Final = 4  # the netlink family
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_NO_COOKIE: Final = (0xFFFFFFFF, 0xFFFFFFFF)
# The states in which a client can await its response; the last two after it has shut down its
# writing side. A socket that its process has closed, and one in TIME-WAIT, are shown as root's.
_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2 = 1, 4, 5
_ALL_STATES: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_ID: Final = "HH16s16sIII"
_ASKED: Final = struct.Struct("=BBBxI")
# Ports and addresses are in network order, the rest in the machine's.
_SOCKET: Final = struct.Struct("=2s2s16s16sI2I")
_ANSWER: Final = struct.Struct("=BBxx48sIIIII")
# What the kernel shows for a user that the server's user namespace does not have.
_OVERFLOW_UID: Final = 65534


class Peer:
    """The other end of one connection; the kernel is asked once, when it is first needed."""

    def __init__(self, there: Address, here: Address) -> None:
        self._there = there
        self._here = here

    @cached_property
    def is_own_user(self) -> bool:
        """Whether the socket there belongs to the user that runs this process.

        False where that cannot be told: another network namespace, or no Linux.
        """
        own = os.geteuid() if hasattr(os, "geteuid") else _OVERFLOW_UID
        return own != _OVERFLOW_UID and owner_of(self._there, self._here) == own


def owner_of(local: Address, remote: Address) -> int | None:
    """The user id of the TCP socket with these addresses, in this network namespace.

    None when there is none, when its process has closed it, and where the kernel cannot be asked.
    """
    try:
        family, id_ = _socket_id(local, remote)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as netlink:
            netlink.send(_question(family, id_))
            return _owner(netlink.recv(4096, socket.MSG_DONTWAIT), id_)
    except (OSError, ValueError, AttributeError):  # AttributeError: no netlink on this system
        return None


def _socket_id(local: Address, remote: Address) -> tuple[int, bytes]:
    addresses = [_unmapped(host) for host, _ in (local, remote)]
    if len({len(packed) for packed in addresses}) != 1:
        raise ValueError("the two ends of a connection are of one family")
    family = socket.AF_INET if len(addresses[0]) == 4 else socket.AF_INET6
    ports = [(port or 0).to_bytes(2) for _, port in (local, remote)]
    return family, _SOCKET.pack(*ports, *addresses, 0, *_NO_COOKIE)


def _unmapped(host: str) -> bytes:
    """The address as its client's socket has it: a listener on [::] sees IPv4 as ::ffff:1.2.3.4."""
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).packed


def _question(family: int, id_: bytes) -> bytes:
    body = _ASKED.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + id_
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body


def _owner(answer: bytes, asked: bytes) -> int | None:
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None  # an error: mostly that there is no such socket
    _, state, id_, _, _, _, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    # Without such a connection the kernel gives a listener of that port, whose other end is zero.
    same = _ends(id_) == _ends(asked)
    awaits = state in (_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2)
    return int(uid) if same and awaits and inode else None


def _ends(id_: bytes) -> tuple[bytes, ...]:
    sport, dport, source, destination, *_ = _SOCKET.unpack(id_)
    return sport, dport, source, destination
