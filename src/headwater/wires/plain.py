"""The plain wire: what the simplest page reads.

`data: {"token": "…"}` for each piece of text, `data: {"error": "…"}` on failure, and always at
last `data: [DONE]`. Nothing else has a `data:` line.
"""

from __future__ import annotations

from headwater.events import Event, RefusalDelta, StreamEnd, StreamError, TextDelta
from headwater.wires.base import Fold, WireOptions, dump
from headwater.wires.prompt import PromptWire


class PlainFold(Fold):
    """Text and errors; all else makes no frame."""

    has_history = False

    def step(self, event: Event, payload: bytes, id_line: bytes) -> bytes:
        kind = type(event)
        if kind is TextDelta or kind is RefusalDelta:
            return b'%sdata: {"token": %s}\n\n' % (id_line, dump(event.text))  # type: ignore[union-attr]
        if kind is StreamEnd:
            return b"%sdata: [DONE]\n\n" % id_line
        if kind is StreamError:
            message = dump(event.message)  # type: ignore[union-attr]
            return b'data: {"error": %s}\n\n%sdata: [DONE]\n\n' % (message, id_line)
        return b""


class PlainWire(PromptWire):
    """`POST /stream`."""

    name = "plain"
    path = "/stream"

    def fold(self, options: WireOptions) -> Fold:
        return PlainFold()


WIRE = PlainWire()
