"""The checks that every wire makes of a request."""

from __future__ import annotations

from typing import Any

from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message

# A client that could name an upstream or its key would make the server a relay to anywhere.
_REFUSED = ("base_url", "api_base", "api_key")
# Names and ids outlive their request: they are kept with its stream. No model and no client has
# longer ones.
_MAX_NAME = 256
# Far above any conversation, far below what would hold the event loop while it is checked.
_MAX_MESSAGES = 10_000
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# What an answer would have no place for: no event of a stream carries it.
_UNTOLD: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "logprobs": (False,),
    "modalities": (["text"],),
    "top_logprobs": (0,),
}
_NUMBERS = {
    "temperature": (int, float),
    "top_p": (int, float),
    "frequency_penalty": (int, float),
    "presence_penalty": (int, float),
    "max_tokens": (int,),
    "max_completion_tokens": (int,),
    "seed": (int,),
}


def chat_request(body: dict[str, Any], messages: Any, *, stream: bool = True) -> GenerationRequest:
    """A request from an OpenAI-shaped body and its messages; `RequestError` where it is wrong.

    `stream` is what a body means that does not say.
    """
    check_refused(body)
    _check_numbers(body)
    for name, nothing in _UNTOLD.items():
        if body.get(name) is not None and body[name] not in nothing:
            raise RequestError(
                f"{name} is not supported here: a stream carries text and calls.", param=name
            )
    optional(body, "tools", list)
    options = {k: v for k, v in body.items() if k not in ("model", "messages", "prompt", "stream")}
    said = optional(body, "stream", bool)
    model = optional(body, "model", str)
    check_length(model, "model")
    return GenerationRequest(
        messages=check_messages(messages),
        model=model,
        options=options,
        stream=stream if said is None else said,
    )


def check_refused(body: dict[str, Any]) -> None:
    """What no wire takes."""
    for name in _REFUSED:
        if name in body:
            raise RequestError(
                f"{name} is not accepted from a client: upstreams are configured on the server.",
                param=name,
            )
    if body.get("n") not in (None, 1) or body.get("n") is True:
        raise RequestError("n must be 1: one request makes one stream.", param="n")


def translated(
    body: dict[str, Any], messages: list[Message], options: dict[str, Any], *, stream: bool
) -> GenerationRequest:
    """A request that was asked for in another shape, now in OpenAI's.

    Model and stream are those of the body; `stream` is what a body means that does not say.
    """
    check_refused(body)
    asked: dict[str, Any] = {name: body[name] for name in ("model", "stream") if name in body}
    return chat_request({**options, **asked}, messages, stream=stream)


def check_messages(value: Any) -> list[Message]:
    """Chat messages, each an object with a role and text or parts."""
    if not isinstance(value, list) or not value:
        raise RequestError("messages must be a list with at least one message.", param="messages")
    if len(value) > _MAX_MESSAGES:
        raise RequestError(f"messages has more than {_MAX_MESSAGES} entries.", param="messages")
    for number, message in enumerate(value):
        _check_message(message, f"messages[{number}]")
    return value


def check_length(name: object, where: str) -> None:
    """`RequestError` for a model's name or an id of the caller's with more than 256 characters."""
    if isinstance(name, str) and len(name) > _MAX_NAME:
        raise RequestError(
            f"{where} must have at most {_MAX_NAME} characters, not {len(name)}.", param=where
        )


def optional(body: dict[str, Any], name: str, kind: type[Any]) -> Any:
    """The member `name`, or None when it is absent or null; `RequestError` for another type."""
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestError(f"{name} must be a {_NAMES[kind]}, not {json_type(value)}.", param=name)
    return value


_NAMES: dict[type[Any], str] = {str: "string", bool: "boolean", dict: "object", list: "list"}


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise RequestError(
            f"{where} must be an object with role and content, not {json_type(message)}.",
            param=where,
        )
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestError(
            f"{where}.role must be one of {', '.join(sorted(_ROLES))}.", param=f"{where}.role"
        )
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise RequestError(
            f"{where}.tool_calls must be a list, not {json_type(calls)}.",
            param=f"{where}.tool_calls",
        )
    if not isinstance(message.get("is_error"), bool | None):
        raise RequestError(f"{where}.is_error must be a boolean.", param=f"{where}.is_error")
    content = message.get("content")
    if content is None and role == "assistant":
        return  # an assistant's message may hold tool calls alone
    if not isinstance(content, (str, list)):
        raise RequestError(
            f"{where}.content must be a string or a list of parts, not {json_type(content)}.",
            param=f"{where}.content",
        )


def _check_numbers(body: dict[str, Any]) -> None:
    for name, kinds in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = "an integer" if kinds == (int,) else "a number"
            raise RequestError(f"{name} must be {kind}, not {json_type(value)}.", param=name)
        if name.startswith("max_") and value < 1:
            raise RequestError(f"{name} must be at least 1.", param=name)


def json_type(value: Any) -> str:
    """What a value is called in a message about it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
