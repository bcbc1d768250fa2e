"""Members of a request in another shape than Chat Completions': read, and named when wrong.

A known feature that the common request cannot express is refused by the name of its member, so
that nothing a caller asked for is lost in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from headwater.errors import RequestError
from headwater.wires.base import JSON, dump
from headwater.wires.requests import json_type

#: Members that mean the same in every wire as in Chat Completions.
CHAT_MEMBERS: Final = (
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "modalities",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
)


def picked(body: JSON, names: Collection[str]) -> JSON:
    """These members of the body, where they are and are not null."""
    return {name: body[name] for name in names if body.get(name) is not None}


def refuse(body: JSON, names: Collection[str]) -> None:
    """`RequestError` when one of these members asks for something."""
    for name in names:
        if body.get(name):
            raise unsupported(name)


def unsupported(where: str, what: str = "") -> RequestError:
    """What the common request cannot express."""
    of = f" {what[:50]!r}" if what else ""
    return RequestError(f"{where}:{of} is not supported here.", param=where)


def wrong(where: str, wanted: str, value: Any) -> RequestError:
    """A member of another type than it must have."""
    return RequestError(f"{where} must be {wanted}, not {json_type(value)}.", param=where)


def text(value: Any, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong(where, "a string", value)
    return value


def members(value: Any, where: str) -> JSON:
    """An object; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    return value


def objects(value: Any, where: str) -> Iterator[tuple[str, JSON]]:
    """The objects of a list, each with its name; null is an empty list."""
    if value is None:
        return
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    for number, each in enumerate(value):
        name = f"{where}[{number}]"
        if not isinstance(each, dict):
            raise wrong(name, "an object", each)
        yield name, each


# what the common request is made of


def text_part(value: str) -> JSON:
    """A part of a message that is text."""
    return {"type": "text", "text": value}


def image_part(url: str, detail: Any = None) -> JSON:
    """A part that is an image, at a URL or in a data URL."""
    image = {"url": url} if detail is None else {"url": url, "detail": detail}
    return {"type": "image_url", "image_url": image}


def content_of(parts: list[JSON]) -> str | list[JSON]:
    """One text alone is a string: every upstream takes that."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        alone: str = parts[0]["text"]
        return alone
    return parts


def tool_call(call: str, name: str, arguments: str) -> JSON:
    """A call that the assistant has made."""
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool_result(call: str, content: str, *, failed: Any = None) -> JSON:
    """What a tool has answered; `failed` is whether it says why it could not, None for no."""
    result = {"role": "tool", "tool_call_id": call, "content": content}
    return {**result, "is_error": failed} if failed not in (None, False) else result


def function_tool(name: str, given: JSON, schema: Any) -> JSON:
    """A tool; `given` may hold its description and whether its schema is strict."""
    function: JSON = {"name": name, **picked(given, ("description", "strict"))}
    if schema is not None:
        function["parameters"] = schema
    return {"type": "function", "function": function}


def compact(value: Any) -> str:
    """JSON as a string; a string is itself."""
    return value if isinstance(value, str) else dump(value).decode()


class Assistant:
    """One message of the assistant, while its parts come."""

    def __init__(self) -> None:
        self.parts: list[JSON] = []
        self.reasoning: list[str] = []
        self.calls: list[JSON] = []
        self.provider_data: list[JSON] = []

    def note(self, provider: str, part: str, value: Any, *, at: int | None = None) -> None:
        """What only this provider understands, to be sent back to it.

        `at` is the number of the part that it belongs to, where it belongs to one.
        """
        noted = {"provider": provider, "part": part, "value": value}
        self.provider_data.append(noted if at is None else {**noted, "at": at})

    def message(self) -> JSON:
        """The message; content is a string unless it is more than text, or is referred to."""
        content: Any = self.parts
        if len(self.parts) == 1:
            for noted in self.provider_data:
                noted.pop("at", None)
        belongs = any("at" in noted for noted in self.provider_data)
        if not belongs and all(part["type"] == "text" for part in self.parts):
            content = "".join(part["text"] for part in self.parts)
        made: JSON = {"role": "assistant", "content": content or None}
        if content == "" and not self.calls:
            made["content"] = ""
        if self.reasoning:
            made["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            made["tool_calls"] = self.calls
        if self.provider_data:
            made["provider_data"] = self.provider_data
        return made
