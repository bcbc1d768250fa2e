"""OpenAI Chat Completions, as OpenAI and the many who follow it really send it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
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


# Only the members that are used: what is not named here is skipped without being built.


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # OpenRouter's, Groq's and newer vLLM's name for it
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None  # an upstream that ignored `stream: true`
    finish_reason: str | None = None


class _Details(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


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
            chunk: _Chunk | None = _decode(message.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            chunk = self._read(message.data)
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
            self.usage = _usage(chunk.usage)
        # An empty list is Azure's preamble or the chunk with the usage; one stream has one choice.
        if chunk.choices:
            self._choice(chunk.choices[0], events)

    def _read(self, data: bytes) -> _Chunk | None:
        """A chunk that msgspec refused, or None when it is not JSON at all.

        It refuses lone surrogates and invalid UTF-8, which providers do send where they cut a
        character in two; the standard library reads them.
        """
        try:
            value = json.loads(data.decode(errors="replace"))
            if not isinstance(value, dict):
                return None
            self._surrogates = self._surrogates or Surrogates()
            return msgspec.convert(value, _Chunk, strict=False)
        except msgspec.ValidationError:
            return _fitting(value)
        except (ValueError, RecursionError):
            return None

    def _whole_text(self, kind: str, text: str) -> str:
        return text if self._surrogates is None else self._surrogates.clean(kind, text)

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning and (reasoning := self._whole_text("reasoning", reasoning)):
                events.append(ReasoningDelta(reasoning))
            if delta.content and (text := self._whole_text("text", delta.content)):
                events.append(TextDelta(text))
            if delta.refusal and (text := self._whole_text("refusal", delta.refusal)):
                events.append(RefusalDelta(text))
            if delta.tool_calls:
                for call in delta.tool_calls:
                    self._tool_call(call, events)
        if choice.finish_reason == "error":
            self._fail(UpstreamError("upstream_error", f"{self._provider} failed."))
        elif choice.finish_reason:
            self._reason = _REASONS.get(choice.finish_reason, "stop")

    def _tool_call(self, call: _ToolCall, events: list[Event]) -> None:
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


def _fitting(value: dict[str, Any]) -> _Chunk | None:
    """What can be read of a chunk with odd members; None when its text cannot.

    A hole in an answer that seems whole would be worse than an error.
    """
    chunk = _Chunk(error=value.get("error"))
    with suppress(msgspec.ValidationError):
        chunk.usage = msgspec.convert(value.get("usage"), _Usage | None, strict=False)
    try:
        chunk.choices = [_fitting_choice(choice) for choice in value.get("choices") or ()]
    except (AttributeError, TypeError, msgspec.ValidationError):
        return chunk if chunk.error else None
    return chunk


def _fitting_choice(choice: dict[str, Any]) -> _Choice:
    """Members such as `"refusal": false` say nothing, whatever their type."""
    kept = {name: value for name, value in choice.items() if value}
    for name in ("delta", "message"):
        if name in kept:
            kept[name] = {key: value for key, value in kept[name].items() if value}
    return msgspec.convert(kept, _Choice, strict=False)


def _usage(usage: _Usage) -> Usage:
    answered = usage.completion_tokens_details or _Details()
    asked = usage.prompt_tokens_details or _Details()
    reasoning, cached = answered.reasoning_tokens, asked.cached_tokens
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens or 0,
        reasoning_tokens=msgspec.UNSET if reasoning is None else reasoning,
        cached_tokens=msgspec.UNSET if cached is None else cached,
    )
