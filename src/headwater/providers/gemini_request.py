"""A request as Gemini's own API takes it.

Sources: the Gemini API reference, "Generating content" (`GenerateContentRequest`, `Content`,
`GenerationConfig`, `Tool`), and its guides "Function calling", "Structured output", "Thinking" and
"Thought signatures" (what goes back, and what stands for a signature that never was).
"""

from __future__ import annotations

import mimetypes
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from headwater.json_text import UNREADABLE, JsonBounds, read_json
from headwater.providers.conversation import Call, Image, Turn, system_text, turns
from headwater.providers.members import Function, Members, Schema
from headwater.providers.returned import is_text, only
from headwater.providers.text import MADE

VENDOR: Final = "gemini"
_API: Final = "Gemini's API"

_MAX_STOPS: Final = 5
_CONFIG: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
# For calls that another model made: Gemini 3 refuses a call without a signature.
_UNSIGNED: Final = "skip_thought_signature_validator"

_SIGNED: Final = only("signature", "call")
_RETURNABLE: Final = {
    "part": only("executableCode", "codeExecutionResult"),
    "thought_signature": lambda value: is_text(value) or _SIGNED(value),
}

Part = dict[str, Any]


def content_body(request: GenerationRequest, kept: Collection[str] = ()) -> dict[str, Any]:
    """The body; `RequestError` for what this API lacks. `kept` members go on as they are."""
    conversation = turns(request.messages, _API, VENDOR, _RETURNABLE, tells_failure=True)
    members = Members(request.options, _API, kept)
    body: dict[str, Any] = {"contents": _contents(conversation)}
    if system := system_text(conversation):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    config: dict[str, Any] = {}
    members.into(config, _CONFIG)
    if limit := members.max_tokens():
        config["maxOutputTokens"] = limit
    if stops := members.stops(_MAX_STOPS):
        config["stopSequences"] = stops
    _format(config, members.schema())
    _think(config, members.effort(), members.take("thinking"))
    if members.take("reasoning_summary") is not None:
        config["thinkingConfig"] = {**config.get("thinkingConfig", {}), "includeThoughts": True}
    if config:
        body["generationConfig"] = config
    _tools(body, members)
    return {**members.done(), **body}


def _format(config: dict[str, Any], wanted: Schema | None) -> None:
    if wanted is None:
        return
    config["responseMimeType"] = "application/json"
    if wanted.schema is not None:
        config["responseJsonSchema"] = wanted.schema


def _think(config: dict[str, Any], effort: str | None, thinking: Any) -> None:
    """By OpenAI's member, or by Anthropic's, which counts in tokens as Gemini can."""
    thoughts: dict[str, Any] = {}
    match thinking:
        case {"type": "disabled"}:
            thoughts["thinkingBudget"] = 0
        case {"type": "enabled", "budget_tokens": int(tokens)}:
            thoughts = {"thinkingBudget": tokens, "includeThoughts": True}
        case {"type": "adaptive"}:
            thoughts["includeThoughts"] = True
    if effort == "none":
        thoughts = {"thinkingBudget": 0}
    elif effort is not None:  # a level and a budget exclude each other
        thoughts = {"thinkingLevel": effort, "includeThoughts": True}
    if thoughts:
        config["thinkingConfig"] = thoughts


def _tools(body: dict[str, Any], members: Members) -> None:
    given = members.take("tools")
    own, others = _own(given)
    members.put("tools", others if own else given)
    functions, _ = members.tools()
    choice = members.tool_choice()
    if not functions and not own:
        return
    # `googleSearch` and its like are members of a tool, and have no type.
    body["tools"] = list(own)
    if functions:
        body["tools"].append({"functionDeclarations": [_declaration(f) for f in functions]})
    match choice:
        case ("function", name):
            calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [name]}
        case "required":
            calling = {"mode": "ANY"}
        case "none":
            calling = {"mode": "NONE"}
        case _ if any(function.strict for function in functions):
            calling = {"mode": "VALIDATED"}  # as ANY does, it holds calls to their schemas
        case _:
            return
    body["toolConfig"] = {"functionCallingConfig": calling}


def _own(given: Any) -> tuple[list[Any], list[Any]]:
    """Gemini's own tools, which have no type, and the other ones."""
    own: list[Any] = []
    others: list[Any] = []
    for tool in given or ():
        (own if isinstance(tool, dict) and "type" not in tool else others).append(tool)
    return own, others


def _declaration(function: Function) -> dict[str, Any]:
    declared = {"name": function.name, "parametersJsonSchema": function.parameters}
    if function.description:
        declared["description"] = function.description
    return declared


def _contents(conversation: list[Turn]) -> list[dict[str, Any]]:
    """What one side says in a row is one content: results of parallel calls come together."""
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    bounds = JsonBounds()  # of the results of all calls together
    for number, turn in enumerate(conversation):
        if turn.role == "system":
            continue
        role = "model" if turn.role == "assistant" else "user"
        parts = _parts(turn, names, number, bounds)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
        names.update((call.id, call.name) for call in turn.calls)
    return contents


def _parts(turn: Turn, names: dict[str, str], number: int, bounds: JsonBounds) -> list[Part]:
    if turn.role == "tool":
        return [_result(turn, names, number, bounds)]
    said = [_said(part) for part in turn.parts]
    if turn.role != "assistant":
        return said
    ran: list[Part] = turn.kept_as("part")
    calls = [_call(call) for call in turn.calls]
    _sign(turn, said, calls)
    return [*ran, *said, *calls]


def _sign(turn: Turn, said: list[Part], calls: list[Part]) -> None:
    """Put each signature back on the part that it came with."""
    by_call = {call.id: part for call, part in zip(turn.calls, calls, strict=True)}
    for value in turn.kept_as("thought_signature"):
        signed = value if isinstance(value, dict) else {"signature": value}
        part = by_call.get(str(signed.get("call")))
        if part is None and not isinstance(value, dict) and calls:
            part = calls[0]
        if part is None:
            # Of text it came at the end, often on an empty part of its own.
            said.append({"text": "", "thoughtSignature": signed.get("signature")})
        else:
            part["thoughtSignature"] = signed.get("signature")
    # Of parallel calls only the first is signed.
    if calls and not any("thoughtSignature" in part for part in calls):
        calls[0]["thoughtSignature"] = _UNSIGNED


def _said(part: str | Image) -> Part:
    if isinstance(part, str):
        return {"text": part}
    if part.data is not None:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    kind = mimetypes.guess_type(urlsplit(part.url).path)[0] or "image/jpeg"
    return {"fileData": {"fileUri": part.url, "mimeType": kind}}


def _call(call: Call) -> Part:
    function: dict[str, Any] = {"name": call.name, "args": msgspec.Raw(call.arguments.encode())}
    return {"functionCall": function | _named(call.id)}


def _result(turn: Turn, names: dict[str, str], number: int, bounds: JsonBounds) -> Part:
    name = names.get(turn.call_id)
    if name is None:
        where = f"messages[{number}].tool_call_id"
        raise RequestError(f"{where} is of no call before it.", param=where)
    if any(isinstance(part, Image) for part in turn.parts):
        where = f"messages[{number}].content"
        raise RequestError(f"{where}: {_API} takes no images as a tool's result.", param=where)
    said = {"error": turn.text} if turn.failed else _object(turn.text, bounds)
    response: dict[str, Any] = {"name": name, "response": said}
    return {"functionResponse": response | _named(turn.call_id)}


def _named(call: str) -> dict[str, str]:
    """An id that Gemini did not give it need not be sent."""
    return {} if call.startswith(MADE) else {"id": call}


def _object(text: str, bounds: JsonBounds) -> Any:
    """A result must be an object. What is one, within the bounds, stays as the tool wrote it."""
    try:
        if isinstance(read_json(text, bounds), dict):
            return msgspec.Raw(text.encode())
    except (*UNREADABLE, RequestError):
        pass
    return {"result": text}
