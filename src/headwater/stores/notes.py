"""A note from one process to another, as one message; the same whatever carries it."""

from __future__ import annotations

from typing import Final, cast, get_args

from headwater.stores.base import Note

_NOTES: Final = frozenset(get_args(Note))


def write_note(note: Note, sender: str, stream: str) -> str:
    """Put a note into one message."""
    return f"{note} {sender} {stream}"


def read_note(message: bytes) -> tuple[Note, str, str] | None:
    """The note, the stream and the sender; None for a note of another version."""
    note, _, rest = message.decode(errors="replace").partition(" ")
    sender, _, stream = rest.partition(" ")
    return (cast(Note, note), stream, sender) if note in _NOTES else None
