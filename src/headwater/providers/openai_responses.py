"""OpenAI Responses: `POST {base_url}/responses`.

Sources: OpenAI's API reference, "Responses" and "Streaming events"; its guide "Conversation state"
(reasoning items go back as they came).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError
from headwater.events import (
    Citation,
    Event,
    File,
    FinishReason,
    ProviderData,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE
from headwater.providers.failures import http_failure
from headwater.providers.openai_responses_request import VENDOR, response_body
from headwater.providers.parser import StreamParser, counted, lenient, listed, url_of
from headwater.providers.text import made_call
from headwater.sse import Message
from headwater.upstream import Request

_INCOMPLETE: Final[dict[str, FinishReason]] = {
    "max_output_tokens": "length",
    "content_filter": "content-filter",
}

# Only the members that are used: what is not named here is skipped without being built.


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Reason(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    usage: _Usage | None = None
    incomplete_details: _Reason | None = None
    error: Any = None


class _Delta(msgspec.Struct, gc=False):
    """What most events bring: a piece of text."""

    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None


class _Said(msgspec.Struct, gc=False):
    """Any other event."""

    output_index: int = 0
    item: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    response: _Response | None = None


class _Whole(msgspec.Struct, gc=False):
    """A response that was not streamed."""

    object: str | None = None
    status: str | None = None
    output: list[dict[str, Any]] = []
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Delta).decode
_decode_other: Final = msgspec.json.Decoder(_Said).decode
_NAMED: Final = frozenset(
    {
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.annotation.added",
        "response.completed",
        "response.incomplete",
    }
)
_PIECES: Final[dict[str, tuple[str, type[TextDelta | RefusalDelta | ReasoningDelta]]]] = {
    "response.output_text.delta": ("text", TextDelta),
    "response.refusal.delta": ("refusal", RefusalDelta),
    "response.reasoning_summary_text.delta": ("reasoning", ReasoningDelta),
    "response.reasoning_text.delta": ("reasoning", ReasoningDelta),
}


class ResponsesParser(StreamParser):
    """Reads one streamed response; without its last event it was cut."""

    __slots__ = ("_called", "_told")

    def __init__(self, provider: str, content_type: str) -> None:
        super().__init__(provider, content_type)
        self._called = False
        self._told: set[int] = set()  # outputs of which pieces came

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        said: _Delta | None
        try:
            said = _decode(message.data)
        except UNREADABLE:
            if message.data == b"[DONE]":  # of servers that follow Chat Completions in it
                return
            self._lenient()
            said = lenient(message.data, _Delta)
        if said is None:
            self.unreadable(last)
            return
        self.empty = False
        piece = _PIECES.get(said.type)
        if piece is None:
            self._event(said, message, events)
        elif isinstance(said.delta, str) and said.delta:
            self._told.add(said.output_index)
            if text := self._text(piece[0], said.delta):
                events.append(piece[1](text))

    def _event(self, said: _Delta, message: Message, events: list[Event]) -> None:
        match said.type:
            case "response.function_call_arguments.delta":
                self._arguments(said.output_index, said.delta, events)
            case "response.reasoning_summary_part.added":
                if said.summary_index:
                    events.append(ReasoningDelta("\n\n"))
            case "error" | "response.failed" | "response.cancelled":
                self.fail_with(message.data)
            case "":
                self._untyped(message, events)
            case kind if kind in _NAMED:
                self._named(kind, message.data, events)

    def _named(self, kind: str, data: bytes, events: list[Event]) -> None:
        try:
            said: _Said | None = _decode_other(data)
        except UNREADABLE:
            said = lenient(data, _Said)
            if said is not None:
                said.item, said.annotation = self._clean((said.item, said.annotation))
        if said is None:
            self.unreadable(last=False)
            return
        match kind:
            case "response.output_item.added":
                self._begins(said.output_index, said.item or {}, events)
            case "response.output_item.done":
                self._done(said.output_index, said.item or {}, events)
            case "response.output_text.annotation.added":
                self._cite(said.annotation or {}, events)
            case _:
                self._finish(said.response or _Response(), kind, events)

    def _begins(self, index: int, item: dict[str, Any], events: list[Event]) -> None:
        if item.get("type") == "function_call" and index not in self.open_calls:
            self._called = True
            call = self.open_calls[index] = str(
                item.get("call_id") or item.get("id") or made_call()
            )
            events.append(ToolCallStart(call, str(item.get("name") or "")))

    def _arguments(self, index: int, piece: Any, events: list[Event]) -> None:
        if index in self.open_calls and isinstance(piece, str) and piece:
            self._told.add(index)
            if piece := self._text(f"call {index}", piece):
                events.append(ToolCallDelta(self.open_calls[index], piece))

    def _done(self, index: int, item: dict[str, Any], events: list[Event]) -> None:
        """An output is whole: what of it came in no piece is told now."""
        match item.get("type"):
            case "message":
                if index not in self._told:
                    self._whole_message(item, events)
            case "function_call":
                self._begins(index, item, events)
                if index not in self._told:
                    self._arguments(index, item.get("arguments"), events)
                events.append(ToolCallEnd(self.open_calls.pop(index)))
            case "reasoning":
                events.append(ProviderData(VENDOR, "reasoning", item))
            case "image_generation_call":
                if isinstance(item.get("result"), str):
                    media_type = f"image/{item.get('output_format') or 'png'}"
                    events.append(File(media_type, f"data:{media_type};base64,{item['result']}"))
            case str():  # a tool that ran at the provider
                events.append(ProviderData(VENDOR, "item", item))

    def _whole_message(self, item: dict[str, Any], events: list[Event]) -> None:
        for part in listed(item.get("content")):
            match part:
                case {"type": "output_text", "text": str(text)} if text:
                    events.append(TextDelta(text))
                    for annotation in listed(part.get("annotations")):
                        self._cite(annotation, events)
                case {"type": "refusal", "refusal": str(text)} if text:
                    events.append(RefusalDelta(text))

    def _cite(self, annotation: Any, events: list[Event]) -> None:
        if isinstance(annotation, dict) and (page := url_of(annotation)):
            events.append(Citation(*page))

    def _untyped(self, message: Message, events: list[Event]) -> None:
        """An error in the shape of Chat Completions, or a response that was not streamed."""
        whole = lenient(message.data, _Whole)
        if whole is None or whole.error or whole.status in ("failed", "cancelled"):
            self.fail_with(message.data)
        elif whole.object == "response":
            for index, item in enumerate(self._clean(whole.output)):
                self._done(index, item, events)
            response = lenient(message.data, _Response)
            self._finish(response or _Response(), f"response.{whole.status}", events)

    def _finish(self, response: _Response, kind: str, events: list[Event]) -> None:
        if (usage := response.usage) is not None:
            asked = usage.input_tokens_details or _Details()
            answered = usage.output_tokens_details or _Details()
            self.usage = counted(
                usage.input_tokens,
                usage.output_tokens,
                answered.reasoning_tokens,
                asked.cached_tokens,
            )
        if kind == "response.incomplete":
            why = response.incomplete_details or _Reason()
            self.reason = _INCOMPLETE.get(why.reason or "", "length")
        else:
            self.reason = "tool-calls" if self._called else "stop"
        self.close(events)


class Responses:
    """The dialect; `members` are what a request may have besides, sent as they are."""

    def __init__(self, members: Collection[str] = ()) -> None:
        self._members = members

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        body = msgspec.json.encode(response_body(request, model, self._members))
        return Request("POST", f"{base_url}/responses", headers, body)

    def parser(self, provider: str, content_type: str) -> ResponsesParser:
        return ResponsesParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)
