"""Gemini's own API: `POST {base_url}/models/{model}:streamGenerateContent?alt=sse`.

Sources: the Gemini API reference, "Generating content" (`GenerateContentResponse`, `FinishReason`,
`BlockReason`, `GroundingMetadata`), and its guides "Thinking" and "Thought signatures".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import (
    Citation,
    Event,
    File,
    FinishReason,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE
from headwater.providers.failures import http_failure, refused_key
from headwater.providers.gemini_request import VENDOR, content_body
from headwater.providers.parser import StreamParser, counted, json_of, lenient
from headwater.providers.text import made_call
from headwater.sse import Message
from headwater.upstream import Request

_REASONS: Final[dict[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content-filter",
    "RECITATION": "content-filter",
    "BLOCKLIST": "content-filter",
    "PROHIBITED_CONTENT": "content-filter",
    "SPII": "content-filter",
    "IMAGE_SAFETY": "content-filter",
    "IMAGE_PROHIBITED_CONTENT": "content-filter",
    "IMAGE_RECITATION": "content-filter",
    "MODEL_ARMOR": "content-filter",
}
# The model went wrong; the same request may go well.
_FAILED: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
        "LANGUAGE",
        "OTHER",
        "IMAGE_OTHER",
        "NO_IMAGE",
    }
)

# Only the members that are used: what is not named here is skipped without being built.


class _Member(msgspec.Struct, gc=False, rename="camel"):
    pass


class _FunctionCall(_Member, gc=False):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()  # handed on as it was written


class _Blob(_Member, gc=False):
    mime_type: str = "application/octet-stream"
    data: str = ""


class _Part(_Member, gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: _Blob | None = None
    executable_code: Any = None
    code_execution_result: Any = None


class _Content(_Member, gc=False):
    parts: list[_Part] | None = None


class _Web(_Member, gc=False):
    uri: str | None = None
    title: str | None = None


class _Grounds(_Member, gc=False):
    web: _Web | None = None


class _Grounding(_Member, gc=False):
    grounding_chunks: list[_Grounds] | None = None


class _Candidate(_Member, gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: _Grounding | None = None


class _Feedback(_Member, gc=False):
    block_reason: str | None = None


class _Usage(_Member, gc=False):
    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None


class _Said(_Member, gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Said).decode


class ContentParser(StreamParser):
    """Reads one streamed answer. There is no end marker: a finish reason, then the body's end."""

    __slots__ = ("_called", "_cited")

    def __init__(self, provider: str, content_type: str) -> None:
        super().__init__(provider, content_type)
        self._called = False
        self._cited: set[str] = set()  # each chunk tells the pages anew; a page is told once

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        said: _Said | None
        try:
            said = _decode(message.data)
        except UNREADABLE:
            if message.data.startswith(b"["):
                self._list(message.data, events)
                return
            self._lenient()
            said = lenient(message.data, _Said, raw=("args",))
        if said is None:
            self.unreadable(last)
        else:
            self._said(said, message.data, events)

    def _list(self, data: bytes, events: list[Event]) -> None:
        """The form without `alt=sse`, in which errors come too: a list of messages."""
        many = lenient(data, list[_Said], raw=("args",))
        for said in many or ():
            if not self.closed:
                self._said(said, data, events)
        if not many:
            self.unreadable(last=False)

    def _said(self, said: _Said, data: bytes, events: list[Event]) -> None:
        self.empty = False
        if said.error:
            self.fail_with(data)
            return
        if said.usage_metadata is not None:
            self._count(said.usage_metadata)
        if said.candidates:
            self._candidate(said.candidates[0], events)
        elif said.prompt_feedback is not None and said.prompt_feedback.block_reason:
            self.reason = "content-filter"

    def _candidate(self, candidate: _Candidate, events: list[Event]) -> None:
        if candidate.content is not None and candidate.content.parts:
            for part in candidate.content.parts:
                self._part(part, events)
        if candidate.grounding_metadata is not None:
            self._ground(candidate.grounding_metadata, events)
        reason = candidate.finish_reason
        if reason in _FAILED:
            text = f"{self._provider} failed: the answer ended with {reason}."
            self.fail(UpstreamError("upstream_error", text))
        elif reason == "STOP" and self._called:
            self.reason = "tool-calls"
        elif reason:
            self.reason = _REASONS.get(reason, "stop")

    def _part(self, part: _Part, events: list[Event]) -> None:
        call = None
        if part.text:
            if part.thought:
                if text := self._text("reasoning", part.text):
                    events.append(ReasoningDelta(text))
            elif text := self._text("text", part.text):
                events.append(TextDelta(text))
        elif part.function_call is not None:
            call = self._call(part.function_call, events)
        elif part.inline_data is not None:
            blob = part.inline_data
            url = f"data:{blob.mime_type};base64,{blob.data}"
            events.append(File(self._clean(blob.mime_type), self._clean(url)))
        elif part.executable_code is not None or part.code_execution_result is not None:
            events.append(ProviderData(VENDOR, "part", self._clean(_code(part))))
        if part.thought_signature:
            # Of a call it must come back on that call's part, or the next turn is refused.
            value = {"signature": self._clean(part.thought_signature)}
            kept = value if call is None else {**value, "call": call}
            events.append(ProviderData(VENDOR, "thought_signature", kept))

    def _call(self, function: _FunctionCall, events: list[Event]) -> str:
        """A call, which comes whole."""
        self._called = True
        call = self._clean(function.id or made_call())
        events.append(ToolCallStart(call, self._clean(function.name)))
        if arguments := json_of(function.args):
            events.append(ToolCallDelta(call, arguments))
        events.append(ToolCallEnd(call))
        return call

    def _ground(self, grounding: _Grounding, events: list[Event]) -> None:
        for grounds in grounding.grounding_chunks or ():
            web = grounds.web
            if web is not None and web.uri and web.uri not in self._cited:
                self._cited.add(web.uri)
                events.append(Citation(self._clean(web.uri), self._clean(web.title) or None))

    def _count(self, usage: _Usage) -> None:
        """Each chunk tells all so far. Gemini counts thoughts beside what it writes."""
        thoughts = usage.thoughts_token_count
        self.usage = counted(
            (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
            (usage.candidates_token_count or 0) + (thoughts or 0),
            thoughts,
            usage.cached_content_token_count,
        )


def _code(part: _Part) -> dict[str, Any]:
    """Code that ran at the provider, or what came of it, as a part to send back."""
    if part.executable_code is not None:
        return {"executableCode": part.executable_code}
    return {"codeExecutionResult": part.code_execution_result}


class GenerateContent:
    """The dialect; `members` are what a request may have besides, sent as they are."""

    def __init__(self, members: Collection[str] = ()) -> None:
        self._members = members

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        name = quote(model.removeprefix("models/"), safe="")
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            headers["x-goog-api-key"] = key
        url = f"{base_url}/models/{name}:streamGenerateContent?alt=sse"
        return Request(
            "POST", url, headers, msgspec.json.encode(content_body(request, self._members))
        )

    def parser(self, provider: str, content_type: str) -> ContentParser:
        return ContentParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        if status == 400 and b"API_KEY_INVALID" in body:  # Google's 401
            return refused_key(provider, status)
        return http_failure(provider, status, headers, body)
