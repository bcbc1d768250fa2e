"""OpenAI Chat Completions, as OpenAI and the many who follow it really send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import (
    Citation,
    Event,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from headwater.generation import GenerationRequest, Message, PartialText
from headwater.json_text import UNREADABLE
from headwater.providers.base import Continuation
from headwater.providers.chat_chunk import (
    Choice,
    Chunk,
    Function,
    Piece,
    ToolCall,
    decode,
    decode_leniently,
    usage_of,
)
from headwater.providers.continuing import going_on
from headwater.providers.conversation import failure_in_words
from headwater.providers.failures import http_failure
from headwater.providers.parser import StreamParser, url_of
from headwater.providers.text import made_call
from headwater.sse import Message as Framed
from headwater.upstream import Request

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
    "model_length": "length",  # Mistral's
}


#: What vLLM and llama.cpp are sent besides, to go on from the last message.
CONTINUATION: Final[Mapping[str, Any]] = {
    "continue_final_message": True,
    "add_generation_prompt": False,
}

# vLLM's when it gave up; DeepSeek's when it had no room.
_FAILED: Final = frozenset({"error", "abort", "insufficient_system_resource"})


class ChatCompletionsParser(StreamParser):
    """Reads one streamed answer. Source: OpenAI's API reference, "Streaming"."""

    __slots__ = ()

    def read_message(self, message: Framed, events: list[Event], *, last: bool = False) -> None:
        if message.data == b"[DONE]":
            self.reason = self.reason or "stop"
            self.close(events)
            return
        try:
            chunk: Chunk | None = decode(message.data)
        except UNREADABLE:
            self._lenient()
            chunk = decode_leniently(message.data)
        if chunk is None:
            self.unreadable(last)
            return
        self.empty = False
        groq = chunk.x_groq
        if groq is not None:
            chunk.usage = chunk.usage or groq.usage
        if (
            chunk.error
            or (groq and groq.error)
            or message.event == "error"
            or chunk.object == "error"
        ):
            self.fail_with(message.data)
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
            if isinstance(content, list):
                content = self._pieces(content, events)
            if content and self._surrogates is not None:
                content = self._surrogates.clean("text", content)
            if content:
                events.append(TextDelta(content))
            if delta.refusal and (text := self._text("refusal", delta.refusal)):
                events.append(RefusalDelta(text))
            if delta.tool_calls:
                for call in delta.tool_calls:
                    self._tool_call(call, events)
            if delta.annotations:
                self._cite(delta.annotations, events)
        if choice.finish_reason in _FAILED:
            self.fail(UpstreamError("upstream_error", f"{self._provider} failed."))
        elif choice.finish_reason:
            self.reason = _REASONS.get(choice.finish_reason, "stop")

    def _pieces(self, pieces: list[Piece], events: list[Event]) -> str:
        """The text of Mistral's parts; their thoughts go to `events`."""
        for piece in pieces:
            thought = "".join(part.text or "" for part in piece.thinking or ())
            if thought and (thought := self._text("reasoning", thought)):
                events.append(ReasoningDelta(thought))
        return "".join(piece.text or "" for piece in pieces)

    def _cite(self, annotations: list[Any], events: list[Event]) -> None:
        for annotation in annotations:
            match annotation:
                case {"url_citation": dict(cited)} if page := url_of(self._clean(cited)):
                    events.append(Citation(*page))

    def _tool_call(self, call: ToolCall, events: list[Event]) -> None:
        function = call.function or Function()
        arguments = function.arguments
        index, begins = call.index, call.id or function.name
        if index is None:  # Gemini's compatible endpoint sends whole calls without an index
            index = len(self.open_calls) if begins else len(self.open_calls) - 1
        elif call.id and function.name and self.open_calls.get(index, call.id) != call.id:
            # Some number every call 0: another id there is the next call.
            events.append(ToolCallEnd(self.open_calls.pop(index)))
        if index not in self.open_calls:
            made = self._clean(call.id) or made_call()
            self.open_calls[index] = made
            events.append(ToolCallStart(made, self._clean(function.name) or ""))
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(self._clean(arguments)).decode()
        if arguments and (piece := self._text(f"call {index}", arguments)):
            events.append(ToolCallDelta(self.open_calls[index], piece))


class ChatCompletions:
    """The dialect: `POST {base_url}/chat/completions`.

    `renames` are members that this provider knows by another name; "" is one that it refuses, which
    is then not sent. `messages.NAME` is a member of messages.

    `continuation` are the members, named likewise, that ask it to go on from the last message;
    `echoes` says whether it may repeat that message first.
    """

    def __init__(
        self,
        renames: Mapping[str, str] | None = None,
        continuation: Mapping[str, Any] | None = None,
        *,
        echoes: bool = True,
    ) -> None:
        self._renames = renames or {}
        self._continuation = CONTINUATION if continuation is None else continuation
        self._echoes = echoes

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        return self._request(base_url, key, self._body(request, model))

    def continuation(
        self,
        base_url: str,
        key: str | None,
        request: GenerationRequest,
        model: str,
        said: PartialText,
    ) -> Continuation:
        body = self._body(going_on(request, said), model)
        if said.text:
            last = body["messages"][-1]
            for name, value in self._continuation.items():
                of_message = name.startswith("messages.")
                (last if of_message else body)[name.removeprefix("messages.")] = value
        repeated = said.text if self._echoes else ""
        return Continuation(self._request(base_url, key, body), repeated, whole=True)

    def _body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {**request.options, "model": model}
        body.pop("reasoning_summary", None)  # of the Responses API: here reasoning comes unasked
        body["messages"] = [self._sent(message) for message in request.messages]
        body["stream"] = True
        # Asked for always: usage is part of the terminal event, whatever the caller's wire shows.
        body["stream_options"] = {"include_usage": True}
        for name, own in self._renames.items():
            if name in body:
                value = body.pop(name)
                if own:
                    body[own] = value
        return body

    def _request(self, base_url: str, key: str | None, body: dict[str, Any]) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return Request("POST", f"{base_url}/chat/completions", headers, msgspec.json.encode(body))

    def _sent(self, message: Message) -> Message:
        """A message without what other APIs are to be sent back, and have members for."""
        message = failure_in_words(message)
        dropped = {"provider_data"} & message.keys()
        dropped |= {name for name in message if self._renames.get(f"messages.{name}") == ""}
        if not dropped:
            return message
        return {name: value for name, value in message.items() if name not in dropped}

    def parser(self, provider: str, content_type: str) -> ChatCompletionsParser:
        return ChatCompletionsParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)
