"""What a caller asks for, whatever wire it was asked in and whichever provider will answer."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

Message = dict[str, Any]


class Sampling(TypedDict, total=False):
    """Members of a request that are keywords of `response`, `stream` and `stream_sync`.

    Their names and meaning are those of OpenAI's Chat Completions. Other members of a request, such
    as those of one provider alone, go into `extra`.
    """

    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    max_tokens: int
    max_completion_tokens: int
    stop: str | list[str]
    seed: int
    reasoning_effort: str
    verbosity: str
    response_format: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one response.

    `messages` have the shape of OpenAI's Chat Completions. `options` holds every other member of
    the body as it came: sampling parameters, tools, and what only an OpenAI-compatible upstream
    knows. `stream` is False when the caller wants the response whole. `principal` is the caller;
    no provider is sent it.
    """

    messages: list[Message]
    model: str | None = None
    options: dict[str, Any] = {}
    stream: bool = True
    principal: str | None = None


class PartialText(msgspec.Struct, frozen=True):
    """What a response that broke off has said, for another attempt to go on from.

    `tokens` is how many tokens that was at least: what was counted, else the pieces it came in.
    """

    text: str
    reasoning: str = ""
    tokens: int = 0
