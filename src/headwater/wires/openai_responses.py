"""OpenAI's Responses: frames and whole responses; requests are in `openai_responses_request`.

Source: the API reference's "Responses" and "Streaming events" pages. What an output has no item for
(results of tools that ran beside the model, files, data, steps, data of other providers) makes no
frame.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headwater import events as ev
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.wires.base import JSON, Fold, Schemas, Wire, WireOptions, dump, with_id
from headwater.wires.openai_responses_items import Items
from headwater.wires.openai_responses_request import PROVIDER, echoed, responses_request

#: What ends a response that is not complete, by our finish reason.
_INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "content-filter": "content_filter",
    "cancelled": "cancelled",
}
_TEXT: Final = (
    b"%sevent: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,%s,"delta":%s,'
    b'"logprobs":[]}\n\n'
)
# Members that SDKs take for granted, where the request said nothing of them.
_DEFAULTS: Final[JSON] = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}


def usage_json(usage: ev.Usage | None) -> JSON | None:
    """Usage in this wire's members."""
    if usage is None:
        return None
    reasoning, cached = usage.reasoning_tokens, usage.cached_tokens
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": cached if isinstance(cached, int) else 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": reasoning if isinstance(reasoning, int) else 0
        },
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


class ResponsesFold(Fold):
    """Numbers every frame; frames up to the number `after` are not said."""

    def __init__(self, echo: str = "", after: int = -1) -> None:
        self._echo = msgspec.json.decode(echo) if echo else {}
        self._after = after
        self._items = Items("")
        self._head: JSON | None = None
        #: Frames so far, said or not.
        self.count = 0

    def step(self, event: ev.Event, payload: bytes, id_line: bytes) -> bytes:
        place = self._items.text_place
        if type(event) is ev.TextDelta and place and self.count > self._after:
            self._items.pieces.append(event.text)
            self.count += 1
            return _TEXT % (id_line, self.count - 1, place, dump(event.text))
        frames = []
        for kind, members in self._members(event):
            if self.count > self._after:
                data = dump({"type": kind, "sequence_number": self.count, **members})
                frames.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), data))
            self.count += 1
        return with_id(id_line, frames)

    def response(self, status: str, output: list[JSON], **more: Any) -> JSON:
        """The response object; without the first event of the log it has no name."""
        return {
            **(self._head or {}),
            "status": status,
            "error": None,
            "incomplete_details": None,
            "output": output,
            **_DEFAULTS,
            **self._echo,
            "usage": None,
            **more,
        }

    def finished(self, reason: ev.FinishReason, usage: ev.Usage | None) -> JSON:
        """The response object at the end."""
        self._items.close_all()
        why = _INCOMPLETE.get(reason)
        status = "completed" if why is None else "incomplete"
        details = None if why is None else {"reason": why}
        return self.response(
            status, self._items.done, incomplete_details=details, usage=usage_json(usage)
        )

    def failed(self, code: str, message: str, usage: ev.Usage | None) -> JSON:
        """The response object of a failure."""
        self._items.close_all("incomplete")
        failure = {"code": code, "message": message}
        return self.response("failed", self._items.done, error=failure, usage=usage_json(usage))

    def so_far(self) -> JSON:
        """The response object of what still runs."""
        self._items.close_all()
        return self.response("in_progress", self._items.done)

    def _members(self, event: ev.Event) -> list[tuple[str, JSON]]:
        match event:
            case ev.StreamStart(stream, model, created):
                return self._begin(stream, model, created)
            case ev.TextDelta(text):
                return self._items.say("output_text", text)
            case ev.RefusalDelta(text):
                return self._items.say("refusal", text)
            case ev.ReasoningDelta(text):
                return self._items.think(text)
            case ev.ToolCallStart(call, name):
                return self._items.begin_call(call, name)
            case ev.ToolCallDelta(call, arguments):
                return self._items.argue(call, arguments)
            case ev.ToolCallEnd(call):
                return self._items.end_call(call)
            case ev.Citation(url, title):
                return self._items.cite(url, title)
            case ev.ProviderData(provider, part, value):
                mine = (provider, part) == (PROVIDER, "reasoning")
                return self._items.keep_reasoning(value) if mine else []
            case ev.StreamEnd(reason, usage, _):
                frames = self._items.close_all()
                response = self.finished(reason, usage)
                return [*frames, (f"response.{response['status']}", {"response": response})]
            case ev.StreamError():
                return self._fail(event)
        return []

    def _begin(self, stream: str, model: str, created: int) -> list[tuple[str, JSON]]:
        self._items = Items(stream)
        self._head = {
            "id": f"resp_{stream}",
            "object": "response",
            "created_at": created,
            "model": model,
        }
        begun = {"response": self.response("in_progress", [])}
        return [("response.created", begun), ("response.in_progress", begun)]

    def _fail(self, event: ev.StreamError) -> list[tuple[str, JSON]]:
        frames = self._items.close_all("incomplete")
        failure = {"code": event.code, "message": event.message, "param": None}
        frames.append(("error", failure))
        if self._head is not None:
            response = self.failed(event.code, event.message, event.usage)
            frames.append(("response.failed", {"response": response}))
        return frames


class ResponsesOptions(WireOptions, frozen=True):
    """`echo`: JSON of the request's members that its response repeats.

    `starting_after`: the number of the last event that the reader has; -1 for none.
    """

    echo: str = ""
    starting_after: int = -1


class ResponsesWire(Wire[ResponsesOptions]):
    """`POST /v1/responses`."""

    name = "responses"
    path = "/v1/responses"
    waits_for_first = True
    schemas = Schemas("ResponseRequest", "Response")
    defaults = ResponsesOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        return responses_request(body)

    def options(self, body: JSON) -> ResponsesOptions:
        return ResponsesOptions(dump(echoed(body)).decode())

    def fold(self, options: ResponsesOptions) -> ResponsesFold:
        return ResponsesFold(options.echo, options.starting_after)

    def whole(self, snapshot: Snapshot, options: ResponsesOptions) -> JSON:
        fold = self._folded(snapshot, options)
        if snapshot.status == "running":
            return fold.so_far()
        error, usage = snapshot.error, snapshot.usage
        if error is not None:
            return fold.failed(error.code, error.message, usage)
        return fold.finished(snapshot.reason or "stop", usage)

    def count(self, snapshot: Snapshot, options: ResponsesOptions) -> int:
        """How many events a reader of the whole log has been sent."""
        fold = self._folded(snapshot, options)
        error, usage = snapshot.error, snapshot.usage
        end: ev.Event | None = None
        if error is not None:
            end = ev.StreamError(error.code, error.message, error.retryable, usage, None)
        elif snapshot.reason is not None and snapshot.timing is not None:
            end = ev.StreamEnd(snapshot.reason, usage, snapshot.timing)
        if end is not None:
            fold.step(end, b"", b"")
        return fold.count + snapshot.merged  # each delta is an event

    def _folded(self, snapshot: Snapshot, options: ResponsesOptions) -> ResponsesFold:
        fold = self.fold(options)
        fold.step(ev.StreamStart(snapshot.stream, snapshot.model, snapshot.created), b"", b"")
        for event in snapshot.events:
            fold.step(event, b"", b"")
        return fold


WIRE = ResponsesWire()
