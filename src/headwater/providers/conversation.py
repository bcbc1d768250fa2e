"""The messages of a request, taken apart once for every dialect that does not speak them.

They have the shape of OpenAI's Chat Completions. An assistant's message may have
`reasoning_content` and `provider_data` besides, as they came from a provider, and a tool's
`is_error`, for one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from headwater.errors import RequestError
from headwater.generation import Message
from headwater.json_text import UNREADABLE, JsonBounds, inner_error, read_json
from headwater.providers.returned import Returnable

_FAILED: Final = "Error: "

Role = Literal["system", "user", "assistant", "tool"]


class Image(NamedTuple):
    """An image part: `data` is base64 where it came as a data URL, else `url` is to be fetched."""

    url: str
    media_type: str | None
    data: str | None
    detail: str | None


class Call(NamedTuple):
    """A tool call of an assistant's message; `arguments` is the JSON of an object, verbatim."""

    id: str
    name: str
    arguments: str


class Kept(NamedTuple):
    """What a provider is to be sent back, verbatim.

    `at` is the number of the message's part that it belongs to, where that was said.
    """

    part: str
    value: Any
    at: int | None = None


class Turn(NamedTuple):
    """One message. `kept` holds what its own vendor sent; another vendor's is not there.

    `failed` is of a tool that could not do what it was asked for.
    """

    role: Role
    parts: list[str | Image]
    calls: list[Call]
    call_id: str
    reasoning: str
    kept: list[Kept]
    failed: bool

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))

    def kept_as(self, part: str) -> list[Any]:
        """The values of one kind."""
        return [kept.value for kept in self.kept if kept.part == part]


def turns(
    messages: list[Message],
    api: str,
    vendor: str,
    returnable: Returnable | None = None,
    *,
    tells_failure: bool = False,
) -> list[Turn]:
    """The turns of a conversation; `RequestError` for what `api` cannot be sent.

    `returnable` says what of `vendor` may go back to it. Where the API has no member that tells of
    a tool's failure, its text does.
    """
    if not tells_failure:
        messages = [failure_in_words(message) for message in messages]
    bounds = JsonBounds()  # of the arguments of all calls together
    return [
        _turn(
            message,
            f"messages[{number}]",
            api,
            bounds,
            _kept(message, f"messages[{number}]", vendor, returnable or {}),
        )
        for number, message in enumerate(messages)
    ]


def failure_in_words(message: Message) -> Message:
    """A tool's message whose text says that it failed, in place of `is_error`."""
    if "is_error" not in message:
        return message
    said = {name: value for name, value in message.items() if name != "is_error"}
    if message["is_error"] and message["role"] == "tool":
        content = said.get("content")
        prefix = [{"type": "text", "text": _FAILED}]
        said["content"] = (
            [*prefix, *content] if isinstance(content, list) else f"{_FAILED}{content}"
        )
    return said


def system_text(conversation: list[Turn]) -> str:
    """All instructions, for an API that takes them apart from the conversation."""
    return "\n\n".join(turn.text for turn in conversation if turn.role == "system" and turn.text)


def _turn(message: Message, where: str, api: str, bounds: JsonBounds, kept: list[Kept]) -> Turn:
    role = message["role"]
    if role == "function":
        raise RequestError(
            f"{where}.role: {api} has no functions; use tools and the role tool.",
            param=f"{where}.role",
        )
    return Turn(
        role="system" if role == "developer" else role,
        parts=list(_parts(message.get("content"), f"{where}.content", api)),
        calls=list(_calls(message, where, bounds)) if role == "assistant" else [],
        call_id=_text(message, "tool_call_id", where) if role == "tool" else "",
        reasoning=_reasoning(message),
        kept=kept,
        failed=message.get("is_error") is True,
    )


def _reasoning(message: Message) -> str:
    value = message.get("reasoning_content")
    return value if isinstance(value, str) else ""


def _kept(message: Message, where: str, vendor: str, returnable: Returnable) -> list[Kept]:
    """The vendor's own data; `RequestError` for what that vendor cannot have sent."""
    value = message.get("provider_data")
    kept: list[Kept] = []
    for number, item in enumerate(value if isinstance(value, list) else ()):
        part = item.get("part") if isinstance(item, dict) else None
        if not isinstance(part, str) or part not in returnable or item.get("provider") != vendor:
            continue
        if not returnable[part](item.get("value")):
            at = f"{where}.provider_data[{number}].value"
            raise RequestError(f"{at} is no {part[:50]} that {vendor} sends.", param=at)
        kept.append(Kept(part, item.get("value"), _number(item.get("at"))))
    return kept


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _parts(content: Any, where: str, api: str) -> Iterator[str | Image]:
    if isinstance(content, str):
        if content:
            yield content
        return
    for number, part in enumerate(content or ()):
        at = f"{where}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if not isinstance(text, str):
                raise RequestError(f"{at}.{kind} must be a string.", param=f"{at}.{kind}")
            if text:
                yield text
        elif kind == "image_url":
            yield _image(part.get("image_url"), at)
        else:
            named = f"parts of type {kind[:40]!r}" if isinstance(kind, str) else "such parts"
            raise RequestError(f"{at}: {api} takes no {named}.", param=at)


def _image(value: Any, at: str) -> Image:
    detail = None
    if isinstance(value, dict):
        value, detail = value.get("url"), value.get("detail")
    if isinstance(value, str):
        if value.startswith(("http://", "https://")) and _is_url(value):
            return Image(value, None, None, detail)
        head, comma, data = value.partition(",")
        if head.startswith("data:image/") and head.endswith(";base64") and comma:
            return Image(value, head[5:].partition(";")[0], data, detail)
    raise RequestError(
        f"{at}.image_url.url must be an http(s) URL or a data URL of a base64 image.",
        param=f"{at}.image_url.url",
    )


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:  # such as http://[
        return False


def _calls(message: Message, where: str, bounds: JsonBounds) -> Iterator[Call]:
    for number, call in enumerate(message.get("tool_calls") or ()):
        at = f"{where}.tool_calls[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise RequestError(f"{at} must be a call of a function.", param=at)
        yield Call(
            id=_text(call, "id", at),
            name=_text(function, "name", f"{at}.function"),
            arguments=_arguments(function.get("arguments"), f"{at}.function.arguments", bounds),
        )


def _text(value: dict[str, Any], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise RequestError(f"{where}.{name} must be a string.", param=f"{where}.{name}")
    return text


def _arguments(text: Any, where: str, bounds: JsonBounds) -> str:
    """The JSON of an object; what the model wrote is not written anew, so that caches find it."""
    if text is None or text == "":
        return "{}"
    try:
        if isinstance(text, str) and isinstance(read_json(text, bounds), dict):
            return text
    except UNREADABLE:
        pass
    except RequestError as error:
        raise inner_error(where, error) from None
    raise RequestError(f"{where} must be the JSON of an object, as a string.", param=where)
