"""A request of Anthropic's Messages as the common one.

Source: the API reference's "Messages" page and the guides on vision, tool use and extended
thinking. `thinking` and `top_k` go on as they are: who knows them takes them.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.errors import RequestError
from headwater.generation import GenerationRequest, Message
from headwater.wires.base import JSON
from headwater.wires.members import (
    Assistant,
    compact,
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
from headwater.wires.requests import translated

#: The provider whose data this wire has places for.
PROVIDER: Final = "anthropic"

_TOOL_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def messages_request(body: JSON) -> GenerationRequest:
    """The request; `RequestError` where it is wrong, or asks for what cannot be passed on."""
    refuse(body, ("mcp_servers", "container", "context_management", "inference_geo"))
    if body.get("speed") not in (None, "standard"):
        raise unsupported("speed", str(body["speed"]))
    if not body.get("messages"):
        raise RequestError("messages must be a list with at least one message.", param="messages")
    messages = _system(body.get("system"))
    for where, message in objects(body["messages"], "messages"):
        messages += _messages(message, where)
    return translated(body, messages, _options(body), stream=False)


def _options(body: JSON) -> JSON:
    options = picked(body, ("max_tokens", "temperature", "top_p", "top_k", "thinking"))
    if body.get("stop_sequences"):
        options["stop"] = body["stop_sequences"]
    tools = [_tool(tool, where) for where, tool in objects(body.get("tools"), "tools")]
    if tools:
        options["tools"] = tools
    _tool_choice(members(body.get("tool_choice"), "tool_choice"), options)
    output = members(body.get("output_config"), "output_config")
    _format(output.get("format"), "output_config.format", options)
    _format(body.get("output_format"), "output_format", options)
    if output.get("effort") is not None:
        options["reasoning_effort"] = output["effort"]
    if body.get("service_tier") not in (None, "auto"):
        options["service_tier"] = body["service_tier"]
    user = members(body.get("metadata"), "metadata").get("user_id")
    if user is not None:
        options["user"] = user
    return options


def _tool(tool: JSON, where: str) -> JSON:
    kind = tool.get("type")
    if kind not in (None, "custom"):  # one of Anthropic's own: for whoever knows it
        return {**tool, "type": text(kind, f"{where}.type")}
    for member in ("defer_loading", "input_examples"):
        if tool.get(member):
            raise unsupported(f"{where}.{member}")
    if tool.get("allowed_callers") not in (None, ["direct"]):
        raise unsupported(f"{where}.allowed_callers")
    name = text(tool.get("name"), f"{where}.name")
    return function_tool(name, tool, tool.get("input_schema"))


def _tool_choice(choice: JSON, options: JSON) -> None:
    if not choice:
        return
    kind = choice.get("type")
    if kind == "tool":
        name = text(choice.get("name"), "tool_choice.name")
        options["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        options["tool_choice"] = _TOOL_CHOICES[kind]
    else:
        raise unsupported("tool_choice.type", str(kind))
    if choice.get("disable_parallel_tool_use"):
        options["parallel_tool_calls"] = False


def _format(wanted: Any, where: str, options: JSON) -> None:
    if wanted is None:
        return
    wanted = members(wanted, where)
    if wanted.get("type") != "json_schema":
        raise unsupported(f"{where}.type", str(wanted.get("type")))
    schema = {"name": "output", "schema": wanted.get("schema"), "strict": True}
    options["response_format"] = {"type": "json_schema", "json_schema": schema}


def _system(value: Any) -> list[Message]:
    if not value:
        return []
    if not isinstance(value, str):
        value = "\n".join(_text_block(block, where) for where, block in objects(value, "system"))
    return [{"role": "system", "content": value}]


def _text_block(block: JSON, where: str) -> str:
    if block.get("type") != "text":
        raise unsupported(f"{where}.type", str(block.get("type")))
    return text(block.get("text"), f"{where}.text")


def _messages(message: JSON, where: str) -> list[Message]:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise RequestError(f"{where}.role must be user or assistant.", param=f"{where}.role")
    name = f"{where}.content"
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise wrong(name, "a string or a list of blocks", content)
    return _assistant(content, name) if role == "assistant" else _user(content, name, role)


def _user(content: list[Any], where: str, role: str) -> list[Message]:
    """Tool results are messages of their own; what stands around them keeps its place."""
    made: list[Message] = []
    parts: list[JSON] = []
    for name, block in objects(content, where):
        match block.get("type"):
            case "text":
                parts.append(text_part(_text_block(block, name)))
            case "image":
                parts.append(_image(members(block.get("source"), f"{name}.source"), name))
            case "tool_result":
                if parts:
                    made.append({"role": role, "content": content_of(parts)})
                    parts = []
                made.append(_tool_result(block, name))
            case kind:
                raise unsupported(f"{name}.type", str(kind))
    if parts or not made:
        made.append({"role": role, "content": content_of(parts) if parts else ""})
    return made


def _image(source: JSON, where: str) -> JSON:
    match source.get("type"):
        case "base64":
            kind = text(source.get("media_type"), f"{where}.source.media_type")
            data = text(source.get("data"), f"{where}.source.data")
            return image_part(f"data:{kind};base64,{data}")
        case "url":
            return image_part(text(source.get("url"), f"{where}.source.url"))
        case kind:
            raise unsupported(f"{where}.source.type", str(kind))


def _tool_result(block: JSON, where: str) -> Message:
    content = block.get("content", "")
    if not isinstance(content, str):
        name = f"{where}.content"
        content = "\n".join(_text_block(part, each) for each, part in objects(content, name))
    call = text(block.get("tool_use_id"), f"{where}.tool_use_id")
    return tool_result(call, content, failed=block.get("is_error"))


def _assistant(content: list[Any], where: str) -> list[Message]:
    """One message, or several: what comes before text in a message begins one after it.

    So thoughts keep their signatures, and blocks their order.
    """
    made: list[Message] = []
    said = Assistant()
    for name, block in objects(content, where):
        thinks, ran = block.get("type") == "thinking", _ran_there(block)
        if ((thinks and said.reasoning) or ((thinks or ran) and said.parts)) and not said.calls:
            made.append(said.message())
            said = Assistant()
        _assistant_block(block, name, said)
    return [*made, said.message()]


def _assistant_block(block: JSON, where: str, said: Assistant) -> None:
    match block.get("type"):
        case "text":
            said.parts.append(text_part(_text_block(block, where)))
            for _, citation in objects(block.get("citations"), f"{where}.citations"):
                said.note(PROVIDER, "citation", citation, at=len(said.parts) - 1)
        case "thinking":
            said.reasoning.append(text(block.get("thinking"), f"{where}.thinking"))
            if block.get("signature"):
                said.note(PROVIDER, "signature", block["signature"])
        case "redacted_thinking":
            said.note(PROVIDER, "redacted_thinking", text(block.get("data"), f"{where}.data"))
        case "tool_use":
            call = text(block.get("id"), f"{where}.id")
            name = text(block.get("name"), f"{where}.name")
            said.calls.append(tool_call(call, name, compact(block.get("input") or {})))
        case _ if _ran_there(block):
            said.note(PROVIDER, "block", block)
        case kind:
            raise unsupported(f"{where}.type", str(kind))


def _ran_there(block: JSON) -> bool:
    """Whether it is of a tool that ran at the provider: the call, or its result."""
    kind = block.get("type")
    return isinstance(kind, str) and (kind == "server_tool_use" or kind.endswith("_tool_result"))
