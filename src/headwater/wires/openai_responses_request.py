"""A request of OpenAI's Responses as the common one.

Source: the API reference's "Create a model response" and the guides on conversation state, function
calling and reasoning. What would need a server that keeps conversations (`previous_response_id`,
`conversation`, item references), files or hosted tools is refused.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message
from headwater.wires.base import JSON, dump
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
    unsupported,
    wrong,
)
from headwater.wires.requests import check_length, optional, translated

#: The provider whose data this wire has a place for.
PROVIDER: Final = "openai"

_REFUSED: Final = (
    "background",
    "context_management",
    "conversation",
    "previous_response_id",
    "prompt",
    "top_logprobs",
)
#: What of a request the answer says again.
_ECHOED: Final = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
# Bytes of JSON of one echoed member, `metadata` aside, which has bounds of its own.
_LONGEST_ECHO: Final = 4096
# Of `metadata`, as the API reference says.
_MOST_METADATA: Final = 16
_LONGEST_KEY: Final = 64
_LONGEST_VALUE: Final = 512
# What may be asked for in addition and is given, or changes nothing that a reader sees.
_INCLUDED: Final = frozenset({"reasoning.encrypted_content"})
_ROLES: Final = ("user", "assistant", "system", "developer")


def responses_request(body: JSON) -> GenerationRequest:
    """The request; `RequestError` where it is wrong, or asks for what cannot be passed on."""
    refuse(body, _REFUSED)
    if body.get("truncation") not in (None, "disabled"):
        raise unsupported("truncation", str(body["truncation"]))
    for number, name in enumerate(optional(body, "include", list) or ()):
        if not isinstance(name, str) or name not in _INCLUDED:
            raise unsupported(f"include[{number}]", str(name))
    messages: list[Message] = []
    _check_echoed(body)
    instructions = optional(body, "instructions", str)
    if instructions:
        messages.append({"role": "system", "content": instructions})
    messages += _input(body.get("input"))
    return translated(body, messages, _options(body), stream=False)


def _check_echoed(body: JSON) -> None:
    """What the answer repeats is kept with it."""
    check_length(body.get("user"), "user")
    metadata = members(body.get("metadata"), "metadata")
    if len(metadata) > _MOST_METADATA:
        raise RequestError(f"metadata has more than {_MOST_METADATA} members.", param="metadata")
    for key, value in metadata.items():
        if len(key) > _LONGEST_KEY:
            raise RequestError(
                f"A member of metadata has a name of more than {_LONGEST_KEY} characters.",
                param="metadata",
            )
        if len(text(value, f"metadata.{key}")) > _LONGEST_VALUE:
            raise RequestError(
                f"metadata.{key} has more than {_LONGEST_VALUE} characters.",
                param=f"metadata.{key}",
            )


def echoed(body: JSON) -> JSON:
    """The members of the request that the answer repeats.

    The stream keeps them, and each reader is sent them twice, so longer ones are left out. SDKs
    then see what a request without them would have.
    """
    return {
        name: value
        for name, value in picked(body, _ECHOED).items()
        if name == "metadata" or len(dump(value)) <= _LONGEST_ECHO
    }


def _options(body: JSON) -> JSON:
    # Those of the same name that have another shape here are set below.
    options = picked(body, set(CHAT_MEMBERS) - {"tools", "tool_choice", "max_tokens"})
    limit = body.get("max_output_tokens")
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            where = "max_output_tokens"
            raise RequestError(f"{where} must be an integer of at least 1.", param=where)
        options["max_tokens"] = limit
    tools = [_tool(tool, where) for where, tool in objects(body.get("tools"), "tools")]
    if tools:
        options["tools"] = tools
    choice = body.get("tool_choice")
    if choice is not None:
        options["tool_choice"] = _tool_choice(choice)
    reasoning = members(body.get("reasoning"), "reasoning")
    if reasoning.get("effort") is not None:
        options["reasoning_effort"] = reasoning["effort"]
    summary = reasoning.get("summary") or reasoning.get("generate_summary")
    if summary is not None:
        options["reasoning_summary"] = summary
    _text(members(body.get("text"), "text"), options)
    return options


def _tool(tool: JSON, where: str) -> JSON:
    if tool.get("type") != "function":
        raise unsupported(f"{where}.type", str(tool.get("type")))
    return function_tool(text(tool.get("name"), f"{where}.name"), tool, tool.get("parameters"))


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    given = members(choice, "tool_choice")
    if given.get("type") != "function":
        raise unsupported("tool_choice.type", str(given.get("type")))
    name = text(given.get("name"), "tool_choice.name")
    return {"type": "function", "function": {"name": name}}


def _text(given: JSON, options: JSON) -> None:
    if given.get("verbosity") is not None:
        options["verbosity"] = given["verbosity"]
    wanted = members(given.get("format"), "text.format")
    match wanted.get("type", "text"):
        case "text":
            pass
        case "json_object":
            options["response_format"] = {"type": "json_object"}
        case "json_schema":
            schema = picked(wanted, ("name", "description", "schema", "strict"))
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        case kind:
            raise unsupported("text.format.type", str(kind))


def _input(value: Any) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise RequestError(
            "input must be a string or a list with at least one item.", param="input"
        )
    reader = _Items()
    for where, item in objects(value, "input"):
        reader.add(item, where)
    return reader.messages()


class _Items:
    """Items in order; those of one turn of the assistant make one message."""

    def __init__(self) -> None:
        self._made: list[Message] = []
        self._said: Assistant | None = None

    def messages(self) -> list[Message]:
        self._flush()
        return self._made

    def add(self, item: JSON, where: str) -> None:
        match item.get("type", "message"):
            case "message":
                self._message(item, where)
            case "function_call":
                call = text(item.get("call_id"), f"{where}.call_id")
                name = text(item.get("name"), f"{where}.name")
                arguments = text(item.get("arguments"), f"{where}.arguments")
                self._assistant().calls.append(tool_call(call, name, arguments))
            case "function_call_output":
                self._output(item, where)
            case "reasoning":
                self._reasoning(item, where)
            case kind:
                raise unsupported(f"{where}.type", str(kind))

    def _assistant(self) -> Assistant:
        if self._said is None:
            self._said = Assistant()
        return self._said

    def _flush(self) -> None:
        if self._said is not None:
            self._made.append(self._said.message())
            self._said = None

    def _message(self, item: JSON, where: str) -> None:
        role, content = item.get("role"), item.get("content")
        if role not in _ROLES:
            name = f"{where}.role"
            raise RequestError(f"{name} must be one of {', '.join(_ROLES)}.", param=name)
        name = f"{where}.content"
        if isinstance(content, str):
            parts = [text_part(content)]
        elif isinstance(content, list):
            parts = [_part(part, each) for each, part in objects(content, name)]
        else:
            raise wrong(name, "a string or a list of parts", content)
        if role == "assistant":
            if self._said is not None and (self._said.parts or self._said.calls):
                self._flush()
            self._assistant().parts += parts
        else:
            self._flush()
            self._made.append({"role": role, "content": content_of(parts)})

    def _output(self, item: JSON, where: str) -> None:
        self._flush()
        output = item.get("output")
        if not isinstance(output, str):
            parts = [_part(part, each) for each, part in objects(output, f"{where}.output")]
            if any(part["type"] != "text" for part in parts):
                raise unsupported(f"{where}.output", "a part that is not text")
            output = "\n".join(part["text"] for part in parts)
        call = text(item.get("call_id"), f"{where}.call_id")
        self._made.append({"role": "tool", "tool_call_id": call, "content": output})

    def _reasoning(self, item: JSON, where: str) -> None:
        """Reasoning comes before what it led to, so behind that it begins another message."""
        if self._said is not None and self._said.parts and not self._said.calls:
            self._flush()
        said = self._assistant()
        for each, part in objects(item.get("summary"), f"{where}.summary"):
            said.reasoning.append(text(part.get("text"), f"{each}.text"))
        if item.get("encrypted_content"):
            said.note(PROVIDER, "reasoning", item)


def _part(part: JSON, where: str) -> JSON:
    match part.get("type"):
        case "input_text" | "output_text":
            return text_part(text(part.get("text"), f"{where}.text"))
        case "refusal":
            return text_part(text(part.get("refusal"), f"{where}.refusal"))
        case "input_image" if part.get("image_url") is not None:
            url = text(part["image_url"], f"{where}.image_url")
            return image_part(url, part.get("detail"))
        case "input_image":
            raise unsupported(f"{where}.file_id")
        case kind:
            raise unsupported(f"{where}.type", str(kind))
