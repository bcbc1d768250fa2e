"""OpenAI Chat Completions, as OpenAI and the many who follow it really send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import (
    Event,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from headwater.generation import GenerationRequest
from headwater.providers.chat_chunk import (
    Choice,
    Chunk,
    ToolCall,
    decode,
    decode_leniently,
    usage_of,
)
from headwater.providers.failures import http_failure
from headwater.providers.reading import UNREADABLE, StreamParser
from headwater.sse import Message
from headwater.upstream import Request

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}


class ChatCompletionsParser(StreamParser):
    """Reads one streamed answer. Source: OpenAI's API reference, "Streaming"."""

    __slots__ = ()

    def _message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        if message.data == b"[DONE]":
            self._reason = self._reason or "stop"
            self._close(events)
            return
        try:
            chunk: Chunk | None = decode(message.data)
        except UNREADABLE:
            self._lenient()
            chunk = decode_leniently(message.data)
        if chunk is None:
            self._unreadable(last)
            return
        self._empty = False
        if chunk.error or message.event == "error" or chunk.object == "error":
            self._fail_as_told(message.data)
            return
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage)
        # An empty list is Azure's preamble or the chunk with the usage; one stream has one choice.
        if chunk.choices:
            self._choice(chunk.choices[0], events)

    def _choice(self, choice: Choice, events: list[Event]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning and (reasoning := self._text("reasoning", reasoning)):
                events.append(ReasoningDelta(reasoning))
            content = delta.content
            if content and self._surrogates is not None:
                content = self._surrogates.clean("text", content)
            if content:
                events.append(TextDelta(content))
            if delta.refusal and (text := self._text("refusal", delta.refusal)):
                events.append(RefusalDelta(text))
            if delta.tool_calls:
                for call in delta.tool_calls:
                    self._tool_call(call, events)
        if choice.finish_reason == "error":
            self._fail(UpstreamError("upstream_error", f"{self._provider} failed."))
        elif choice.finish_reason:
            self._reason = _REASONS.get(choice.finish_reason, "stop")

    def _tool_call(self, call: ToolCall, events: list[Event]) -> None:
        name = call.function.name if call.function else None
        arguments = call.function.arguments if call.function else None
        index = call.index
        if index is None:  # Gemini's compatible endpoint sends whole calls without an index
            index = len(self._calls) if call.id or name else len(self._calls) - 1
        if index not in self._calls:
            made = call.id or f"call_{index}"
            self._calls[index] = made
            events.append(ToolCallStart(made, name or ""))
        if arguments and (piece := self._text(f"call {index}", arguments)):
            events.append(ToolCallDelta(self._calls[index], piece))


class ChatCompletions:
    """The dialect: `POST {base_url}/chat/completions`."""

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        body: dict[str, Any] = {**request.options, "model": model, "messages": request.messages}
        body["stream"] = True
        # Asked for always: usage is part of the terminal event, whatever the caller's wire shows.
        body["stream_options"] = {"include_usage": True}
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return Request("POST", f"{base_url}/chat/completions", headers, msgspec.json.encode(body))

    def parser(self, provider: str, content_type: str) -> ChatCompletionsParser:
        return ChatCompletionsParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)
