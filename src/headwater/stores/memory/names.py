"""Streams by what they have in common, in the order in which they began."""

from __future__ import annotations

from collections.abc import Hashable, Iterator


class Names:
    """The streams of each key: a principal, or a label. A key without a stream is not kept."""

    def __init__(self) -> None:
        # Dictionaries keep their order, and forget a stream without looking at the others.
        self._streams: dict[Hashable, dict[str, None]] = {}

    def add(self, key: Hashable, stream: str) -> None:
        """`stream` is the newest of this key."""
        self._streams.setdefault(key, {})[stream] = None

    def discard(self, key: Hashable, stream: str) -> None:
        """Forget the stream."""
        streams = self._streams.get(key, {})
        streams.pop(stream, None)
        if not streams:
            self._streams.pop(key, None)

    def newest(self, key: Hashable) -> Iterator[str]:
        """The streams of this key, newest first."""
        return reversed(self._streams.get(key, {}))

    def __len__(self) -> int:
        return len(self._streams)
