"""Answers in the shapes that vendors document, each message with the events that it brings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from headwater.events import (
    Citation,
    Event,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from headwater.providers.anthropic import Messages
from headwater.providers.base import Dialect, Finish
from headwater.providers.gemini import GenerateContent
from headwater.providers.ollama import OllamaChat
from headwater.providers.openai_chat import ChatCompletions
from headwater.providers.openai_responses import Responses
from headwater.providers.text import MADE

#: What `made_call` gives when nothing is random.
MADE_ID = MADE + "0" * 16

Step = tuple[object, list[Event]]


class Recorded(NamedTuple):
    """An answer. From step `told` on its end is known; `closing` are events of the end itself."""

    name: str
    dialect: Dialect
    content_type: str
    framed: Callable[[object], bytes]
    steps: list[Step]
    told: int
    outcome: Finish
    closing: list[Event]

    @property
    def frames(self) -> list[bytes]:
        return [self.framed(message) for message, _ in self.steps]

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)

    @property
    def events(self) -> list[Event]:
        return [event for _, events in self.steps for event in events] + self.closing


def data(message: object) -> bytes:
    if isinstance(message, bytes):
        return message
    return b"data: " + json.dumps(message, ensure_ascii=False).encode() + b"\n\n"


def named(message: object) -> bytes:
    """With an `event:` line that equals the type, as Anthropic and Responses have it."""
    if isinstance(message, dict):
        return f"event: {message['type']}\n".encode() + data(message)
    return data(message)


def line(message: object) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def block_delta(index: int, kind: str, **members: Any) -> dict[str, Any]:
    delta = {"type": kind, **members}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


CITED = {
    "type": "web_search_result_location",
    "url": "https://a.example/blue",
    "title": "Blau",
    "cited_text": "der Himmel",
    "encrypted_index": "Eo8B",
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://a.example/blue", "title": "Blau", "encrypted_content": "Eq"}],
}  # fmt: skip
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}

ANTHROPIC = Recorded(
    "anthropic",
    Messages(),
    "text/event-stream",
    named,
    [
        (
            {
                "type": "message_start",
                "message": {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "content": [],
                    "model": "claude",
                    "stop_reason": None,
                    "usage": {
                        "input_tokens": 9,
                        "cache_creation_input_tokens": 2,
                        "cache_read_input_tokens": 4,
                        "output_tokens": 1,
                    },
                },
            },
            [],
        ),
        (block_start(0, type="thinking", thinking="", signature=""), []),
        ({"type": "ping"}, []),
        (block_delta(0, "thinking_delta", thinking="Rayleigh, né 1842"), [ReasoningDelta("Rayleigh, né 1842")]),
        (block_delta(0, "signature_delta", signature="EqQBCg"), [ProviderData("anthropic", "signature", "EqQBCg")]),
        (block_stop(0), []),
        (block_start(1, type="redacted_thinking", data="EmwKAh"), [ProviderData("anthropic", "redacted_thinking", "EmwKAh")]),
        (block_stop(1), []),
        (block_start(2, **SEARCH), []),
        (block_delta(2, "input_json_delta", partial_json='{"query": "Him'), []),
        (block_delta(2, "input_json_delta", partial_json='mel"}'), []),
        (block_stop(2), [ProviderData("anthropic", "block", {**SEARCH, "input": {"query": "Himmel"}})]),
        (block_start(3, **FOUND), []),
        (block_stop(3), [ProviderData("anthropic", "block", FOUND)]),
        (block_start(4, type="text", text=""), []),
        (block_delta(4, "text_delta", text="Der Himmel "), [TextDelta("Der Himmel ")]),
        (block_delta(4, "text_delta", text="ist blau 🌊"), [TextDelta("ist blau 🌊")]),
        (
            block_delta(4, "citations_delta", citation=CITED),
            [ProviderData("anthropic", "citation", CITED), Citation("https://a.example/blue", "Blau")],
        ),
        (block_stop(4), []),
        (block_start(5, type="tool_use", id="toolu_1", name="weather", input={}), [ToolCallStart("toolu_1", "weather")]),
        (block_delta(5, "input_json_delta", partial_json=""), []),
        (block_delta(5, "input_json_delta", partial_json='{"city": "Zü'), [ToolCallDelta("toolu_1", '{"city": "Zü')]),
        (block_delta(5, "input_json_delta", partial_json='rich"}'), [ToolCallDelta("toolu_1", 'rich"}')]),
        (block_stop(5), [ToolCallEnd("toolu_1")]),
        (
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 6}},
            },
            [],
        ),
        ({"type": "message_stop"}, []),
    ],
    told=25,
    outcome=Finish("tool-calls", Usage(15, 20, reasoning_tokens=6, cached_tokens=4)),
    closing=[],
)  # fmt: skip


def output(index: int, kind: str, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, "sequence_number": 1, **members}


REASONED = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Rayleigh, né 1842"}],
    "encrypted_content": "gAAAAA",
}
CALLED = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "weather", "arguments": ""}  # fmt: skip
LINKED = {"type": "url_citation", "url": "https://a.example/blue", "title": "Blau", "start_index": 0, "end_index": 3}  # fmt: skip

RESPONSES = Recorded(
    "responses",
    Responses(),
    "text/event-stream",
    named,
    [
        ({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "usage": None}}, []),
        ({"type": "response.in_progress", "response": {"id": "resp_1"}}, []),
        (output(0, "output_item.added", item={"id": "rs_1", "type": "reasoning", "summary": []}), []),
        (output(0, "reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}), []),
        (output(0, "reasoning_summary_text.delta", summary_index=0, delta="Rayleigh, né 1842"), [ReasoningDelta("Rayleigh, né 1842")]),
        (output(0, "reasoning_summary_part.added", summary_index=1, part={}), [ReasoningDelta("\n\n")]),
        (output(0, "output_item.done", item=REASONED), [ProviderData("openai", "reasoning", REASONED)]),
        (output(1, "output_item.added", item={"id": "msg_1", "type": "message", "content": []}), []),
        (output(1, "content_part.added", content_index=0, part={"type": "output_text", "text": ""}), []),
        (output(1, "output_text.delta", delta="Der Himmel ", logprobs=[]), [TextDelta("Der Himmel ")]),
        (output(1, "output_text.delta", delta="ist blau 🌊", logprobs=[]), [TextDelta("ist blau 🌊")]),
        (output(1, "output_text.annotation.added", annotation=LINKED), [Citation("https://a.example/blue", "Blau")]),
        (output(1, "output_text.done", text="Der Himmel ist blau 🌊"), []),
        (output(1, "output_item.done", item={"type": "message", "content": [{"type": "output_text", "text": "Der Himmel ist blau 🌊"}]}), []),
        (output(2, "output_item.added", item=CALLED), [ToolCallStart("call_1", "weather")]),
        (output(2, "function_call_arguments.delta", delta='{"city": "Zü'), [ToolCallDelta("call_1", '{"city": "Zü')]),
        (output(2, "function_call_arguments.delta", delta='rich"}'), [ToolCallDelta("call_1", 'rich"}')]),
        (output(2, "function_call_arguments.done", arguments='{"city": "Zürich"}'), []),
        (output(2, "output_item.done", item={**CALLED, "arguments": '{"city": "Zürich"}'}), [ToolCallEnd("call_1")]),
        (
            {
                "type": "response.completed",
                "response": {
                    "status": "completed",
                    "usage": {
                        "input_tokens": 9,
                        "input_tokens_details": {"cached_tokens": 4},
                        "output_tokens": 7,
                        "output_tokens_details": {"reasoning_tokens": 2},
                    },
                },
            },
            [],
        ),
    ],
    told=19,
    outcome=Finish("tool-calls", Usage(9, 7, reasoning_tokens=2, cached_tokens=4)),
    closing=[],
)  # fmt: skip


def candidate(*parts: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0, **members}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10},
        "modelVersion": "gemini",
        "responseId": "r1",
    }


GROUNDED = {
    "groundingMetadata": {
        "webSearchQueries": ["Himmel"],
        "groundingChunks": [{"web": {"uri": "https://a.example/blue", "title": "a.example"}}],
    }
}

GEMINI = Recorded(
    "gemini",
    GenerateContent(),
    "text/event-stream",
    lambda message: data(message).replace(b"\n", b"\r\n"),
    [
        (candidate({"text": "Rayleigh, né 1842", "thought": True}), [ReasoningDelta("Rayleigh, né 1842")]),
        (candidate({"text": "Der Himmel "}), [TextDelta("Der Himmel ")]),
        (candidate({"text": "ist blau 🌊"}, **GROUNDED), [TextDelta("ist blau 🌊"), Citation("https://a.example/blue", "a.example")]),
        (candidate({"text": ""}, **GROUNDED), []),
        (
            candidate(
                {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "EjQK"},
                {"functionCall": {"id": "fc-2", "name": "time", "args": {}}},
            ),
            [
                ToolCallStart(MADE_ID, "weather"),
                ToolCallDelta(MADE_ID, '{"city": "Zürich"}'),
                ToolCallEnd(MADE_ID),
                ProviderData("gemini", "thought_signature", {"signature": "EjQK", "call": MADE_ID}),
                ToolCallStart("fc-2", "time"),
                ToolCallDelta("fc-2", "{}"),
                ToolCallEnd("fc-2"),
            ],
        ),
        (candidate({"text": "", "thoughtSignature": "EuYC"}), [ProviderData("gemini", "thought_signature", {"signature": "EuYC"})]),
        (
            {
                "candidates": [{"finishReason": "STOP", "index": 0}],
                "usageMetadata": {
                    "promptTokenCount": 9,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 2,
                    "cachedContentTokenCount": 4,
                },
            },
            [],
        ),
    ],
    told=6,
    outcome=Finish("tool-calls", Usage(9, 7, reasoning_tokens=2, cached_tokens=4)),
    closing=[],
)  # fmt: skip


def said(done: bool = False, **message: Any) -> dict[str, Any]:
    answer = {"role": "assistant", "content": "", **message}
    return {"model": "m", "created_at": "2026-11-22T10:00:00Z", "message": answer, "done": done}


OLLAMA = Recorded(
    "ollama",
    OllamaChat(),
    "application/x-ndjson",
    line,
    [
        (said(thinking="Rayleigh, né 1842"), [ReasoningDelta("Rayleigh, né 1842")]),
        (said(content="Der Himmel "), [TextDelta("Der Himmel ")]),
        (said(content="ist blau 🌊"), [TextDelta("ist blau 🌊")]),
        (
            said(tool_calls=[{"function": {"index": 0, "name": "weather", "arguments": {"city": "Zürich"}}}]),
            [ToolCallStart(MADE_ID, "weather"), ToolCallDelta(MADE_ID, '{"city": "Zürich"}'), ToolCallEnd(MADE_ID)],
        ),
        (
            said(tool_calls=[{"id": "call_9", "function": {"name": "time", "arguments": {}}}]),
            [ToolCallStart("call_9", "time"), ToolCallDelta("call_9", "{}"), ToolCallEnd("call_9")],
        ),
        (
            {
                **said(done=True),
                "done_reason": "stop",
                "total_duration": 174560334,
                "prompt_eval_count": 9,
                "eval_count": 7,
            },
            [],
        ),
    ],
    told=5,
    outcome=Finish("tool-calls", Usage(9, 7)),
    closing=[],
)  # fmt: skip


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def call(**members: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0, **members}])


CHAT = Recorded(
    "openai",
    ChatCompletions(),
    "text/event-stream",
    data,
    [
        (delta(role="assistant", content=""), []),
        (b": OPENROUTER PROCESSING\n\n", []),
        (delta(reasoning_content="Rayleigh, né 1842"), [ReasoningDelta("Rayleigh, né 1842")]),
        (delta(content="Der Himmel "), [TextDelta("Der Himmel ")]),
        (delta(content="ist blau 🌊"), [TextDelta("ist blau 🌊")]),
        (delta(annotations=[{"type": "url_citation", "url_citation": {"url": "https://a.example/blue", "title": "Blau"}}]), [Citation("https://a.example/blue", "Blau")]),
        (call(id="call_1", type="function", function={"name": "weather", "arguments": ""}), [ToolCallStart("call_1", "weather")]),
        (call(function={"arguments": '{"city": "Zürich"}'}), [ToolCallDelta("call_1", '{"city": "Zürich"}')]),
        (delta("tool_calls"), []),
        ({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7}}, []),
        (b"data: [DONE]\n\n", []),
    ],
    told=8,
    outcome=Finish("tool-calls", Usage(9, 7)),
    closing=[ToolCallEnd("call_1")],
)  # fmt: skip

ALL = [CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA]
