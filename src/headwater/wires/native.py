"""The native wire: every event as the log holds it, one JSON object a `data:` line."""

from __future__ import annotations

from headwater.events import Event
from headwater.wires.base import Fold, Schemas, WireOptions
from headwater.wires.prompt import PromptWire


class NativeFold(Fold):
    """The stored form itself is the frame."""

    has_history = False

    def step(self, event: Event, payload: bytes, id_line: bytes) -> bytes:
        return b"%sdata: %s\n\n" % (id_line, payload)


class NativeWire(PromptWire):
    """`POST /v1/streams`."""

    name = "native"
    path = "/v1/streams"
    whole_on_accept = True
    schemas = Schemas("PromptRequest", "State", frame="NativeFrame")

    def fold(self, options: WireOptions) -> Fold:
        return NativeFold()


WIRE = NativeWire()
