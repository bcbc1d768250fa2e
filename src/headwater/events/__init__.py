"""The vocabulary: what can happen in a response, one frozen type an event.

Providers make these from what an upstream sends; the log keeps them; wires speak them. Their JSON
is the native wire (PROTOCOL.md). Names are `<noun>-<action>`.

What one upstream event brought is one event here: never merged, never split.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

#: Of the stored form, in every stream's record. A type of event more does not change it: those that
#: do not know it read `Unknown`.
SCHEMA_VERSION = 1

FinishReason = Literal["stop", "length", "tool-calls", "content-filter", "cancelled"]

#: What ended a stream. docs/why-did-it-end.md explains each of them.
EndedBy = Literal[
    "provider",
    "caller",
    "unread",
    "revoked",
    "deadline",
    "size_limit",
    "shutdown",
    "process_lost",
    "process_stalled",
    "storage",
]

#: Why a stream that broke off was not continued: what follows `not_tried: ` in its `repair`.
NotTried = Literal[
    "final_error",
    "no_continuing_provider",
    "generator",
    "transform",
    "answer_format",
    "assistant_prefill",
    "not_text",
    "reasoning_only",
    "repaired_twice",
    "time_spent",
    "request_unavailable",
    "process_full",
    "unshared_store",
    "log_unwritable",
]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens the provider counted."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | UnsetType = UNSET
    cached_tokens: int | UnsetType = UNSET


class Tried(msgspec.Struct, frozen=True):
    """A `provider/model` that had no first token, and the code of its error."""

    route: str
    code: str


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """What two attempts used together, as far as they counted."""
    if one is None or other is None:
        return one or other
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        _sum(one.reasoning_tokens, other.reasoning_tokens),
        _sum(one.cached_tokens, other.cached_tokens),
    )


def _sum(one: int | UnsetType, other: int | UnsetType) -> int | UnsetType:
    numbers = [number for number in (one, other) if isinstance(number, int)]
    return sum(numbers) if numbers else UNSET


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds from the arrival of the request; None where the stage was not reached.

    `attempts` is how often a provider was asked; `route` who answered, where that was not the
    route's first choice; `tried` who failed before that, in order.
    """

    queue: float
    connect: float | None
    first_token: float | None
    total: float
    overhead: float
    attempts: int
    route: str | UnsetType = UNSET
    tried: tuple[Tried, ...] | UnsetType = UNSET


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    pass


class StreamStart(_Event, frozen=True, tag="stream-start"):
    """The first event of every log. `created` is Unix time in seconds."""

    stream: str
    model: str
    created: int


class TextDelta(_Event, frozen=True, tag="text-delta"):
    """A piece of the answer."""

    text: str


class ReasoningDelta(_Event, frozen=True, tag="reasoning-delta"):
    """A piece of what the model thought before it answered."""

    text: str


class RefusalDelta(_Event, frozen=True, tag="refusal-delta"):
    """A piece of a refusal, where the provider marks refusals."""

    text: str


class ToolCallStart(_Event, frozen=True, tag="tool-call-start"):
    """The model begins to call the tool `name`; `call` is the provider's id, or one of ours."""

    call: str
    name: str


class ToolCallDelta(_Event, frozen=True, tag="tool-call-delta"):
    """A raw fragment of the JSON of a call's arguments."""

    call: str
    arguments: str


class ToolCallEnd(_Event, frozen=True, tag="tool-call-end"):
    """The arguments of the call are whole."""

    call: str


class ToolResult(_Event, frozen=True, tag="tool-result"):
    """What a tool that ran beside the model answered."""

    call: str
    output: Any


class Citation(_Event, frozen=True, tag="source"):
    """A page that the answer rests on."""

    url: str
    title: str | None = None


class File(_Event, frozen=True, tag="file"):
    """A file the model made, as a URL or a data URL."""

    media_type: str
    url: str


class StepStart(_Event, frozen=True, tag="step-start"):
    """An agent begins one round of model and tools."""


class StepEnd(_Event, frozen=True, tag="step-end"):
    """An agent ends one round of model and tools."""


class Data(_Event, frozen=True, tag="data"):
    """Application data alongside the answer; transient data is not part of the message."""

    name: str
    value: Any
    transient: bool | UnsetType = UNSET


class ProviderData(_Event, frozen=True, tag="provider-data"):
    """What only this provider understands, kept verbatim and sent back on the next turn."""

    provider: str
    part: str
    value: Any


class StreamRepair(_Event, frozen=True, tag="stream-repair"):
    """A visible seam: after it, the text comes from another attempt."""

    reason: str
    from_: str = msgspec.field(name="from")


class StreamEnd(_Event, frozen=True, tag="stream-end"):
    """The terminal event of a response that ended as it should, or was cancelled.

    `ended_by` is an `EndedBy`, left out for the provider. A newer version may log other ones.
    """

    reason: FinishReason
    usage: Usage | None
    timing: Timing
    ended_by: str | UnsetType = UNSET


class StreamError(_Event, frozen=True, tag="stream-error"):
    """The terminal event of a response that failed. `code` is one of `headwater.errors.STATUS`.

    `timing` is None where the process that took the times is no more. `ended_by` is an `EndedBy`,
    left out for the provider; `repair` is `not_tried: REASON` (`NotTried`) or `failed: CODE`, left
    out where no text was cut off.
    """

    code: str
    message: str
    retryable: bool
    usage: Usage | None
    timing: Timing | None
    ended_by: str | UnsetType = UNSET
    repair: str | UnsetType = UNSET


class Unknown(_Event, frozen=True, tag="event-unknown"):
    """An event that a newer version has logged: the native wire says it as it is, others do not."""


Event = (
    StreamStart
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallDelta
    | ToolCallEnd
    | ToolResult
    | Citation
    | File
    | StepStart
    | StepEnd
    | Data
    | ProviderData
    | StreamRepair
    | StreamEnd
    | StreamError
    | Unknown
)

Terminal = StreamEnd | StreamError

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)

#: One event to the JSON that the log and the native wire hold, on one line.
encode = _encoder.encode
#: That JSON back to the event; `msgspec.ValidationError` when it is not one.
decode = _decoder.decode
_decode_lines = _decoder.decode_lines


def decode_lines(data: bytes) -> list[Event]:
    """Many events, one a line; `Unknown` for those of a newer version."""
    try:
        return _decode_lines(data)
    except msgspec.ValidationError:
        return [_decode_any(line) for line in data.split(b"\n")]


def _decode_any(data: bytes) -> Event:
    try:
        event: Event = decode(data)
    except msgspec.ValidationError:
        return Unknown()
    return event
