"""How each API is asked which models it has, and what its answer says of them. No I/O.

Sources: the API references of OpenAI ("List models"), Anthropic ("List Models"), Gemini
("models.list") and Ollama ("List models"); what OpenRouter, Mistral, Groq and vLLM add to OpenAI's
shape is in their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from headwater.json_text import UNREADABLE
from headwater.upstream import Request

#: What a model may be able to do besides text, in the order in which it is told.
ABILITIES: Final = ("tools", "images", "reasoning", "json")

# OpenRouter, who has the most, lists some hundreds; more would not be a list to choose from.
_MOST: Final = 2000
_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")
# By their names, since OpenAI's shape does not say what answers in no text.
_NO_TEXT: Final = re.compile(
    r"embed|whisper|\btts\b|dall-e|moderation|realtime|transcribe|\bimage\b|\baudio\b|sora|rerank"
)
_CONTEXT: Final = ("context_length", "context_window", "max_context_length", "max_model_len")
_PARAMETERS: Final = {"tools": "tools", "reasoning": "reasoning", "structured_outputs": "json"}


class Listed(msgspec.Struct, frozen=True):
    """A model as its provider lists it: `context` in tokens, `can` of `ABILITIES`, None unsaid."""

    id: str
    context: int | None = None
    can: tuple[str, ...] | None = None


def list_request(dialect: str, base_url: str, key: str | None) -> Request:
    """The request for the models of an API that speaks `dialect`."""
    base_url = base_url.rstrip("/")
    match dialect:
        case "anthropic":
            headers = {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})
            return Request("GET", f"{base_url}/models?limit=1000", headers)
        case "gemini":
            headers = {"x-goog-api-key": key} if key else {}
            return Request("GET", f"{base_url}/models?pageSize=1000", headers)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    path = "/api/tags" if dialect == "ollama" else "/models"
    return Request("GET", f"{base_url}{path}", headers)


def read_list(dialect: str, body: bytes) -> list[Listed]:
    """The models that can be asked for text; none where the answer is no list of models."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return []
    if isinstance(value, dict):
        value = value.get("models" if dialect in ("gemini", "ollama") else "data")
    if not isinstance(value, list):
        return []
    read = {"anthropic": _anthropic, "gemini": _gemini, "ollama": _ollama}.get(dialect, _openai)
    found: dict[str, Listed] = {}
    for model in value[:_MOST]:
        listed = read(model) if isinstance(model, dict) else None
        if listed is not None and _ID.fullmatch(listed.id):
            found.setdefault(listed.id, listed)
    return list(found.values())


def _openai(model: Mapping[str, Any]) -> Listed | None:
    able = _members(model.get("capabilities"))
    architecture = _members(model.get("architecture"))
    name = _text(model.get("id"))
    if able.get("completion_chat") is False or _NO_TEXT.search(name):
        return None
    if "text" not in _list(architecture.get("output_modalities"), "text"):
        return None
    context = next((n for name in _CONTEXT if (n := _tokens(model.get(name)))), None)
    if not able and not architecture:
        return Listed(name, context)
    can = {_PARAMETERS.get(str(each)) for each in _list(model.get("supported_parameters"))}
    if able.get("function_calling"):
        can.add("tools")
    if able.get("vision") or "image" in _list(architecture.get("input_modalities")):
        can.add("images")
    if able.get("reasoning"):
        can.add("reasoning")
    return Listed(name, context, _ordered(can))


def _anthropic(model: Mapping[str, Any]) -> Listed | None:
    able = model.get("capabilities")
    listed = Listed(_text(model.get("id")), _tokens(model.get("max_input_tokens")))
    if not isinstance(able, dict):
        return listed
    names = {"image_input": "images", "thinking": "reasoning", "structured_outputs": "json"}
    can = {own for name, own in names.items() if _members(able.get(name)).get("supported")}
    # Of tools it says nothing: every model that it lists takes them.
    return Listed(listed.id, listed.context, _ordered({"tools", *can}))


def _gemini(model: Mapping[str, Any]) -> Listed | None:
    name = _text(model.get("name")).removeprefix("models/")
    methods = _list(model.get("supportedGenerationMethods"), "generateContent")
    if "generateContent" not in methods or _NO_TEXT.search(name):
        return None
    can = ("reasoning",) if model.get("thinking") is True else None
    return Listed(name, _tokens(model.get("inputTokenLimit")), can)


def _ollama(model: Mapping[str, Any]) -> Listed | None:
    able = model.get("capabilities")
    listed = Listed(_text(model.get("model") or model.get("name")))
    if not isinstance(able, list):
        return listed
    if "completion" not in able:
        return None
    names = {"tools": "tools", "vision": "images", "thinking": "reasoning"}
    return Listed(listed.id, None, _ordered(names.get(str(each)) for each in able))


def _ordered(can: Iterable[str | None]) -> tuple[str, ...]:
    given = set(can)
    return tuple(each for each in ABILITIES if each in given)


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any, *absent: str) -> list[Any]:
    return value if isinstance(value, list) else list(absent)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 and value is not True else None
