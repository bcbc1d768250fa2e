"""The folder beside the database: a socket for the notes to each process, and a lock that it holds.

The kernel frees the lock when the process dies, and only then. So the others can tell a process
whose event loop is held up from one that is gone.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

# The address of a socket has room for 103 bytes on some systems.
_LONGEST: Final = 100
# The last process that leaves removes the folder: one that enters meanwhile makes it again.
_TRIES: Final = 100
_LOCK: Final = ".lock"


class Folder:
    """Entered by each process of the database at `path`; `name` is kept in the database.

    The name cannot be guessed and only this user may enter: a process that can write here can stop
    streams. `problem` is why notes cannot come by datagram; `socket` then is None. Safe to use from
    any thread.
    """

    def __init__(self, database: Path, name: str, node: str) -> None:
        self.socket: socket.socket | None = None
        self.problem: str | None = None
        self._path = _beside(database.resolve(), name)
        self._node = node
        self._fd: int | None = None
        self._lock: int | None = None
        try:
            self._enter()
        except OSError as error:
            self.problem = error.strerror or str(error)

    def address(self, node: str) -> str:
        """Where notes to a process go; `OSError` where the folder is not there."""
        if self._fd is None:
            raise OSError(self.problem)
        path = f"{self._path}/{node}"
        if len(os.fsencode(path)) <= _LONGEST:
            return path
        return f"/proc/self/fd/{self._fd}/{node}"

    def is_there(self, node: str) -> bool | None:
        """Whether the process lives; None where that cannot be told."""
        import fcntl  # which not every system has

        if self._fd is None:
            return None
        try:
            lock = os.open(node + _LOCK, os.O_RDONLY, dir_fd=self._fd)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(lock)
        return False

    def leave(self) -> None:
        """Remove what this process has here, and the folder after the last one."""
        if self.socket is not None:
            self.socket.close()
        if self._fd is not None:
            self._forget(self._node)
            self._close()
            with suppress(OSError):  # others are still there
                self._path.rmdir()

    def _enter(self) -> None:
        for _ in range(_TRIES):
            with suppress(FileExistsError):
                self._path.mkdir(mode=0o700)
            try:
                self._fd = _opened(self._path)
                self._take_lock()
                break
            except FileNotFoundError:
                self._close()
        self._sweep()
        self._bind()

    def _take_lock(self) -> None:
        import fcntl

        # Under another name until it is held: a lock that is not held is a dead process's.
        mine = self._node + _LOCK
        self._lock = os.open(f".{mine}", os.O_CREAT | os.O_RDWR, 0o600, dir_fd=self._fd)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(f".{mine}", mine, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def _bind(self) -> None:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.bind(self.address(self._node))
        except OSError:
            bound.close()
            raise
        self.socket = bound

    def _close(self) -> None:
        for fd in (self._lock, self._fd):
            if fd is not None:
                os.close(fd)
        self._lock = self._fd = None

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        for path in self._path.iterdir():
            # One whose name begins with a dot is not held yet.
            if path.suffix == _LOCK and not path.name.startswith("."):
                node = path.name.removesuffix(_LOCK)
                if self.is_there(node) is False:
                    self._forget(node)

    def _forget(self, node: str) -> None:
        for name in (node, node + _LOCK):
            with suppress(OSError):
                os.unlink(name, dir_fd=self._fd)


def _beside(database: Path, name: str) -> Path:
    return database.with_name(f"{database.name}-{name}")


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        raise PermissionError(f"{path} is not this user's own folder")
    return fd
