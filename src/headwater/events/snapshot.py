"""A response as a whole: what its log says so far."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headwater import events as ev
from headwater.events.position import START, Position

Status = Literal["running", "done", "cancelled", "failed"]


#: A kind of text, or the call whose arguments come.
_Run = type[ev.TextDelta] | type[ev.ReasoningDelta] | type[ev.RefusalDelta] | str


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
    `error`, the `principal` and the `metadata` of the stream.
    """

    def __init__(self) -> None:
        self.stream = ""
        self.principal: str | None = None
        self.metadata: dict[str, str] = {}
        self.route: str | None = None
        self.position = START
        self.model = ""
        self.created = 0
        self.status: Status = "running"
        self.reason: ev.FinishReason | None = None
        self.usage: ev.Usage | None = None
        self.timing: ev.Timing | None = None
        self.error: Failure | None = None
        #: What ended the stream (`EndedBy`); None while it runs, and where an old log does not say.
        self.ended_by: str | None = None
        self._repair: str | None = None
        #: The seams: why, and from whom the text behind each of them is.
        self.repairs: list[dict[str, str]] = []
        #: Of the log, in bytes.
        self.size = 0
        #: Deltas that are part of the one before them in `events`.
        self.merged = 0
        self._events: list[ev.Event] = []
        # The delta that is being put together: what its events have in common, and their texts.
        self._run: _Run | None = None
        self._pieces: list[str] = []

    @property
    def events(self) -> list[ev.Event]:
        """All between the first event and the terminal one, adjacent deltas of one kind as one.

        A whole answer of 100,000 tokens then costs a wire no more than one of a few.
        """
        self._end_run()
        return self._events

    @property
    def repair(self) -> str | None:
        """What became of a text that was cut off; None where none was.

        `made`, `not_tried: REASON` (`NotTried`) or `failed: CODE`.
        """
        return self._repair or ("made" if self.repairs else None)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ev.TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ev.ReasoningDelta))

    @property
    def refusal(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, ev.RefusalDelta))

    @property
    def tool_calls(self) -> list[ToolCall]:
        calls: list[tuple[ev.ToolCallStart, list[str]]] = []
        latest: dict[str, list[str]] = {}
        for event in self.events:
            if isinstance(event, ev.ToolCallStart):
                pieces: list[str] = []
                latest[event.call] = pieces
                calls.append((event, pieces))
            elif isinstance(event, ev.ToolCallDelta) and event.call in latest:
                latest[event.call].append(event.arguments)
        return [ToolCall(start.call, start.name, "".join(pieces)) for start, pieces in calls]

    def know(
        self,
        stream: str,
        model: str,
        route: str | None,
        principal: str | None,
        metadata: dict[str, str] | None,
    ) -> None:
        """Take in what is known of the stream besides its log."""
        self.stream = self.stream or stream
        self.model = self.model or model
        self.route = self.route or route
        self.principal = principal
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
            "ended_by": self.ended_by,
            "repairs": self.repairs,
            "repair": self.repair,
            "metadata": self.metadata,
            "position": str(self.position),
        }

    def _end(self, usage: ev.Usage | None, timing: ev.Timing | None) -> None:
        self.usage, self.timing = usage, timing
        if timing is not None and timing.route:
            self.route = timing.route

    def add(self, event: ev.Event, position: Position) -> None:
        """Take in the next event of the log, which stands at `position`."""
        self.position = position
        match event:
            case ev.TextDelta(text) | ev.ReasoningDelta(text) | ev.RefusalDelta(text):
                self._gather(type(event), text)
                return
            case ev.ToolCallDelta(call, arguments):
                self._gather(call, arguments)
                return
            case ev.StreamRepair(reason, from_):
                self.repairs.append({"reason": reason, "from": from_})
            case ev.StreamStart(stream, model, created):
                self.stream, self.model, self.created = stream, model, created
            case ev.StreamEnd(reason, usage, timing, ended_by):
                self.status = "cancelled" if reason == "cancelled" else "done"
                self.reason = reason
                self.ended_by = ended_by or (None if reason == "cancelled" else "provider")
                self._end(usage, timing)
            case ev.StreamError(code, message, retryable, usage, timing, ended_by, repair):
                self.status = "failed"
                self.error = Failure(code, message, retryable)
                self.ended_by, self._repair = ended_by or "provider", repair or None
                self._end(usage, timing)
        if not isinstance(event, ev.StreamStart | ev.Terminal):
            self.events.append(event)

    def _gather(self, run: _Run, text: str) -> None:
        if run == self._run:
            self.merged += 1
        else:
            self._end_run()
            self._run = run
        self._pieces.append(text)

    def _end_run(self) -> None:
        run, text = self._run, "".join(self._pieces)
        if run is not None:
            event = ev.ToolCallDelta(run, text) if isinstance(run, str) else run(text)
            self._events.append(event)
            self._run, self._pieces = None, []
