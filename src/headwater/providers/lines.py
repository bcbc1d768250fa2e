"""JSON one object a line, framed as server-sent events are: bytes in, messages out."""

from __future__ import annotations

from headwater.sse import Message, SSEError
from headwater.sse.decoder import MAX_EVENT_BYTES


class LineDecoder:
    """Feed it what a read brought; it answers what that read completed.

    Its bound is that of an event, for the same reason; `SSEError` when a line exceeds it.
    """

    __slots__ = ("_max", "_partial", "_size")

    def __init__(self, *, max_line_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_line_bytes
        # Parts of a line without its end. Concatenating at every feed would cost O(n²).
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Message]:
        """The lines that `chunk` completed, empty ones apart."""
        *whole, rest = chunk.split(b"\n")
        messages: list[Message] = []
        for line in whole:
            self._hold(line, messages)
            self._dispatch(messages)
        self._hold(rest, messages)
        return messages

    def flush(self) -> Message | None:
        """A last line without its end."""
        messages: list[Message] = []
        self._dispatch(messages)
        return messages[0] if messages else None

    def _hold(self, part: bytes, messages: list[Message]) -> None:
        self._size += len(part)
        if self._size > self._max:
            raise SSEError(self._max, messages)
        if part:
            self._partial.append(part)

    def _dispatch(self, messages: list[Message]) -> None:
        line = b"".join(self._partial).strip()
        self._partial.clear()
        self._size = 0
        if line:
            messages.append(Message(line))
