"""What only one provider's wire has, each a case of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.events import (
    Citation,
    Event,
    File,
    FinishReason,
    ProviderData,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from headwater.providers.base import Dialect, Finish, Outcome
from headwater.providers.gemini import GenerateContent
from tests.providers.recorded import (
    ANTHROPIC,
    CALLED,
    GEMINI,
    LINKED,
    OLLAMA,
    RESPONSES,
    Recorded,
    block_delta,
    block_start,
    block_stop,
    candidate,
    data,
    named,
    output,
    said,
)


@pytest.fixture(autouse=True)
def nothing_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.providers.text.secrets.token_hex", lambda size: "0" * 2 * size)


def parse(recorded: Recorded, *messages: object) -> tuple[list[Event], Outcome | None]:
    dialect: Dialect = recorded.dialect
    parser = dialect.parser("acme", recorded.content_type)
    events = parser.feed(b"".join(map(recorded.framed, messages)))
    return [*events, *parser.end()], parser.outcome


def reason(outcome: Outcome | None) -> FinishReason:
    assert isinstance(outcome, Finish), outcome
    return outcome.reason


def stopped(why: str) -> list[object]:
    return [{"type": "message_delta", "delta": {"stop_reason": why}, "usage": {"output_tokens": 1}}, {"type": "message_stop"}]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "reason_"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool-calls"),
        ("refusal", "content-filter"),
        ("of_a_later_version", "stop"),
    ],
)
def test_anthropic_reasons(why: str, reason_: FinishReason) -> None:
    assert reason(parse(ANTHROPIC, *stopped(why))[1]) == reason_


@pytest.mark.parametrize(
    ("messages", "events"),
    [
        ([b"event: message_stop\ndata: {\"type\":\"message_stop\"}"], []),
        ([b"data: [DONE]\n\n", {"type": "message_stop"}], []),
        ([{"type": "ping"}, b": hi\n\n", {"type": "message_stop"}], []),
        ([block_start(0, type="text", text="at once"), {"type": "message_stop"}], [TextDelta("at once")]),
        (
            [block_start(0, type="tool_use", id="t", name="f", input={"a": 1}), block_stop(0), {"type": "message_stop"}],
            [ToolCallStart("t", "f"), ToolCallDelta("t", '{"a":1}'), ToolCallEnd("t")],
        ),
        (
            [block_start(0, type="tool_use", id="t", name="f"), {"type": "message_stop"}],
            [ToolCallStart("t", "f"), ToolCallEnd("t")],
        ),
        ([block_delta(7, "input_json_delta", partial_json="{}"), {"type": "message_stop"}], []),
        ([block_delta(0, "citations_delta", citation={"type": "char_location", "cited_text": "x"}), {"type": "message_stop"}],
         [ProviderData("anthropic", "citation", {"type": "char_location", "cited_text": "x"})]),
        ([b'data: {"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"a\\ud83d"}}\n\n', {"type": "message_stop"}],
         [ProviderData("anthropic", "redacted_thinking", "a�")]),
    ],
    ids=["no blank line at the end", "[DONE]", "ping", "text at once", "a whole call", "a call that was not closed", "a delta of no block", "a citation without a URL", "half a character in data"],
)  # fmt: skip
def test_anthropic(messages: list[object], events: list[Event]) -> None:
    got, outcome = parse(ANTHROPIC, *messages)
    assert got == events
    assert reason(outcome) == "stop"


def test_anthropic_twice_begun() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
    _, outcome = parse(ANTHROPIC, start, start, *stopped("end_turn"))
    assert outcome == Finish("stop", Usage(3, 1))


@pytest.mark.parametrize(
    ("why", "reason_"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content-filter"),
        ("RECITATION", "content-filter"),
        ("PROHIBITED_CONTENT", "content-filter"),
        ("OF_A_LATER_VERSION", "stop"),
    ],
)
def test_gemini_reasons(why: str, reason_: FinishReason) -> None:
    assert reason(parse(GEMINI, candidate(finishReason=why))[1]) == reason_


@pytest.mark.parametrize(
    ("messages", "events", "reason_"),
    [
        ([{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 1}}], [], "content-filter"),
        ([candidate({"text": "a"}), {"candidates": [{"content": {}, "finishReason": "SAFETY"}]}], [TextDelta("a")], "content-filter"),
        ([candidate({"inlineData": {"mimeType": "image/png", "data": "iVBO"}}, finishReason="STOP")], [File("image/png", "data:image/png;base64,iVBO")], "stop"),
        (
            [candidate({"executableCode": {"language": "PYTHON", "code": "1"}}, finishReason="STOP")],
            [ProviderData("gemini", "part", {"executableCode": {"language": "PYTHON", "code": "1"}})],
            "stop",
        ),
        ([candidate({"functionCall": {"id": "c", "name": "f", "args": None}}, finishReason="STOP")], [ToolCallStart("c", "f"), ToolCallEnd("c")], "tool-calls"),
        ([b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"c","name":"f","args":{"a":"x\xff\\ud83d"}}}]},"finishReason":"STOP"}]}\n\n'],
         [ToolCallStart("c", "f"), ToolCallDelta("c", '{"a": "x\\ufffd\\ufffd"}'), ToolCallEnd("c")], "tool-calls"),
        ([data([candidate({"text": "a"}), candidate(finishReason="STOP")])], [TextDelta("a")], "stop"),
        ([data(candidate({"text": "a"}, finishReason="STOP")).rstrip()], [TextDelta("a")], "stop"),
    ],
    ids=["the prompt is blocked", "the answer is blocked", "an image", "code that ran", "a call without arguments", "broken characters in arguments", "a list, as without alt=sse", "no blank line at the end"],
)  # fmt: skip
def test_gemini(messages: list[object], events: list[Event], reason_: FinishReason) -> None:
    got, outcome = parse(GEMINI, *messages)
    assert got == events
    assert reason(outcome) == reason_


def test_gemini_says_400_where_others_say_401() -> None:
    body = json.dumps(
        [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}]
    ).encode()  # fmt: skip
    error = GenerateContent().failure("gemini", 400, {}, body)
    assert (error.code, error.status, error.retryable) == ("upstream_error", 502, False)


def completed(kind: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": response}


@pytest.mark.parametrize(
    ("messages", "events", "reason_"),
    [
        ([completed("incomplete", incomplete_details={"reason": "max_output_tokens"})], [], "length"),
        ([completed("incomplete", incomplete_details={"reason": "content_filter"})], [], "content-filter"),
        ([output(0, "refusal.delta", delta="No."), completed()], [RefusalDelta("No.")], "stop"),
        (
            [output(0, "output_item.done", item={**CALLED, "arguments": '{"a":1}'}), completed()],
            [ToolCallStart("call_1", "weather"), ToolCallDelta("call_1", '{"a":1}'), ToolCallEnd("call_1")],
            "tool-calls",
        ),
        (
            [output(0, "output_item.added", item=CALLED), output(0, "output_item.done", item={**CALLED, "arguments": "{}"}), completed()],
            [ToolCallStart("call_1", "weather"), ToolCallDelta("call_1", "{}"), ToolCallEnd("call_1")],
            "tool-calls",
        ),
        (
            [output(0, "output_item.done", item={"type": "message", "content": [{"type": "output_text", "text": "a", "annotations": [LINKED]}]}), completed()],
            [TextDelta("a"), Citation("https://a.example/blue", "Blau")],
            "stop",
        ),
        (
            [output(0, "output_item.done", item={"type": "web_search_call", "id": "ws_1"}), completed()],
            [ProviderData("openai", "item", {"type": "web_search_call", "id": "ws_1"})],
            "stop",
        ),
        (
            [output(0, "output_item.done", item={"type": "image_generation_call", "result": "iVBO"}), completed()],
            [File("image/png", "data:image/png;base64,iVBO")],
            "stop",
        ),
        ([output(0, "output_text.annotation.added", annotation={"type": "file_citation", "file_id": "f"}), completed()], [], "stop"),
        ([b"data: [DONE]\n\n", named(completed()).rstrip()], [], "stop"),
        ([{"type": "response.later", "delta": [1], "item": 7}, completed()], [], "stop"),
    ],
    ids=["length", "filtered", "refusal", "a call without pieces", "arguments without pieces", "a message without pieces", "a tool that ran there", "an image", "a file cited", "[DONE], no blank line", "of a later version"],
)  # fmt: skip
def test_responses(messages: list[object], events: list[Event], reason_: FinishReason) -> None:
    got, outcome = parse(RESPONSES, *messages)
    assert got == events
    assert reason(outcome) == reason_


@pytest.mark.parametrize(
    ("messages", "events", "outcome"),
    [
        ([{**said(True, content="a"), "done_reason": "length"}], [TextDelta("a")], Finish("length", Usage(0, 0))),
        ([{**said(True), "prompt_eval_count": 3, "eval_count": 1}], [], Finish("stop", Usage(3, 1))),
        ([said(tool_calls=[{"function": {"name": "f"}}]), said(True)], [ToolCallStart("call_hw" + "0" * 16, "f"), ToolCallEnd("call_hw" + "0" * 16)], Finish("tool-calls", Usage(0, 0))),
    ],
    ids=["length", "no reason", "a call without arguments"],
)  # fmt: skip
def test_ollama(messages: list[object], events: list[Event], outcome: Finish) -> None:
    assert parse(OLLAMA, *messages) == (events, outcome)
