"""One dispatched event."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """What a stream dispatched at one blank line.

    `data` is UTF-8 as it arrived, its lines joined by LF: whoever reads JSON needs no `str`, and
    invalid bytes stay visible to whoever must judge them. `id` is the last event id in force.
    """

    data: bytes
    event: str = "message"
    id: str = ""
