"""Ollama's own API: `POST {base_url}/api/chat`, an answer of one JSON object a line.

Sources: Ollama's API reference, "Generate a chat message", and its pages "Streaming", "Thinking",
"Tool calling" and "Errors".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError, RequestError
from headwater.events import (
    Event,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE
from headwater.providers.conversation import Image, Turn, turns
from headwater.providers.failures import http_failure
from headwater.providers.members import Function, Members
from headwater.providers.parser import StreamParser, counted, json_of, lenient
from headwater.providers.text import made_call
from headwater.sse import Message
from headwater.upstream import Request

VENDOR: Final = "ollama"
_API: Final = "Ollama's API"

_REASONS: Final[dict[str, FinishReason]] = {"length": "length"}
_OPTIONS: Final = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "repeat_penalty",
        "repeat_last_n",
        "typical_p",
    )
}
# Of Ollama's own `options`. Those of the machine (num_gpu, num_thread, …) are its operator's.
_OWN_OPTIONS: Final = {*_OPTIONS, "num_predict", "num_ctx", "stop"}

# Only the members that are used: what is not named here is skipped without being built.


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw()  # an object, handed on as it was written


class _Call(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Answer(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Said(msgspec.Struct, gc=False):
    message: _Answer | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Said).decode


class LinesParser(StreamParser):
    """Reads one streamed answer; without `done` it was cut."""

    __slots__ = ("_called",)

    def __init__(self, provider: str, content_type: str) -> None:
        super().__init__(provider, content_type, lines=True)
        self._called = False

    def read_message(self, message: Message, events: list[Event], *, last: bool = False) -> None:
        said: _Said | None
        try:
            said = _decode(message.data)
        except UNREADABLE:
            self._lenient()
            said = lenient(message.data, _Said, raw=("arguments",))
        if said is None:
            self.unreadable(last)
            return
        self.empty = False
        if said.error:
            self.fail_with(message.data)
            return
        if said.message is not None:
            self._answer(said.message, events)
        if said.done:
            self.usage = counted(said.prompt_eval_count, said.eval_count)
            self.reason = _REASONS.get(said.done_reason or "", self._stopped)
            self.close(events)

    @property
    def _stopped(self) -> FinishReason:
        return "tool-calls" if self._called else "stop"

    def _answer(self, answer: _Answer, events: list[Event]) -> None:
        if answer.thinking and (text := self._text("reasoning", answer.thinking)):
            events.append(ReasoningDelta(text))
        if answer.content and (text := self._text("text", answer.content)):
            events.append(TextDelta(text))
        for call in answer.tool_calls or ():
            self._call(call, events)

    def _call(self, call: _Call, events: list[Event]) -> None:
        """A call, which comes whole."""
        self._called = True
        name, function = self._clean(call.id) or made_call(), call.function or _Function()
        events.append(ToolCallStart(name, self._clean(function.name)))
        if arguments := json_of(function.arguments):
            events.append(ToolCallDelta(name, arguments))
        events.append(ToolCallEnd(name))


class OllamaChat:
    """The dialect; `members` are what a request may have besides, sent as they are."""

    def __init__(self, members: Collection[str] = ()) -> None:
        self._members = members

    def request(
        self, base_url: str, key: str | None, request: GenerationRequest, model: str
    ) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "application/x-ndjson"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        body = msgspec.json.encode(chat_body(request, model, self._members))
        return Request("POST", f"{base_url}/api/chat", headers, body)

    def parser(self, provider: str, content_type: str) -> LinesParser:
        return LinesParser(provider, content_type)

    def failure(
        self, provider: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> HeadwaterError:
        return http_failure(provider, status, headers, body)


def chat_body(request: GenerationRequest, model: str, kept: Collection[str] = ()) -> dict[str, Any]:
    """The body; `RequestError` for what this API lacks. `kept` members go on as they are."""
    members = Members(request.options, _API, kept)
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(turns(request.messages, _API, VENDOR)),
        "stream": True,
    }
    options = _given(members.take("options"), members)
    members.into(options, _OPTIONS)
    if limit := members.max_tokens():
        options["num_predict"] = limit
    if stops := members.stops():
        options["stop"] = stops
    if options:
        body["options"] = options
    _tools(body, members)
    if (wanted := members.schema()) is not None:
        body["format"] = "json" if wanted.schema is None else wanted.schema
    members.into(body, {"think": "think", "keep_alive": "keep_alive"})
    if isinstance(thinking := members.take("thinking"), dict):  # Anthropic's member
        body["think"] = thinking.get("type") != "disabled"
    if (effort := members.effort()) is not None:
        levels: dict[str, Any] = {"none": False, "minimal": "low"}
        body["think"] = levels.get(effort, effort)
    return {**members.done(), **body}


def _given(options: Any, members: Members) -> dict[str, Any]:
    """Ollama's own `options`, as a caller gives them; `RequestError` for what is none."""
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise RequestError("options must be an object.", param="options")
    for name in options:
        if name not in _OWN_OPTIONS:
            raise members.refuse("options", f"options.{name[:50]}")
    return dict(options)


def _tools(body: dict[str, Any], members: Members) -> None:
    functions, _ = members.tools()
    choice = members.tool_choice()
    if choice not in (None, "auto", "none"):
        raise members.refuse("tool_choice", "tool_choice other than auto and none")
    for function in functions:
        if function.strict:
            raise members.refuse("tools", f"tools: strict, of the function {function.name[:50]!r},")
    if functions and choice != "none":
        body["tools"] = [_tool(function) for function in functions]


def _tool(function: Function) -> dict[str, Any]:
    named = {"name": function.name, "parameters": function.parameters}
    if function.description:
        named["description"] = function.description
    return {"type": "function", "function": named}


def _messages(conversation: list[Turn]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for number, turn in enumerate(conversation):
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if images := [_image(p, number) for p in turn.parts if isinstance(p, Image)]:
            message["images"] = images
        if turn.role == "assistant" and turn.reasoning:
            message["thinking"] = turn.reasoning
        if turn.calls:
            message["tool_calls"] = [
                {"function": {"name": c.name, "arguments": msgspec.Raw(c.arguments.encode())}}
                for c in turn.calls
            ]
            names.update((call.id, call.name) for call in turn.calls)
        if turn.role == "tool" and turn.call_id in names:
            message["tool_name"] = names[turn.call_id]
        messages.append(message)
    return messages


def _image(image: Image, number: int) -> str:
    if image.data is None:
        where = f"messages[{number}].content"
        raise RequestError(f"{where}: {_API} fetches no images; send a data URL.", param=where)
    return image.data
