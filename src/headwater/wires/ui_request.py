"""A request of the AI SDK's `useChat` as the common one.

Source: the AI SDK's reference of `UIMessage` and `DefaultChatTransport`. Parts that only a page
shows (sources, steps, data of the application) are no part of the conversation and are left out.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message
from headwater.wires.base import JSON
from headwater.wires.members import (
    CHAT_MEMBERS,
    Assistant,
    compact,
    content_of,
    image_part,
    members,
    objects,
    picked,
    text,
    text_part,
    tool_call,
    tool_result,
    unsupported,
)
from headwater.wires.requests import check_length, translated

#: The data part in which a message keeps what only a provider understands.
PROVIDER_DATA: Final = "data-provider-data"

_SHOWN: Final = ("source-url", "source-document")
_DENIED: Final = "The user did not allow this call."
# What a tool has come to, and the member that says what it answered.
_ANSWERED: Final = {"output-available": "output", "output-error": "errorText"}


def chat_request(body: JSON) -> GenerationRequest:
    """The request; `RequestError` where it is wrong, or asks for what cannot be passed on."""
    if "id" in body:
        text(body["id"], "id")
    check_length(body.get("id"), "id")
    if not body.get("messages"):
        raise RequestError("messages must be a list with at least one message.", param="messages")
    messages: list[Message] = []
    for where, message in objects(body["messages"], "messages"):
        check_length(message.get("id"), f"{where}.id")
        messages += _messages(message, where)
    return translated(body, messages, picked(body, CHAT_MEMBERS), stream=True)


def _messages(message: JSON, where: str) -> list[Message]:
    role = message.get("role")
    if role not in ("system", "user", "assistant"):
        raise RequestError(
            f"{where}.role must be system, user or assistant.", param=f"{where}.role"
        )
    if "parts" not in message and isinstance(message.get("content"), str):
        return [{"role": role, "content": message["content"]}]
    if not isinstance(message.get("parts"), list):
        raise RequestError(f"{where}.parts must be a list.", param=f"{where}.parts")
    parts = list(objects(message["parts"], f"{where}.parts"))
    if role == "assistant":
        return _assistant(parts)
    content = [made for name, part in parts if (made := _part(part, name)) is not None]
    return [{"role": role, "content": content_of(content) if content else ""}]


def _part(part: JSON, where: str) -> JSON | None:
    """What a part is to the model; None when it is only shown."""
    kind = part.get("type")
    if kind == "text":
        return text_part(text(part.get("text"), f"{where}.text"))
    if kind == "file":
        media_type = text(part.get("mediaType"), f"{where}.mediaType")
        if not media_type.startswith("image/"):
            raise unsupported(f"{where}.mediaType", media_type)
        return image_part(text(part.get("url"), f"{where}.url"))
    if isinstance(kind, str) and (kind in _SHOWN or kind.startswith("data-")):
        return None
    raise unsupported(f"{where}.type", str(kind))


class _Turn:
    """An assistant's message: each of its steps is one, followed by what its tools answered."""

    def __init__(self) -> None:
        self.made: list[Message] = []
        self._said = Assistant()
        self._results: list[Message] = []

    def step(self) -> None:
        """Another step begins, or the turn is over."""
        said = self._said
        if said.parts or said.calls or said.reasoning or said.provider_data:
            self.made += [said.message(), *self._results]
        self._said, self._results = Assistant(), []

    def add(self, part: JSON, where: str) -> None:
        kind = part.get("type")
        if kind == "step-start":
            self.step()
        elif kind == "reasoning":
            self._said.reasoning.append(text(part.get("text"), f"{where}.text"))
        elif kind == PROVIDER_DATA:
            data = members(part.get("data"), f"{where}.data")
            provider = text(data.get("provider"), f"{where}.data.provider")
            name = text(data.get("part"), f"{where}.data.part")
            self._said.note(provider, name, data.get("value"))
        elif isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-")):
            self._tool(part, kind, where)
        else:
            made = _part(part, where)
            if made is not None:
                self._text(made)

    def _text(self, part: JSON) -> None:
        if self._results:  # said with the results known, so it follows them
            self.step()
        self._said.parts.append(part)

    def _tool(self, part: JSON, kind: str, where: str) -> None:
        state = part.get("state")
        if state == "input-streaming":
            return  # it was cut before its arguments were whole: nobody can run it
        call = text(part.get("toolCallId"), f"{where}.toolCallId")
        name = kind.removeprefix("tool-")
        if kind == "dynamic-tool":
            name = text(part.get("toolName"), f"{where}.toolName")
        given = part.get("input", part.get("rawInput"))
        arguments = compact({} if given is None else given)
        self._said.calls.append(tool_call(call, name, arguments))
        if isinstance(state, str) and state in _ANSWERED:
            content = compact(part.get(_ANSWERED[state], ""))
            self._results.append(tool_result(call, content, failed=state == "output-error"))
            return
        approval = members(part.get("approval"), f"{where}.approval")
        if state == "output-denied" or approval.get("approved") is False:
            content = compact(approval.get("reason") or _DENIED)
            self._results.append(tool_result(call, content, failed=True))


def _assistant(parts: list[tuple[str, Any]]) -> list[Message]:
    turn = _Turn()
    for where, part in parts:
        turn.add(part, where)
    turn.step()
    return turn.made
