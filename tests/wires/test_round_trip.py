"""What came out goes in again: whole answers, sent back as the conversation's next turn."""

from __future__ import annotations

from typing import Any

import pytest

from headwater import events as ev
from headwater import wires
from headwater.wires.openai_responses import WIRE, ResponsesOptions
from tests.wires.logs import EVERYTHING, STREAM, ended, failed, snapshot, whole

SIGNED: dict[str, Any] = {"provider": "anthropic", "part": "signature", "value": "sig"}
REDACTED: dict[str, Any] = {"provider": "anthropic", "part": "redacted_thinking", "value": "red"}
CITED: dict[str, Any] = {
    "provider": "anthropic",
    "part": "citation",
    "value": {"type": "char_location"},
}
ITEM: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "enc",
}
ENCRYPTED: dict[str, Any] = {
    "provider": "openai",
    "part": "reasoning",
    "value": {**ITEM, "status": "completed"},
}
FOREIGN: dict[str, Any] = {"provider": "gemini", "part": "thought_signature", "value": {"a": [1]}}

TURN = ended(
    "tool-calls",
    ev.ReasoningDelta("Let me "),
    ev.ReasoningDelta("think."),
    *(ev.ProviderData(**kept) for kept in (SIGNED, REDACTED)),
    ev.ProviderData("openai", "reasoning", ITEM),
    ev.ProviderData(**FOREIGN),
    ev.TextDelta("Look"),
    ev.ProviderData(**CITED),
    ev.TextDelta("ing."),
    ev.ToolCallStart("c1", "weather"),
    ev.ToolCallDelta("c1", '{"city":'),
    ev.ToolCallDelta("c1", '"Z"}'),
    ev.ToolCallEnd("c1"),
)
ARGUED = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Z"}'}}  # fmt: skip


def next_turn(wire: str, answer: Any) -> dict[str, Any]:
    match wire:
        case "anthropic":
            return {"messages": [{"role": "assistant", "content": answer["content"]}]}
        case "responses":
            return {"input": answer["output"]}
        case "ui":
            return {"messages": [answer]}
    return {"messages": answer["messages"]}


@pytest.mark.parametrize(
    ("wire", "kept"),
    [
        ("anthropic", [SIGNED, REDACTED, CITED]),
        ("responses", [ENCRYPTED]),
        ("ui", [SIGNED, REDACTED, ENCRYPTED, FOREIGN, CITED]),
        ("agui", [SIGNED, REDACTED, ENCRYPTED, FOREIGN, CITED]),
    ],
)
def test_what_only_the_provider_understands_comes_back(wire: str, kept: list[Any]) -> None:
    if wire in ("ui", "agui"):  # these hold the value itself, not an item made of it
        kept = [{**each, "value": ITEM} if each is ENCRYPTED else each for each in kept]
    [message] = wires.get(wire).parse(next_turn(wire, whole(wire, TURN))).messages
    assert message == {
        "role": "assistant",
        "content": "Looking.",
        "reasoning_content": "Let me think.",
        "tool_calls": [ARGUED],
        "provider_data": kept,
    }


def test_whole_of_anthropic() -> None:
    message = whole("anthropic", TURN)
    assert message == {
        "id": f"msg_{STREAM}",
        "type": "message",
        "role": "assistant",
        "model": "a-model",
        "content": [
            {"type": "thinking", "thinking": "Let me think.", "signature": "sig"},
            {"type": "redacted_thinking", "data": "red"},
            {"type": "text", "text": "Looking.", "citations": [CITED["value"]]},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Z"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 6, "output_tokens": 7, "cache_read_input_tokens": 4},
    }


def test_whole_of_responses() -> None:
    options = ResponsesOptions('{"metadata":{"a":"b"},"temperature":0.5}')
    done = whole("responses", TURN, options)
    assert done["metadata"] == {"a": "b"}
    assert done["temperature"] == 0.5
    assert (done["id"], done["object"], done["status"]) == (f"resp_{STREAM}", "response", "completed")  # fmt: skip
    assert [item["type"] for item in done["output"]] == ["reasoning", "reasoning", "message", "function_call"]  # fmt: skip
    assert done["usage"]["input_tokens_details"] == {"cached_tokens": 4}
    assert done["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    broken = whole("responses", failed())
    assert broken["status"] == "failed"
    assert broken["error"] == {"code": "upstream_timeout", "message": "No token within 60 s."}
    assert broken["output"][0]["content"][0]["text"] == "Hi"
    running = whole("responses", TURN[:-5])
    assert running["status"] == "in_progress"
    assert running["output"][-1]["content"][0]["text"] == "Looking."


@pytest.mark.parametrize("wire", wires.names())
def test_every_whole_answer_is_json(wire: str) -> None:
    for log in (EVERYTHING, TURN, ended("cancelled"), [EVERYTHING[0], EVERYTHING[-1]]):
        assert whole(wire, log)


def test_numbers_so_far() -> None:
    options = ResponsesOptions()
    assert WIRE.count(snapshot(EVERYTHING), options) == 39
    assert WIRE.count(snapshot(EVERYTHING[:1]), options) == 2
    assert WIRE.count(snapshot(failed()), options) == 10
