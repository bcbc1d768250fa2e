"""The APIs that providers speak, by the name that `dialect` in a table of `[providers]` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from headwater.providers.anthropic import Messages
from headwater.providers.base import Dialect
from headwater.providers.gemini import GenerateContent
from headwater.providers.ollama import OllamaChat
from headwater.providers.openai_chat import ChatCompletions
from headwater.providers.openai_responses import Responses
from headwater.settings import Endpoint
from headwater.settings.plugins import Registry

#: Makes the dialect of one provider.
Factory = Callable[[Endpoint], Dialect]

#: Those whose API lists its models.
BUILT_IN: Final[dict[str, Factory]] = {
    "openai": lambda endpoint: ChatCompletions(
        endpoint.renames, endpoint.continuation, echoes=endpoint.echoes
    ),
    "responses": lambda endpoint: Responses(endpoint.members),
    "anthropic": lambda endpoint: Messages(endpoint.members),
    "gemini": lambda endpoint: GenerateContent(endpoint.members),
    "ollama": lambda endpoint: OllamaChat(endpoint.members),
}


def _checked(name: str, found: Any) -> Factory:
    if not callable(found):
        raise TypeError(f"it is a {type(found).__name__}, and must be called")
    factory: Factory = found
    return factory


REGISTRY: Final[Registry[Factory]] = Registry("headwater.dialects", "dialect", BUILT_IN, _checked)
get = REGISTRY.get
