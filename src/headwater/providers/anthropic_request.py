"""A request as Anthropic's Messages API takes it.

Sources: Anthropic's API reference, "Create a Message"; its guides "Tool use", "Extended thinking"
(what goes back of thinking), "Structured outputs" and "Effort".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from headwater.generation import GenerationRequest
from headwater.providers.conversation import Image, Turn, system_text, turns
from headwater.providers.members import Members, Schema
from headwater.providers.returned import is_text, typed

VENDOR: Final = "anthropic"
_API: Final = "Anthropic's Messages API"

# It must be said. Every model since Claude 4 takes as much; what is not written is not paid.
_MAX_TOKENS: Final = 32_000
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
# Types of Anthropic's own tools: the models run them, or know them by heart.
_OWN_TOOLS: Final = (
    "web_search_",
    "web_fetch_",
    "code_execution_",
    "bash_",
    "text_editor_",
    "computer_",
    "memory_",
    "tool_search_tool_",
)
# Anthropic's own members, which OpenAI's API does not have.
_OWN: Final = ("top_k", "thinking", "output_config")

# OpenAI's names too.
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}

_RETURNABLE: Final = {
    "signature": is_text,
    "redacted_thinking": is_text,
    "citation": typed(lambda kind: kind.endswith("_location")),
    # Of tools that ran at the provider.
    "block": typed(
        lambda kind: kind in ("server_tool_use", "mcp_tool_use") or kind.endswith("_tool_result")
    ),
}

Block = dict[str, Any]


def message_body(
    request: GenerationRequest, model: str, kept: Collection[str] = ()
) -> dict[str, Any]:
    """The body; `RequestError` for what this API lacks. `kept` members go on as they are."""
    conversation = turns(request.messages, _API, VENDOR, _RETURNABLE, tells_failure=True)
    members = Members(request.options, _API, kept)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": members.max_tokens() or _MAX_TOKENS,
        "messages": _messages(conversation),
        "stream": True,
    }
    if system := system_text(conversation):
        body["system"] = system
    members.into(body, {"temperature": "temperature", "top_p": "top_p"})
    members.into(body, {name: name for name in _OWN})
    if stops := members.stops():
        body["stop_sequences"] = stops
    _think(body, members)
    _format(body, members.schema(), members)
    _tools(body, members)
    _tier(body, members)
    user = members.take("user")
    if isinstance(user, str):
        body["metadata"] = {"user_id": user}
    return {**members.done(), **body}


def _tier(body: dict[str, Any], members: Members) -> None:
    tier = members.take("service_tier")
    if tier is None:
        return
    if not isinstance(tier, str) or tier not in _TIERS:
        raise members.refuse("service_tier", f"service_tier {tier!r:.20}")
    body["service_tier"] = _TIERS[tier]


def _think(body: dict[str, Any], members: Members) -> None:
    effort = members.effort()
    if effort == "none":
        body.setdefault("thinking", {"type": "disabled"})
    elif effort is not None:
        body.setdefault("thinking", {"type": "adaptive"})
        level = "low" if effort == "minimal" else effort
        body["output_config"] = {**body.get("output_config", {}), "effort": level}


def _format(body: dict[str, Any], wanted: Schema | None, members: Members) -> None:
    if wanted is None:
        return
    if wanted.schema is None:
        raise members.refuse("response_format", "response_format json_object (without a schema)")
    form = {"type": "json_schema", "schema": wanted.schema}
    body["output_config"] = {**body.get("output_config", {}), "format": form}


def _tools(body: dict[str, Any], members: Members) -> None:
    functions, own = members.tools(_OWN_TOOLS)
    choice, parallel = members.tool_choice(), members.take("parallel_tool_calls")
    if not functions and not own:
        return
    body["tools"] = [*map(_tool, functions), *own]
    if choice is None and parallel is not False:
        return
    match choice:
        case ("function", name):
            chosen: Block = {"type": "tool", "name": name}
        case "required":
            chosen = {"type": "any"}
        case _:
            chosen = {"type": choice or "auto"}
    if parallel is False and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    body["tool_choice"] = chosen


def _tool(function: Any) -> Block:
    tool = {"name": function.name, "input_schema": function.parameters}
    if function.description:
        tool["description"] = function.description
    if function.strict is not None:
        tool["strict"] = function.strict
    return tool


def _messages(conversation: list[Turn]) -> list[dict[str, Any]]:
    """Roles alternate here: what one side says in a row is one message."""
    messages: list[dict[str, Any]] = []
    for turn in conversation:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = _blocks(turn)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})
    return messages


def _blocks(turn: Turn) -> list[Block]:
    said = [_said(part) for part in turn.parts]
    if turn.role == "assistant":
        _cite(turn, said)
        return [*_thought(turn), *said, *map(_call, turn.calls)]
    if turn.role == "tool":
        result: Block = {"type": "tool_result", "tool_use_id": _id(turn.call_id), "content": said}
        return [{**result, "is_error": True} if turn.failed else result]
    return said


def _thought(turn: Turn) -> list[Block]:
    """What must come before tool calls, as it came from Anthropic; thoughts unsigned are refused.

    Of several thinking blocks the first gets all of the text: the signatures hold the thoughts, the
    text is for readers.
    """
    blocks: list[Block] = []
    text = turn.reasoning
    for part, value, _ in turn.kept:
        if part == "signature":
            blocks.append({"type": "thinking", "thinking": text, "signature": value})
            text = ""
        elif part == "redacted_thinking":
            blocks.append({"type": "redacted_thinking", "data": value})
        elif part == "block":
            blocks.append(value)
    return blocks


def _cite(turn: Turn, said: list[Block]) -> None:
    """Citations go back to the text that they support; the last one where that is not known."""
    for kept in turn.kept:
        if kept.part == "citation" and said:
            at = kept.at if kept.at is not None and 0 <= kept.at < len(said) else -1
            if said[at]["type"] == "text":
                said[at].setdefault("citations", []).append(kept.value)


def _said(part: str | Image) -> Block:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.data is None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    return {"type": "image", "source": source}


def _call(call: Any) -> Block:
    arguments = msgspec.Raw(call.arguments.encode())
    return {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": arguments}


def _id(call: str) -> str:
    """Anthropic takes no other characters, which some providers' ids have."""
    return _NOT_IN_IDS.sub("_", call)
