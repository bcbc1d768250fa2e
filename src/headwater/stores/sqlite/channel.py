"""Notes between the processes of one machine: a datagram socket each."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater.errors import StorageError
from headwater.stores.base import Note, OnNote
from headwater.stores.notes import read_note, write_note

_LONGEST: Final = 512
# What one turn of the loop reads: a flood of notes must not hold the streams.
_AT_ONCE: Final = 256


class Channel:
    """Sends to the others by their name, and hears what they send to ours."""

    def __init__(self, database: Path, node: str, on_note: OnNote) -> None:
        self._loop = asyncio.get_running_loop()
        self._node = node
        self._on_note = on_note
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._folder = self._bound(database)
        self._loop.add_reader(self._socket.fileno(), self._hear)

    def send(self, node: str, note: Note, stream: str) -> None:
        """Drop it when the other is not there, or has not read what it was sent before."""
        with suppress(OSError):
            message = write_note(note, self._node, stream).encode()
            self._socket.sendto(message, str(self._folder / node))

    def forget(self, node: str) -> None:
        """The process is no more: remove what it left."""
        (self._folder / node).unlink(missing_ok=True)

    def close(self) -> None:
        """Hear nothing more."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self.forget(self._node)
        with suppress(OSError):  # others are still there
            self._folder.rmdir()

    def _bound(self, database: Path) -> Path:
        """The folder in which our socket has its name."""
        while True:
            folder = _folder(database)
            with suppress(FileNotFoundError):  # whoever was last has just taken it away
                self._socket.bind(str(folder / self._node))
                return folder

    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                message = self._socket.recv(_LONGEST)
            except OSError:
                return
            note = read_note(message)
            if note is not None:
                self._on_note(*note)


def _folder(database: Path) -> Path:
    """A short path, since the address of a socket has room for a hundred bytes, that only this
    user can enter: whoever can write there can stop streams.
    """
    name = hashlib.sha256(os.fsencode(database.resolve())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"headwater-{os.getuid()}-{name}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise StorageError("store_unavailable", f"{folder} is not this user's own folder.")
    return folder
