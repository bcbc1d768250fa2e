"""A run of AG-UI as the common request.

Source: AG-UI's pages "Core architecture" and "Messages". `state` and messages of activities belong
to the application and its page; a model is not told of them. `context` is what the application
wants it to know: one more system message.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message
from headwater.json_text import UNREADABLE, JsonBounds, inner_error, read_json
from headwater.wires.base import JSON
from headwater.wires.members import (
    CHAT_MEMBERS,
    Assistant,
    content_of,
    function_tool,
    image_part,
    members,
    objects,
    picked,
    refuse,
    text,
    text_part,
    tool_call,
    tool_result,
    unsupported,
    wrong,
)
from headwater.wires.requests import check_length, check_refused, translated

_PLAIN: Final = ("developer", "system", "user")


def run_request(body: JSON) -> GenerationRequest:
    """The request; `RequestError` where it is wrong, or asks for what cannot be passed on."""
    refuse(body, ("resume",))
    for member in ("threadId", "runId"):
        check_length(body.get(member), member)
    forwarded = members(body.get("forwardedProps"), "forwardedProps")
    check_refused(forwarded)
    if not body.get("messages"):
        raise RequestError("messages must be a list with at least one message.", param="messages")
    options = picked(forwarded, CHAT_MEMBERS)
    tools = [
        function_tool(text(tool.get("name"), f"{where}.name"), tool, tool.get("parameters"))
        for where, tool in objects(body.get("tools"), "tools")
    ]
    if tools:
        options["tools"] = tools
    # The model has no member of its own; `stream` is one of ours, for callers without SSE.
    asked = {**picked(body, ("stream", "n")), **picked(forwarded, ("model",))}
    return translated({**_refusable(body), **asked}, _messages(body), options, stream=True)


def _refusable(body: JSON) -> JSON:
    return {name: body[name] for name in ("base_url", "api_base", "api_key") if name in body}


def _messages(body: JSON) -> list[Message]:
    reader = _Conversation()
    for where, message in objects(body["messages"], "messages"):
        reader.add(message, where)
    return [*_context(body.get("context")), *reader.messages()]


def _context(value: Any) -> list[Message]:
    lines = [
        f"{text(entry.get('description'), f'{where}.description')}: "
        f"{text(entry.get('value'), f'{where}.value')}"
        for where, entry in objects(value, "context")
    ]
    return [{"role": "system", "content": "\n".join(lines)}] if lines else []


class _Conversation:
    """Messages in order; reasoning belongs to what the assistant says after it."""

    def __init__(self) -> None:
        self._made: list[Message] = []
        self._thought = Assistant()
        self._bounds = JsonBounds()  # of all encrypted values together

    def messages(self) -> list[Message]:
        self._flush()
        return self._made

    def _flush(self) -> None:
        """Reasoning that led to nothing."""
        if self._thought.reasoning or self._thought.provider_data:
            self._made.append(self._thought.message())
        self._thought = Assistant()

    def add(self, message: JSON, where: str) -> None:
        match message.get("role"):
            case "assistant":
                self._assistant(message, where)
            case "reasoning":
                self._thought.reasoning.append(text(message.get("content"), f"{where}.content"))
                self._recall(message, where, self._thought)
            case "tool":
                self._flush()
                call = text(message.get("toolCallId"), f"{where}.toolCallId")
                content = _text_of(message.get("content"), f"{where}.content")
                error = text(message.get("error") or "", f"{where}.error")
                said = "\n".join(dict.fromkeys(each for each in (error, content) if each))
                self._made.append(tool_result(call, said, failed=bool(error)))
            case "activity":
                pass
            case role if role in _PLAIN:
                self._flush()
                parts = _content(message.get("content"), f"{where}.content")
                self._made.append({"role": role, "content": parts})
            case role:
                raise unsupported(f"{where}.role", str(role))

    def _assistant(self, message: JSON, where: str) -> None:
        said, self._thought = self._thought, Assistant()
        if message.get("content"):
            said.parts.append(text_part(_text_of(message["content"], f"{where}.content")))
        for name, call in objects(message.get("toolCalls"), f"{where}.toolCalls"):
            function = members(call.get("function"), f"{name}.function")
            said.calls.append(
                tool_call(
                    text(call.get("id"), f"{name}.id"),
                    text(function.get("name"), f"{name}.function.name"),
                    text(function.get("arguments"), f"{name}.function.arguments"),
                )
            )
        self._recall(message, where, said)
        self._made.append(said.message())

    def _recall(self, message: JSON, where: str, said: Assistant) -> None:
        """Take in what `agui` has put into an encrypted value; another server's is ignored."""
        value = message.get("encryptedValue")
        if not isinstance(value, str):
            return
        try:
            kept = read_json(value, self._bounds)
        except UNREADABLE:
            return
        except RequestError as error:
            raise inner_error(f"{where}.encryptedValue", error) from None
        if not isinstance(kept, list) or not all(isinstance(entry, dict) for entry in kept):
            return
        for entry in kept:
            if isinstance(entry.get("provider"), str) and isinstance(entry.get("part"), str):
                said.note(entry["provider"], entry["part"], entry.get("value"))


def _content(value: Any, where: str) -> str | list[JSON]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong(where, "a string or a list of parts", value)
    return content_of([_part(part, name) for name, part in objects(value, where)])


def _text_of(value: Any, where: str) -> str:
    content = _content(value, where)
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise unsupported(where, "a part that is not text")
    return "\n".join(part["text"] for part in content)


def _part(part: JSON, where: str) -> JSON:
    match part.get("type"):
        case "text":
            return text_part(text(part.get("text"), f"{where}.text"))
        case "image":
            return _image(members(part.get("source"), f"{where}.source"), f"{where}.source")
        case "binary" if str(part.get("mimeType", "")).startswith("image/"):  # of earlier versions
            source = {"type": "data", "value": part.get("data"), "mimeType": part["mimeType"]}
            if part.get("url") is not None:
                source = {"type": "url", "value": part["url"]}
            return _image(source, where)
        case kind:
            raise unsupported(f"{where}.type", str(kind))


def _image(source: JSON, where: str) -> JSON:
    match source.get("type"):
        case "url":
            return image_part(text(source.get("value"), f"{where}.value"))
        case "data":
            kind = text(source.get("mimeType"), f"{where}.mimeType")
            return image_part(f"data:{kind};base64,{text(source.get('value'), f'{where}.value')}")
        case kind:
            raise unsupported(f"{where}.type", str(kind))
