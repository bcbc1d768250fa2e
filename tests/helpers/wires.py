"""Every wire: where a stream is begun in it, and what a body is that asks for one."""

from __future__ import annotations

from typing import Any, Final

PATHS: Final = {
    "plain": "/stream",
    "native": "/v1/streams",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ui": "/api/chat",
    "agui": "/agui",
}
WIRES: Final = list(PATHS)


def body_of(wire: str, prompt: str, **members: Any) -> dict[str, Any]:
    """What asks for a stream in this wire; `members` are at the top, whatever they mean there."""
    text = {"role": "user", "content": prompt}
    match wire:
        case "responses":
            body: dict[str, Any] = {"input": prompt, "stream": True}
        case "anthropic":
            body = {"max_tokens": 9, "messages": [text], "stream": True}
        case "ui":
            parts = [{"type": "text", "text": prompt}]
            body = {"id": "chat", "messages": [{"id": "u", "role": "user", "parts": parts}]}
        case "agui":
            body = {"threadId": "t", "runId": "r", "messages": [{"id": "u", **text}]}
        case _:
            body = {"messages": [text], "stream": True}
    return body | members
