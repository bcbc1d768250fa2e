"""A chunk of Chat Completions as data, typed as far as it is used."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec

from headwater.events import Usage
from headwater.providers.parser import counted

# Only the members that are used: what is not named here is skipped without being built.


class Function(msgspec.Struct, gc=False):
    """What a call calls."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # an object from servers that write calls whole


class ToolCall(msgspec.Struct, gc=False):
    """A fragment of a call."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Piece(msgspec.Struct, gc=False):
    """A part of Mistral's content; `thinking` is a list of such parts."""

    text: str | None = None
    thinking: list[Piece] | None = None


class Delta(msgspec.Struct, gc=False):
    """What is new."""

    content: str | list[Piece] | None = None  # Mistral's reasoning models send a list
    reasoning_content: str | None = None
    reasoning: str | None = None  # OpenRouter's, Groq's and newer vLLM's name for it
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: list[Any] | None = None  # pages that the answer rests on


class Choice(msgspec.Struct, gc=False):
    """The one choice of a stream."""

    delta: Delta | None = None
    message: Delta | None = None  # an upstream that ignored `stream: true`
    finish_reason: str | None = None


class Details(msgspec.Struct, gc=False):
    """Of what tokens there were."""

    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class ChunkUsage(msgspec.Struct, gc=False):
    """What the provider counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: Details | None = None
    prompt_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name


class Groq(msgspec.Struct, gc=False):
    """What Groq says beside."""

    usage: ChunkUsage | None = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """One message of a stream."""

    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None
    object: str | None = None
    x_groq: Groq | None = None


#: One chunk; msgspec's errors, and `UnicodeDecodeError`, for what is not one.
decode = msgspec.json.Decoder(Chunk).decode


def decode_leniently(data: bytes) -> Chunk | None:
    """A chunk that `decode` refused, or None when it is not JSON or its text cannot be read.

    msgspec refuses lone surrogates and invalid UTF-8, which providers do send where they cut a
    character in two; the standard library reads them.
    """
    try:
        value = json.loads(data.decode(errors="replace"))
        if not isinstance(value, dict):
            return None
        return msgspec.convert(value, Chunk, strict=False)
    except msgspec.ValidationError:
        return _fitting(value)
    except (ValueError, RecursionError):
        return None


def _fitting(value: dict[str, Any]) -> Chunk | None:
    """What can be read of a chunk with odd members; None when its text cannot.

    A hole in an answer that seems whole would be worse than an error.
    """
    chunk = Chunk(error=value.get("error"))
    with suppress(msgspec.ValidationError):
        chunk.usage = msgspec.convert(value.get("usage"), ChunkUsage | None, strict=False)
    try:
        chunk.choices = [_fitting_choice(choice) for choice in value.get("choices") or ()]
    except (AttributeError, TypeError, msgspec.ValidationError):
        return chunk if chunk.error else None
    return chunk


def _fitting_choice(choice: dict[str, Any]) -> Choice:
    """Members such as `"refusal": false` say nothing, whatever their type."""
    kept = {name: value for name, value in choice.items() if value}
    for name in ("delta", "message"):
        if name in kept:
            kept[name] = {key: value for key, value in kept[name].items() if value}
    return msgspec.convert(kept, Choice, strict=False)


def usage_of(usage: ChunkUsage) -> Usage:
    """What a chunk counted."""
    answered = usage.completion_tokens_details or Details()
    asked = usage.prompt_tokens_details or Details()
    cached = asked.cached_tokens
    if cached is None:
        cached = usage.prompt_cache_hit_tokens
    reasoning = answered.reasoning_tokens
    return counted(usage.prompt_tokens, usage.completion_tokens, reasoning, cached)
