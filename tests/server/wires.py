"""Every wire, as its client sees it: where it is asked, with what, and what an answer says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from headwater.errors import STATUS
from headwater.wires.anthropic import failure_json
from tests.server.serving import data_of, frames

PATHS: Final = {
    "plain": "/stream",
    "native": "/v1/streams",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ui": "/api/chat",
    "agui": "/agui",
}
EVERY_WIRE: Final = list(PATHS)
#: The wires whose head waits for the first event, so that an SDK sees a status.
WAITING: Final = frozenset({"openai", "responses", "anthropic"})
#: What `outcome` says where native says this reason: the table of finish reasons.
_ENDS: Final = {
    "stop": ("done", "stop", "completed", "end_turn", "stop", "finished"),
    "length": ("done", "length", "max_output_tokens", "max_tokens", "length", "finished"),
    "tool-calls": ("done", "tool_calls", "completed", "tool_use", "tool-calls", "finished"),
    "content-filter": ("done", "content_filter", "content_filter", "refusal", "content-filter", "finished"),
    "cancelled": ("done", "stop", "cancelled", "end_turn", "abort", "aborted"),
}  # fmt: skip


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


def text_of(wire: str, body: bytes) -> str:
    """The answer's text as a reader of this wire has it."""
    return "".join(_text(wire, value) for value in _values(body))


def outcome(wire: str, body: bytes) -> str:
    """How a whole response ended; fails unless it ended exactly once, at its end."""
    values = list(_values(body))
    ends = [said for value in values if (said := _end(wire, value)) is not None]
    done = [data_of(frame) for frame in frames(body)].count(b"[DONE]")
    assert done == (wire in ("plain", "openai", "ui"))
    assert not done or body.endswith(b"data: [DONE]\n\n")
    if wire == "plain" and not ends:
        return "done"
    assert len(ends) == 1, ends
    if wire not in ("openai", "anthropic"):  # there usage, or `message_stop`, may come after it
        assert _end(wire, values[-1]) is not None
    return ends[0]


def is_end(wire: str, reason: str) -> str:
    """What `outcome` says of a response that ended with this reason."""
    others = dict(zip([w for w in EVERY_WIRE if w != "native"], _ENDS[reason], strict=True))
    return others.get(wire, reason)


def is_error(wire: str, code: str) -> str:
    """What `outcome` says of a response that ended with this code."""
    match wire:
        case "plain" | "ui":
            return "error"
        case "anthropic":
            assert code in STATUS
            return str(failure_json(code, "")["type"])
    return code


def assert_refused(wire: str, body: bytes, code: str) -> None:
    """An answer with a status, in the wire's own shape."""
    told = json.loads(body)
    if wire == "anthropic":
        assert (told["type"], told["error"]["type"]) == ("error", is_error(wire, code))
    else:
        assert told["error"]["code"] == code


def _values(body: bytes) -> Iterator[Any]:
    for data in map(data_of, frames(body)):
        if data != b"[DONE]":
            yield json.loads(data)


def _text(wire: str, value: Any) -> str:
    kind = value.get("type")
    match wire:
        case "plain":
            text = value.get("token")
        case "native":
            text = value["text"] if kind == "text-delta" else ""
        case "openai":
            text = value["choices"][0]["delta"].get("content") if value.get("choices") else ""
        case "anthropic":
            text = value["delta"].get("text") if kind == "content_block_delta" else ""
        case _:
            pieces = ("response.output_text.delta", "text-delta", "TEXT_MESSAGE_CONTENT")
            text = value["delta"] if kind in pieces else ""
    return text or ""


def _end(wire: str, value: Any) -> str | None:
    """How this frame says that the response is over; None for one that does not."""
    return _finish(wire, value) or _failure(wire, value)


def _finish(wire: str, value: Any) -> str | None:
    match wire, value:
        case (
            ("native", {"type": "stream-end", "reason": str(said)})
            | ("openai", {"choices": [{"finish_reason": str(said)}]})
            | ("anthropic", {"type": "message_delta", "delta": {"stop_reason": str(said)}})
            | ("ui", {"type": "finish", "finishReason": str(said)})
            | ("ui", {"type": "abort" as said})
        ):
            return str(said)
        case "responses", {"type": "response.incomplete", "response": response}:
            return str(response["incomplete_details"]["reason"])
        case "responses", {"type": "response.completed"}:
            return "completed"
        case "agui", {"type": "RUN_FINISHED"}:
            return "finished"
    return None


def _failure(wire: str, value: Any) -> str | None:
    match wire, value:
        case (
            ("native", {"type": "stream-error", "code": str(said)})
            | (
                "openai",
                {"error": {"message": str(), "type": str(), "param": _, "code": str(said)}},
            )
            | ("responses", {"type": "response.failed", "response": {"error": {"code": str(said)}}})
            | ("anthropic", {"type": "error", "error": {"type": str(said)}})
            | ("agui", {"type": "RUN_ERROR", "code": str(said)})
        ):
            return str(said)
        case ("plain", {"error": str()}) | ("ui", {"type": "error", "errorText": str()}):
            return "error"
    return None
