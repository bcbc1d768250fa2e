"""A response as a whole: what its log says so far."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headwater import events as ev
from headwater.position import START, Position

Status = Literal["running", "done", "cancelled", "failed"]


class ToolCall(msgspec.Struct):
    """A call as far as it has come; `arguments` is raw JSON."""

    call: str
    name: str
    arguments: str = ""


class Failure(msgspec.Struct, frozen=True):
    """Why a response failed."""

    code: str
    message: str
    retryable: bool


class Snapshot:
    """A fold over the events of a log; `position` is that of the last event folded.

    What `on_end` is given, too: `text`, `reasoning`, `tool_calls`, `usage`, `timing`, `reason` or
    `error`, the `owner` and the `metadata` of the stream.
    """

    def __init__(self) -> None:
        self.stream = ""
        self.owner: str | None = None
        self.metadata: dict[str, str] = {}
        self.route: str | None = None
        self.position = START
        self.model = ""
        self.created = 0
        self.status: Status = "running"
        self.reason: ev.FinishReason | None = None
        self.tool_calls: list[ToolCall] = []
        self.usage: ev.Usage | None = None
        self.timing: ev.Timing | None = None
        self.error: Failure | None = None
        #: The seams: why, and from whom the text behind each of them is.
        self.repairs: list[dict[str, str]] = []
        #: Of the log, in bytes.
        self.size = 0
        #: All between the first event and the terminal one, for wires that say it in order.
        self.events: list[ev.Event] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        return "".join(self._refusal)

    def know(
        self,
        stream: str,
        model: str,
        route: str | None,
        owner: str | None,
        metadata: dict[str, str] | None,
    ) -> None:
        """Take in what is known of the stream besides its log."""
        self.stream = self.stream or stream
        self.model = self.model or model
        self.route = self.route or route
        self.owner = owner
        self.metadata = metadata or {}

    def describe(self) -> dict[str, Any]:
        """The state of the stream as `GET /v1/streams/{id}` shows it to a reader of JSON."""
        return {
            "stream": self.stream,
            "status": self.status,
            "model": self.model,
            "route": self.route,
            "text": self.text,
            "reasoning": self.reasoning,
            "tool_calls": self.tool_calls,
            "usage": self.usage,
            "timing": self.timing,
            "error": self.error,
            "repairs": self.repairs,
            "metadata": self.metadata,
            "position": str(self.position),
        }

    def _argue(self, call: str, arguments: str) -> None:
        for tool_call in reversed(self.tool_calls):
            if tool_call.call == call:
                tool_call.arguments += arguments
                return

    def _end(self, usage: ev.Usage | None, timing: ev.Timing | None) -> None:
        self.usage, self.timing = usage, timing
        if timing is not None and timing.route:
            self.route = timing.route

    def add(self, event: ev.Event, position: Position) -> None:
        """Take in the next event of the log, which stands at `position`."""
        self.position = position
        if not isinstance(event, ev.StreamStart | ev.Terminal):
            self.events.append(event)
        match event:
            case ev.TextDelta(text):
                self._text.append(text)
            case ev.ReasoningDelta(text):
                self._reasoning.append(text)
            case ev.RefusalDelta(text):
                self._refusal.append(text)
            case ev.ToolCallStart(call, name):
                self.tool_calls.append(ToolCall(call, name))
            case ev.ToolCallDelta(call, arguments):
                self._argue(call, arguments)
            case ev.StreamRepair(reason, from_):
                self.repairs.append({"reason": reason, "from": from_})
            case ev.StreamStart(stream, model, created):
                self.stream, self.model, self.created = stream, model, created
            case ev.StreamEnd(reason, usage, timing):
                self.status = "cancelled" if reason == "cancelled" else "done"
                self.reason = reason
                self._end(usage, timing)
            case ev.StreamError(code, message, retryable, usage, timing):
                self.status = "failed"
                self.error = Failure(code, message, retryable)
                self._end(usage, timing)
