"""What a wire is: how a stream is asked for, spoken, and told when it fails.

A wire is pure: request JSON in, `GenerationRequest` out; events in, bytes out. It knows neither
who generates nor who reads.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

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


PING = b": ping\n"


class WireOptions(msgspec.Struct, frozen=True):
    """What one request changes in the frames of its wire; a wire with options has a subclass.

    Its members are JSON, since a store keeps them. Equal options share their frames.
    """


class Schemas(msgspec.Struct, frozen=True):
    """Names of the schemas in the OpenAPI document: of a wire's request, answers and errors."""

    request: str
    whole: str
    frame: str = "Frame"
    error: str = "Error"


OptionsT = TypeVar("OptionsT", bound=WireOptions)


class Wire(ABC, Generic[OptionsT]):
    """One wire format: stateless. Every wire file has one instance, named `WIRE`."""

    #: By which `?wire=` and `wire=` find it.
    name: str
    #: The path where the server takes requests in this wire; None: it only reads in it.
    path: str | None = None
    #: Comment or event sent in silence.
    heartbeat: bytes = PING
    #: Headers beyond those of every SSE response.
    headers: Mapping[str, str] = {}
    #: Whether the head waits for the first upstream event, so that an SDK sees a status.
    waits_for_first: bool = False
    #: What happens to a stream without a reader unless its request says otherwise.
    on_disconnect: OnDisconnect = 30.0
    #: Whether `Accept: application/json` asks for the whole answer.
    whole_on_accept: bool = False
    #: The header, besides `X-Request-Id`, in which clients of this wire look for the request's id.
    request_id_header: bytes | None = None
    schemas: Schemas = Schemas("PromptRequest", "State")
    #: Options of a reader whose request was in another wire; their type is the wire's.
    defaults: OptionsT

    @abstractmethod
    def parse(self, body: JSON) -> GenerationRequest:
        """The request that a body in this wire's shape makes; `RequestError` where it is wrong."""

    def options(self, body: JSON) -> OptionsT:
        """The options of a body that `parse` has taken."""
        return self.defaults

    def chat(self, body: JSON) -> str | None:
        """The id of the chat that a body belongs to; None in a wire without chats."""
        return None

    @abstractmethod
    def fold(self, options: OptionsT) -> Fold:
        """A fold at the start of a log."""

    def whole(self, snapshot: Snapshot, options: OptionsT) -> JSON:
        """The answer to `stream: false`."""
        return snapshot.describe()

    def error(self, error: HeadwaterError, request_id: str) -> JSON:
        """The body of an error before the head."""
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

    def format(self, options: OptionsT | None = None) -> WireFormat:
        """The wire with these options, or with its defaults."""
        return WireFormat(self, self.defaults if options is None else options)


class WireFormat(msgspec.Struct, frozen=True):
    """A wire with the options of one request. Readers with equal formats share their frames."""

    wire: Wire[Any]
    options: WireOptions

    def fold(self) -> Fold:
        """A fold at the start of a log."""
        return self.wire.fold(self.options)

    def whole(self, snapshot: Snapshot) -> JSON:
        """The answer to `stream: false`."""
        return self.wire.whole(snapshot, self.options)


def with_id(id_line: bytes, frames: Sequence[bytes]) -> bytes:
    """The frames of one event, of which the last has its id."""
    if not frames:
        return b""
    return b"%s%s%s" % (b"".join(frames[:-1]), id_line, frames[-1])
