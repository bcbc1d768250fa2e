"""A request as OpenAI's Responses API takes it.

Sources: OpenAI's API reference, "Create a model response", and its guides "Migrate to the Responses
API" (what is called otherwise) and "Conversation state".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from headwater.generation import GenerationRequest
from headwater.providers.conversation import Image, Turn, turns
from headwater.providers.members import Function, Members
from headwater.providers.returned import typed

VENDOR: Final = "openai"
_API: Final = "OpenAI's Responses API"

_SAME: Final = ("temperature", "top_p", "parallel_tool_calls", "service_tier")
_KEPT: Final = (
    "include",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "truncation",
    "user",
)
# Any type but the two that Chat Completions has: web_search, file_search, mcp, …
_OWN_TOOLS: Final = ("",)

# Besides calls: what else tools that ran at the provider leave.
_LEFT: Final = ("compaction", "mcp_approval_request", "mcp_list_tools")
_RETURNABLE: Final = {
    "reasoning": typed(lambda kind: kind == "reasoning"),
    "item": typed(lambda kind: kind.endswith("_call") or kind in _LEFT),
}

Item = dict[str, Any]


def response_body(
    request: GenerationRequest, model: str, kept: Collection[str] = ()
) -> dict[str, Any]:
    """The body; `RequestError` for what this API lacks. `kept` members go on as they are."""
    conversation = turns(request.messages, _API, VENDOR, _RETURNABLE)
    members = Members(request.options, _API, (*_KEPT, *kept))
    body: dict[str, Any] = {}
    members.into(body, {name: name for name in _SAME})
    if limit := members.max_tokens():
        body["max_output_tokens"] = limit
    members.take("stream_options")  # those of Chat Completions; usage comes unasked
    text = _format(members)
    tools = _tools(members)
    if reasoning := _reasoning(members):
        body["reasoning"] = reasoning
    # A conversation is the caller's; kept at the provider only if the caller says so.
    return {
        "store": False,
        **members.done(),
        **body,
        **text,
        **tools,
        "model": model,
        "input": [item for turn in conversation for item in _items(turn)],
        "stream": True,
    }


def _reasoning(members: Members) -> dict[str, Any]:
    given, effort = members.take("reasoning"), members.effort()
    reasoning: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if effort is not None:
        reasoning["effort"] = effort
    members.into(reasoning, {"reasoning_summary": "summary"})
    return reasoning


def _format(members: Members) -> dict[str, Any]:
    given, wanted = members.take("text"), members.schema()
    text: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if wanted is not None:
        kind = "json_object" if wanted.schema is None else "json_schema"
        text["format"] = {"type": kind, **wanted.given}
    if (verbosity := members.take("verbosity")) is not None:
        text["verbosity"] = verbosity
    return {"text": text} if text else {}


def _tools(members: Members) -> dict[str, Any]:
    functions, own = members.tools(_OWN_TOOLS)
    choice = members.take("tool_choice")
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            choice = {"type": "function", "name": name}
    if not functions and not own:
        return {}
    tools = {"tools": [*map(_tool, functions), *own]}
    return tools if choice is None else {**tools, "tool_choice": choice}


def _tool(function: Function) -> Item:
    tool: Item = {"type": "function", "name": function.name, "parameters": function.parameters}
    if function.description:
        tool["description"] = function.description
    # Strict by default here, and not in Chat Completions.
    return {**tool, "strict": bool(function.strict)}


def _items(turn: Turn) -> list[Item]:
    if turn.role == "tool":
        return [{"type": "function_call_output", "call_id": turn.call_id, "output": _said(turn)}]
    if turn.role != "assistant":
        return [{"role": turn.role, "content": _said(turn)}]
    items: list[Item] = [kept.value for kept in turn.kept]
    if turn.text:
        items.append({"role": "assistant", "content": turn.text})
    items += [
        {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": c.arguments}
        for c in turn.calls
    ]
    return items


def _said(turn: Turn) -> str | list[Item]:
    if not any(isinstance(part, Image) for part in turn.parts):
        return turn.text
    return [_part(part) for part in turn.parts]


def _part(part: str | Image) -> Item:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
