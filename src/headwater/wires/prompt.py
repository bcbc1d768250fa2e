"""The request that the plain and the native wire share: a prompt, or messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import HeadwaterError, RequestError
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest
from headwater.wires.base import JSON, PING, OnDisconnect, error_body
from headwater.wires.requests import chat_request


class PromptWire:
    """Exactly one of `prompt` (one user message) and `messages`; the rest as Chat Completions."""

    heartbeat = PING
    headers: Mapping[str, str] = {}
    waits_for_first = False
    on_disconnect: OnDisconnect = 30.0

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

    def options(self, body: JSON) -> tuple[Any, ...]:
        return ()

    def error(self, error: HeadwaterError, request_id: str) -> JSON:
        return error_body(error, request_id)

    def whole(self, snapshot: Snapshot, options: tuple[Any, ...] = ()) -> JSON:
        return snapshot.describe()
