"""Anthropic's Messages API: `POST {base_url}/messages`.

Sources: Anthropic's API reference, "Streaming messages", "Extended thinking" and "Citations".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from msgspec import structs

from headwater.errors import HeadwaterError
from headwater.events import (
    Citation,
    Event,
    FinishReason,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from headwater.generation import GenerationRequest, PartialText
from headwater.json_text import UNREADABLE
from headwater.providers.anthropic_request import VENDOR, message_body
from headwater.providers.base import Continuation
from headwater.providers.continuing import going_on
from headwater.providers.failures import http_failure
from headwater.providers.parser import StreamParser, counted, lenient, listed, url_of
from headwater.providers.text import made_call
from headwater.sse import Message
from headwater.upstream import Request

_REASONS: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content-filter",
}

# Only the members that are used: what is not named here is skipped without being built.


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None


class _Said(msgspec.Struct, gc=False):
    """A message of the stream, or with `content` an answer that was not streamed."""

    type: str | None = None
    index: int = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: _Said | None = None
    content: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    error: Any = None


class _Kind(msgspec.Struct, gc=False):
    type: str


_KINDS: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "message",
        "error",
    }
)
_decode: Final = msgspec.json.Decoder(_Said).decode


class MessagesParser(StreamParser):
    """Reads one streamed answer; without `message_stop` it was cut."""

    __slots__ = ("_counts", "_server", "_told")

    def __init__(self, provider: str, content_type: str) -> None:
        super().__init__(provider, content_type)
        self._counts = _Usage()
        self._told = ""  # why it stopped; only message_stop says that all of it came
        # Blocks of tools that ran at the provider, with the pieces of their input: kept whole.
        self._server: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        said: _Said | None
        try:
            said = _decode(message.data)
        except UNREADABLE:
            if message.data == b"[DONE]":  # of proxies that add it
                return
            self._lenient()
            said = lenient(message.data, _Said)
            kind = lenient(message.data, _Kind) if said is None else None
            if kind is not None and kind.type not in _KINDS:
                return  # of a later version, in a shape that we cannot know
        if said is None:
            self.unreadable(last)
            return
        self.empty = False
        if said.type == "content_block_delta" and said.delta is not None:
            self._delta(said.index, said.delta, events)
        elif said.type == "error" or said.error:
            self.fail_with(message.data)
        else:
            self._frame(said, events)

    def _frame(self, said: _Said, events: list[Event]) -> None:
        match said.type:
            case "message_start":
                self._count(said.message.usage if said.message else None)
            case "content_block_start":
                self._block(said.index, said.content_block or {}, events)
            case "content_block_stop":
                self._block_end(said.index, events)
            case "message_delta":
                self._count(said.usage)
                if said.delta is not None and said.delta.stop_reason is not None:
                    self._told = said.delta.stop_reason
            case "message_stop":
                self._finish(events)
            case "message":
                self._whole_answer(said, events)

    def _delta(self, index: int, delta: _Delta, events: list[Event]) -> None:
        if delta.text:
            if text := self._text("text", delta.text):
                events.append(TextDelta(text))
        elif delta.thinking:
            if text := self._text("reasoning", delta.thinking):
                events.append(ReasoningDelta(text))
        elif delta.partial_json:
            self._arguments(index, delta.partial_json, events)
        elif delta.signature:
            events.append(ProviderData(VENDOR, "signature", self._clean(delta.signature)))
        elif delta.citation:
            self._cite(self._clean(delta.citation), events)

    def _arguments(self, index: int, piece: str, events: list[Event]) -> None:
        if index in self._server:
            self._server[index][1].append(piece)
        elif index in self.open_calls and (piece := self._text(f"call {index}", piece)):
            events.append(ToolCallDelta(self.open_calls[index], piece))

    def _cite(self, citation: Any, events: list[Event]) -> None:
        if not isinstance(citation, dict):
            return
        events.append(ProviderData(VENDOR, "citation", citation))
        if page := url_of(citation):
            events.append(Citation(*page))

    def _block(self, index: int, block: dict[str, Any], events: list[Event]) -> None:
        """A block begins; what compatible servers put into it at once is not lost."""
        block = self._clean(block)
        match block.get("type"):
            case "text":
                for citation in listed(block.get("citations")):
                    self._cite(citation, events)
                if block.get("text"):
                    events.append(TextDelta(str(block["text"])))
            case "thinking":
                if block.get("thinking"):
                    events.append(ReasoningDelta(str(block["thinking"])))
                if block.get("signature"):
                    events.append(ProviderData(VENDOR, "signature", block["signature"]))
            case "redacted_thinking":
                events.append(ProviderData(VENDOR, "redacted_thinking", block.get("data")))
            case "tool_use":
                self.open_calls[index] = call = str(block.get("id") or made_call())
                events.append(ToolCallStart(call, str(block.get("name") or "")))
                if block.get("input"):
                    arguments = msgspec.json.encode(block["input"]).decode()
                    events.append(ToolCallDelta(call, arguments))
            case str():
                self._server[index] = (block, [])

    def _block_end(self, index: int, events: list[Event]) -> None:
        if index in self.open_calls:
            events.append(ToolCallEnd(self.open_calls.pop(index)))
        if index in self._server:
            block, pieces = self._server.pop(index)
            if pieces:
                block["input"] = self._clean(_input("".join(pieces)))
            events.append(ProviderData(VENDOR, "block", block))

    def _whole_answer(self, said: _Said, events: list[Event]) -> None:
        """What an upstream sends that ignored `stream: true`."""
        for index, block in enumerate(said.content or ()):
            self._block(index, block, events)
            self._block_end(index, events)
        self._count(said.usage)
        self._told = said.stop_reason or ""
        self._finish(events)

    def _finish(self, events: list[Event]) -> None:
        self.reason = _REASONS.get(self._told, "stop")
        self.close(events)

    def _count(self, usage: _Usage | None) -> None:
        """Later counts are cumulative, and leave out what has not changed."""
        if usage is None:
            return
        counts = self._counts
        for name in usage.__struct_fields__:
            if (value := getattr(usage, name)) is not None:
                setattr(counts, name, value)
        read, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
        details = counts.output_tokens_details
        # Anthropic counts what was read from its cache, or written to it, beside the input.
        self.usage = counted(
            (counts.input_tokens or 0) + (read or 0) + (written or 0),
            counts.output_tokens,
            details.thinking_tokens if details else None,
            read,
        )


def _input(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE:
        return {}


class Messages:
    """The dialect; `members` are what a request may have besides, sent as they are."""

    def __init__(self, members: Collection[str] = ()) -> None:
        self._members = members

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        return self._request(base_url, key, message_body(request, model, self._members))

    def continuation(
        self,
        base_url: str,
        key: str | None,
        request: GenerationRequest,
        model: str,
        said: PartialText,
    ) -> Continuation:
        # White space at the end of what it is to go on from is refused: it may come again.
        text = said.text.rstrip()
        given = structs.replace(said, text=text)
        body = message_body(going_on(request, given), model, self._members)
        return Continuation(self._request(base_url, key, body), said.text[len(text) :], whole=False)

    def _request(self, base_url: str, key: str | None, body: dict[str, Any]) -> Request:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "anthropic-version": "2023-06-01",
        }
        if key:
            headers["x-api-key"] = key
        return Request("POST", f"{base_url}/messages", headers, msgspec.json.encode(body))

    def parser(self, provider: str, content_type: str) -> MessagesParser:
        return MessagesParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)
