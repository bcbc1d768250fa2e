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
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from headwater.generation import GenerationRequest
from headwater.providers.base import Finish, Outcome
from headwater.providers.chat_chunk import (
    Choice,
    Chunk,
    ToolCall,
    decode,
    decode_leniently,
    usage_of,
)
from headwater.providers.failures import http_failure, stream_failure
from headwater.providers.text import Surrogates
from headwater.sse import Decoder, Message, SSEError
from headwater.sse.decoder import MAX_EVENT_BYTES
from headwater.upstream import Request

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}


class ChatCompletionsParser:
    """Reads one streamed answer. Source: OpenAI's API reference, "Streaming"."""

    __slots__ = (
        "_calls",
        "_content_type",
        "_empty",
        "_is_stream",
        "_provider",
        "_reason",
        "_sse",
        "_surrogates",
        "_whole",
        "_whole_size",
        "closed",
        "messages",
        "outcome",
        "usage",
    )

    def __init__(self, provider: str, content_type: str) -> None:
        self.outcome: Outcome | None = None
        self.usage: Usage | None = None
        self.closed = False
        self.messages = 0
        self._provider = provider
        self._is_stream = content_type not in ("application/json", "text/html")
        self._content_type = content_type
        self._sse = Decoder()
        self._whole: list[bytes] = []  # of a body that is not a stream
        self._whole_size = 0
        self._reason: FinishReason | None = None
        self._calls: dict[int, str] = {}
        self._surrogates: Surrogates | None = None  # until a message holds half a character
        self._empty = True

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if not self._is_stream:
            self._collect(data)
            return events
        try:
            messages = self._sse.feed(data)
            endless = False
        except SSEError as error:
            messages = error.messages
            endless = True
        self.messages += len(messages)
        for message in messages:
            if self.closed:
                break  # data after the end is nobody's
            self._message(message, events)
        if endless:
            self._fail(UpstreamError("upstream_error", f"{self._provider} sent an endless event."))
        return events

    def _collect(self, data: bytes) -> None:
        self._whole.append(data)
        self._whole_size += len(data)
        if self._whole_size > MAX_EVENT_BYTES:
            self._whole.clear()
            self._fail(UpstreamError("upstream_error", f"{self._provider} sent an endless body."))

    def end(self) -> list[Event]:
        events: list[Event] = []
        if not self.closed:
            message = self._last()
            if message is not None:
                self._message(message, events, last=True)
        if not self.closed:
            self._close(events)
        return events

    def _last(self) -> Message | None:
        if self._is_stream:
            return self._sse.flush()
        return Message(b"".join(self._whole)) if self._whole else None

    def _message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        if message.data == b"[DONE]":
            self._reason = self._reason or "stop"
            self._close(events)
            return
        try:
            chunk: Chunk | None = decode(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._surrogates = self._surrogates or Surrogates()
            chunk = decode_leniently(message.data)
        if chunk is None:
            # An unfinished last event is what a cut leaves, not a fault of its own.
            if not (last and self._is_stream):
                self._fail(self._malformed())
            return
        self._empty = False
        if chunk.error or message.event == "error" or chunk.object == "error":
            self._fail(stream_failure(self._provider, message.data))
            return
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage)
        # An empty list is Azure's preamble or the chunk with the usage; one stream has one choice.
        if chunk.choices:
            self._choice(chunk.choices[0], events)

    def _whole_text(self, kind: str, text: str) -> str:
        return text if self._surrogates is None else self._surrogates.clean(kind, text)

    def _choice(self, choice: Choice, events: list[Event]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning and (reasoning := self._whole_text("reasoning", reasoning)):
                events.append(ReasoningDelta(reasoning))
            content = delta.content
            if content and self._surrogates is not None:
                content = self._surrogates.clean("text", content)
            if content:
                events.append(TextDelta(content))
            if delta.refusal and (text := self._whole_text("refusal", delta.refusal)):
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
        if arguments and (piece := self._whole_text(f"call {index}", arguments)):
            events.append(ToolCallDelta(self._calls[index], piece))

    def _close(self, events: list[Event]) -> None:
        """The end of the body, or `[DONE]`."""
        self.closed = True
        if self._reason is not None:
            if self._surrogates is not None:
                events.extend(self._surrogates.rest())
            events.extend(ToolCallEnd(call) for call in self._calls.values())
            self.outcome = Finish(self._reason, self.usage)
        elif self._content_type == "text/html":
            self.outcome = UpstreamError(
                "upstream_error", f"{self._provider} answered with a web page, not with a stream."
            )
        elif self._empty:
            self.outcome = UpstreamError("upstream_error", f"{self._provider} answered nothing.")
        else:
            self.outcome = UpstreamError(
                "truncated", f"{self._provider} broke off before the end of the answer."
            )

    def _fail(self, error: HeadwaterError) -> None:
        if not self.closed:  # the first end latches
            self.closed = True
            self.outcome = error

    def _malformed(self) -> HeadwaterError:
        if self._content_type == "text/html":
            what = "answered with a web page, not with a stream"
        else:
            what = "sent something that is not JSON"
        return UpstreamError("upstream_error", f"{self._provider} {what}.")


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
