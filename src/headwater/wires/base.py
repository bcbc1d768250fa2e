"""What a wire is: how a stream is asked for, spoken, and told when it fails.

A wire is pure: request JSON in, `GenerationRequest` out; events in, bytes out. It knows neither
who generates nor who reads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import Event
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest

#: "cancel", "continue", or the seconds for which a stream without a reader goes on.
OnDisconnect = Literal["cancel", "continue"] | float

JSON = dict[str, Any]

dump = msgspec.json.encode


class Fold:
    """One reader's view of a log: what it is sent depends on what went before.

    Resuming folds the events up to the reader's position in silence, so a fold must depend on
    nothing but the events and the options it was made with.
    """

    #: False for a wire whose frames depend on one event alone; a resume then skips the past.
    has_history: ClassVar[bool] = True

    def step(self, event: Event, payload: bytes, id_line: bytes) -> bytes:
        """The frames of one event, or b"".

        `payload` is the event as the log holds it. `id_line` is `id: EPOCH-SEQ` with its LF: it
        goes into the last frame; where there is none, the next frame's id covers this event.
        """
        raise NotImplementedError

    def render(
        self, epoch: int, seq: int, events: Sequence[Event], payloads: Sequence[bytes]
    ) -> bytes:
        """The frames of consecutive events, the first of which has the number `seq`.

        Epoch 0 is for an event that has no position: its frames have no id.
        """
        step = self.step
        if len(events) == 1:
            return step(events[0], payloads[0], b"id: %d-%d\n" % (epoch, seq) if epoch else b"")
        return b"".join(
            [
                step(event, payload, b"id: %d-%d\n" % (epoch, number))
                for number, (event, payload) in enumerate(zip(events, payloads, strict=True), seq)
            ]
        )

    def copy(self) -> Self:
        """The same fold, to go on by itself."""
        return copy.deepcopy(self)


class Wire(Protocol):
    """One wire, stateless; every wire file has one instance, named `WIRE`."""

    name: str
    #: Comment or event sent in silence.
    heartbeat: bytes
    #: Headers beyond those of every SSE response.
    headers: Mapping[str, str]
    #: Whether the head waits for the first upstream event, so that an SDK sees a status.
    waits_for_first: bool
    on_disconnect: OnDisconnect

    def parse(self, body: JSON) -> GenerationRequest:
        """The request that a body in this wire's shape makes; `RequestError` where it is wrong."""

    def options(self, body: JSON) -> tuple[Any, ...]:
        """What of the body changes the frames; hashable, as equal options share their frames."""

    def fold(self, options: tuple[Any, ...] = ()) -> Fold:
        """A fold at the start of a log."""

    def whole(self, snapshot: Snapshot, options: tuple[Any, ...] = ()) -> JSON:
        """The answer to `stream: false`."""

    def error(self, error: HeadwaterError, request_id: str) -> JSON:
        """The body of an error before the head."""


PING = b": ping\n"


def spoken(id_line: bytes, frames: Sequence[bytes]) -> bytes:
    """The frames of one event, of which the last has its id."""
    if not frames:
        return b""
    return b"%s%s%s" % (b"".join(frames[:-1]), id_line, frames[-1])


def error_body(error: HeadwaterError, request_id: str) -> JSON:
    """The error shape of every wire but Anthropic's."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "type": kind,
            "param": error.param,
            "request_id": request_id,
        }
    }
