"""Notes between the processes of one machine: datagrams, or rows where those do not arrive."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from headwater.stores.base import Note, OnNote, read_note, write_note
from headwater.stores.sqlite.folder import Folder

log = logging.getLogger("headwater.stores")

_LONGEST: Final = 512
# What one turn of the loop reads: a flood of notes must not hold the streams.
_AT_ONCE: Final = 256
# How long notes wait that go through the database: they go together, the same one once.
_POST_S: Final = 0.25
# How often the database is asked for notes by a process that gets no datagrams, or got one so.
_FETCH_S: Final = 0.25
_OFTEN_FOR_S: Final = 10.0
# A process that was not reached has renewed its lease by then, or is dead.
_AGAIN_S: Final = 2.0
# The other has not read what it was sent before: it will look by itself.
_FULL: Final = (errno.EAGAIN, errno.ENOBUFS)

#: A note that goes through the database: to which process, what, and of which stream.
Letter = tuple[str, Note, str]


class Channel:
    """Sends to the other processes by their name, and hears what they send to this one.

    `post` writes letters into the database and calls back with the processes that some went to, and
    when the leases of these end; `fetch` calls back with those for this process, and their senders.
    """

    def __init__(
        self,
        folder: Folder,
        node: str,
        on_note: OnNote,
        post: Callable[[Collection[Letter], Callable[[Mapping[str, float]], None]], None],
        fetch: Callable[[Callable[[Collection[Letter]], None]], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        self._node = node
        self._on_note = on_note
        self._post = post
        self._fetch = fetch
        self._letters: dict[Letter, str] = {}  # with the reason why it is one
        # Processes without datagrams, with the end of their lease when that was seen.
        self._unreached: dict[str, float] = {}
        self._posting: asyncio.TimerHandle | None = None
        self._fetching: asyncio.TimerHandle | None = None
        self._often_until = float("-inf")
        self._closed = False
        if folder.socket is not None:
            self._loop.add_reader(folder.socket.fileno(), self._hear)
        else:
            log.warning(
                "notes to this process come through the database, and late: %s", folder.problem
            )
            self._often_until = float("inf")

    def greet(self, nodes: Collection[str]) -> None:
        """See whether datagrams reach the processes that are there, and say where they do not."""
        for node in nodes:
            self._send(node, b"", (node, "wake", ""))

    def send(self, node: str, note: Note, stream: str) -> None:
        """Drop it when the other is not there, or has not read what it was sent before."""
        self._send(node, write_note(note, self._node, stream).encode(), (node, note, stream))

    def look(self) -> None:
        """Fetch what came through the database. Called every second at least."""
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        self._fetch(self._fetched)
        if self._loop.time() < self._often_until:
            self._fetching = self._loop.call_later(_FETCH_S, self.look)

    def close(self) -> None:
        """Hear nothing more."""
        self._closed = True
        for timer in (self._posting, self._fetching):
            if timer is not None:
                timer.cancel()
        if self._folder.socket is not None:
            self._loop.remove_reader(self._folder.socket.fileno())
        self._folder.leave()

    def _send(self, node: str, message: bytes, letter: Letter) -> None:
        if self._closed:
            return
        try:
            socket = self._folder.socket
            if socket is None:
                raise OSError(self._folder.problem)
            socket.sendto(message, self._folder.address(node))
        except OSError as error:
            if error.errno in _FULL:
                return
            self._letters[letter] = error.strerror or str(error)
            if self._posting is None:
                self._posting = self._loop.call_later(_POST_S, self._post_all)

    def _post_all(self) -> None:
        self._posting = None
        letters, self._letters = self._letters, {}
        reasons = {node: reason for (node, _, _), reason in letters.items()}

        def posted(leases: Mapping[str, float]) -> None:
            for node, ends in leases.items():
                self._judge(node, ends, reasons[node])

        self._post(letters, posted)

    def _judge(self, node: str, ends: float, reason: str) -> None:
        """Warn of a process that no datagram reaches, unless it has just died."""
        seen = self._unreached.setdefault(node, ends)
        if seen == ends:
            self._loop.call_later(_AGAIN_S, self.greet, (node,))
        elif seen < ends:
            self._unreached[node] = float("inf")
            log.warning("notes to process %s go through the database, and late: %s", node, reason)

    def _fetched(self, letters: Collection[Letter]) -> None:
        if not letters:
            return
        self._often_until = max(self._often_until, self._loop.time() + _OFTEN_FOR_S)
        if self._fetching is None:
            self._fetching = self._loop.call_later(_FETCH_S, self.look)
        for sender, note, stream in letters:
            self._on_note(note, stream, sender)

    def _hear(self) -> None:
        socket = self._folder.socket
        if socket is None:
            return
        for _ in range(_AT_ONCE):
            try:
                message = socket.recv(_LONGEST)
            except OSError:
                return
            note = read_note(message)
            if note is not None:
                self._on_note(*note)
