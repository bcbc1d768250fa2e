"""The request that the plain and the native wire share: a prompt, or messages."""

from __future__ import annotations

from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from headwater.wires.base import JSON, Wire, WireOptions
from headwater.wires.requests import chat_request


class PromptWire(Wire[WireOptions]):
    """Exactly one of `prompt` (one user message) and `messages`; the rest as Chat Completions."""

    defaults = WireOptions()

    def parse(self, body: JSON) -> GenerationRequest:
        prompt, messages = body.get("prompt"), body.get("messages")
        if (prompt is None) == (messages is None):
            problem = "neither" if prompt is None else "both"
            raise RequestError(
                f'The body must have exactly one of "prompt" and "messages"; it has {problem}.',
                param="prompt",
            )
        if prompt is None:
            return chat_request(body, messages)
        if not isinstance(prompt, str):
            raise RequestError("prompt must be a string.", param="prompt")
        return chat_request(body, [{"role": "user", "content": prompt}])
