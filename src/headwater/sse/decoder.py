"""Bytes to messages, at whatever boundaries the bytes come."""

from __future__ import annotations

from typing import Final

import msgspec

# A provider may send a generated image as one data URL of a few megabytes; nothing it sends as one
# event is larger than a whole stream may be.
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"


class Message(msgspec.Struct, frozen=True, gc=False):
    """What a stream dispatched at one blank line.

    `data` is UTF-8 as it arrived, its lines joined by LF: JSON is read without making a `str`, and
    invalid bytes stay visible to the code that judges them. `id` is the last event id in force.
    """

    data: bytes
    event: str = "message"
    id: str = ""


class SSEError(ValueError):
    """The stream broke the decoder's bound; `messages` are those that came before, of that feed."""

    def __init__(self, bound: int, messages: list[Message]) -> None:
        super().__init__(f"an event is longer than {bound} bytes")
        self.messages = messages


class Decoder:
    """Feed it what a read brought; it answers what that read completed.

    `comments` counts comment lines; `retry` is the last reconnection time in milliseconds;
    `last_event_id` is the id in force at the last blank line.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_head",
        "_id",
        "_max",
        "_partial",
        "_size",
        "comments",
        "last_event_id",
        "retry",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.comments = 0
        self.retry: int | None = None
        self.last_event_id = ""
        self._max = max_event_bytes
        self._size = 0  # of the event being collected, its unfinished line included
        self._head: bytes | None = b""  # the first bytes, until a BOM is ruled out; then None
        self._after_cr = False
        # Parts of a line without its end. Concatenating at every feed would cost O(n²).
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completed; `SSEError` when one event exceeds the bound."""
        if self._head is not None:
            chunk = self._strip_bom(chunk)
        if self._after_cr or b"\r" in chunk:
            chunk = self._only_lf(chunk)
        # What most reads bring: one event of one line, whole, with none begun before it. The way
        # below gives the same; this one spares a token half of the decoder's work.
        if (
            not self._size
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n") == len(chunk) - 2
            and len(chunk) - 2 <= self._max
        ):
            self.last_event_id = self._id
            return [Message(chunk[6:-2], "message", self._id)]
        cut = chunk.rfind(b"\n")
        if cut < 0:
            if chunk:
                self._hold(chunk, [])
            return []
        lines = chunk[:cut].split(b"\n")
        if self._partial:
            self._size -= sum(map(len, self._partial))
            self._partial.append(lines[0])
            lines[0] = b"".join(self._partial)
            self._partial.clear()
        messages = self._lines(lines)
        if cut + 1 < len(chunk):
            self._hold(chunk[cut + 1 :], messages)
        return messages

    def flush(self) -> Message | None:
        """The event that the end of the stream left without its blank line.

        The standard discards it; some providers end so, and their reader accepts it when its JSON
        is whole.
        """
        if self._head:
            self._hold(self._head, [])
            self._head = None
        line = b"".join(self._partial)
        self._partial.clear()
        self._size -= len(line)
        # The blank line completes the event, whether or not its last line was complete.
        messages = self._lines([line, b""] if line else [b""])
        return messages[0] if messages else None

    def _lines(self, lines: list[bytes]) -> list[Message]:
        messages: list[Message] = []
        for line in lines:
            if not line:
                self.last_event_id = self._id
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    messages.append(Message(data, self._event or "message", self._id))
                    self._data = []
                self._event = ""
                self._size = 0
                continue
            self._size += len(line)
            if self._size > self._max:
                raise SSEError(self._max, messages)
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._field(line)
        return messages

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name:
            self.comments += 1
            self._size -= len(line)  # nothing of it is kept
        elif name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        # Twenty digits are beyond any number of milliseconds; int() on more would be quadratic.
        elif name == b"retry" and value.isdigit() and len(value) <= 20:
            self.retry = int(value)

    def _hold(self, part: bytes, messages: list[Message]) -> None:
        self._size += len(part)
        if self._size > self._max:
            raise SSEError(self._max, messages)
        self._partial.append(part)

    def _strip_bom(self, chunk: bytes) -> bytes:
        head = (self._head or b"") + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _only_lf(self, chunk: bytes) -> bytes:
        # A CR at the end of a chunk ends its line at once; an LF that follows belongs to it.
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
            return self._only_lf(chunk) if chunk else b""
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
