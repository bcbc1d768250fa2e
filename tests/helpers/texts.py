"""The text of an answer as a reader of each wire has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.server.serving import data_of, frames, text_of

_PIECES: dict[str, Callable[[Any], str]] = {
    "responses": lambda v: v["delta"] if v["type"] == "response.output_text.delta" else "",
    "anthropic": lambda v: v["delta"].get("text", "") if v["type"] == "content_block_delta" else "",
    "ui": lambda v: v["delta"] if v["type"] == "text-delta" else "",
    "agui": lambda v: v["delta"] if v["type"] == "TEXT_MESSAGE_CONTENT" else "",
}


def text_in(wire: str, body: bytes) -> str:
    """Of the frames of any wire."""
    if wire not in _PIECES:
        return text_of(wire, body)
    values = [data_of(frame) for frame in frames(body)]
    return "".join(_PIECES[wire](json.loads(v)) for v in values if v != b"[DONE]")
