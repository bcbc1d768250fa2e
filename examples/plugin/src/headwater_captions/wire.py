"""The wire `captions`: each piece of text, and how many characters came before it."""

from __future__ import annotations

from headwater.events import Event, StreamEnd, StreamError, TextDelta
from headwater.wires.base import Fold, WireOptions, dump
from headwater.wires.prompt import PromptWire


class CaptionsFold(Fold):
    """It counts, so a resume must know what went before: its fold has a history."""

    def __init__(self) -> None:
        self._said = 0

    def step(self, event: Event, payload: bytes, id_line: bytes) -> bytes:
        match event:
            case TextDelta(text):
                frame = {"at": self._said, "text": text}
                self._said += len(text)
            case StreamEnd(reason):
                frame = {"at": self._said, "end": reason}
            case StreamError(_, message):
                frame = {"at": self._said, "error": message}
            case _:
                return b""  # the next frame's id covers it
        return b"%sdata: %s\n\n" % (id_line, dump(frame))


class CaptionsWire(PromptWire):
    """Asked for as the plain wire is."""

    name = "captions"

    def fold(self, options: WireOptions) -> Fold:
        return CaptionsFold()


WIRE = CaptionsWire()
