"""What each wire's request becomes, and what it refuses by name."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from headwater import wires
from headwater.errors import RequestError

PNG = "data:image/png;base64,AA=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Look", "parameters": SCHEMA},
}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Z"}'},
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
PICTURE = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PNG}}]


def user(content: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def anthropic(**members: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [user()], **members}


def responses(**members: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hi", **members}


def ui(*parts: Any, role: str = "user", **members: Any) -> dict[str, Any]:
    message = {"id": "u1", "role": role, "parts": list(parts) or [{"type": "text", "text": "hi"}]}
    return {
        "id": "chat",
        "model": "m",
        "messages": [message],
        "trigger": "submit-message",
        **members,
    }


def agui(*messages: Any, **members: Any) -> dict[str, Any]:
    return {
        "threadId": "t", "runId": "r", "state": {"a": 1}, "tools": [], "context": [],
        "messages": list(messages) or [{"id": "1", **user()}],
        "forwardedProps": {"model": "m"}, **members,
    }  # fmt: skip


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


#: A body, and the messages that it makes.
MESSAGES: dict[str, list[tuple[dict[str, Any], list[dict[str, Any]]]]] = {
    "anthropic": [
        (anthropic(), [user()]),
        (anthropic(system="Be brief."), [{"role": "system", "content": "Be brief."}, user()]),
        (
            anthropic(system=[{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B"}]),
            [{"role": "system", "content": "A\nB"}, user()],
        ),
        (
            anthropic(messages=[user([{"type": "text", "text": "what?"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}])]),
            [user(PICTURE)],
        ),
        (
            anthropic(messages=[user([{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}])]),
            [user([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}])],
        ),
        (
            anthropic(messages=[
                user(),
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "secret"},
                    {"type": "text", "text": "Let me look.", "citations": [{"type": "char_location"}]},
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Z"}},
                ]},
                user([
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "text", "text": "and?"},
                ]),
            ]),
            [
                user(),
                {
                    "role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": [CALL],
                    "provider_data": [
                        {"provider": "anthropic", "part": "signature", "value": "sig"},
                        {"provider": "anthropic", "part": "redacted_thinking", "value": "secret"},
                        {"provider": "anthropic", "part": "citation", "value": {"type": "char_location"}},
                    ],
                },
                RESULT,
                user("and?"),
            ],
        ),
        (
            anthropic(messages=[user(), {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "1", "signature": "s1"}, {"type": "text", "text": "a"},
                {"type": "thinking", "thinking": "2", "signature": "s2"}, {"type": "text", "text": "b"},
            ]}]),
            [
                user(),
                {**said("a"), "reasoning_content": "1", "provider_data": [{"provider": "anthropic", "part": "signature", "value": "s1"}]},
                {**said("b"), "reasoning_content": "2", "provider_data": [{"provider": "anthropic", "part": "signature", "value": "s2"}]},
            ],
        ),
        (anthropic(messages=[user(), {"role": "assistant", "content": "{"}]), [user(), said("{")]),
    ],
    "responses": [
        (responses(), [user()]),
        (responses(instructions="Be brief."), [{"role": "system", "content": "Be brief."}, user()]),
        (
            responses(input=[{"role": "developer", "content": "D"}, {"type": "message", **user([{"type": "input_text", "text": "what?"}, {"type": "input_image", "image_url": PNG}])}]),
            [{"role": "developer", "content": "D"}, user(PICTURE)],
        ),
        (
            responses(input=[user([{"type": "input_image", "image_url": PNG, "detail": "low"}])]),
            [user([{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}])],
        ),
        (
            responses(input=[
                user(),
                {"type": "reasoning", "id": "rs_0", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"},
                {"type": "message", "id": "msg", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}]},
                {"type": "function_call", "id": "fc", "call_id": "c1", "name": "weather", "arguments": '{"city":"Z"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                {"role": "assistant", "content": "Yes."},
            ]),
            [
                user(),
                {
                    "role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": [CALL],
                    "provider_data": [{"provider": "openai", "part": "reasoning", "value": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"}}],
                },
                RESULT,
                said("No."),
                said("Yes."),
            ],
        ),
        (
            responses(input=[{"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "rain"}]}]),
            [RESULT],
        ),
    ],
    "ui": [
        (ui(), [user()]),
        (ui({"type": "text", "text": "what?"}, {"type": "file", "mediaType": "image/png", "url": PNG}), [user(PICTURE)]),
        ({"messages": [user()]}, [user()]),
        (ui(role="system"), [{"role": "system", "content": "hi"}]),
        (
            ui(
                {"type": "step-start"},
                {"type": "reasoning", "text": "Hm.", "state": "done"},
                {"type": "data-provider-data", "data": {"provider": "anthropic", "part": "signature", "value": "sig"}},
                {"type": "text", "text": "Let me look.", "state": "done"},
                {"type": "tool-weather", "toolCallId": "c1", "state": "output-available", "input": {"city": "Z"}, "output": "rain"},
                {"type": "step-start"},
                {"type": "source-url", "sourceId": "1", "url": "https://a"},
                {"type": "data-chart", "data": [1]},
                {"type": "dynamic-tool", "toolName": "clock", "toolCallId": "c2", "state": "output-error", "input": {}, "errorText": "broken"},
                {"type": "text", "text": "Rain."},
                {"type": "tool-cut", "toolCallId": "c3", "state": "input-streaming", "input": None},
                role="assistant",
            ),
            [
                {
                    "role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": [CALL],
                    "provider_data": [{"provider": "anthropic", "part": "signature", "value": "sig"}],
                },
                RESULT,
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c2", "content": "broken", "is_error": True},
                said("Rain."),
            ],
        ),
    ],
    "agui": [
        (agui(), [user()]),
        (agui(context=[{"description": "Where", "value": "Zürich"}]), [{"role": "system", "content": "Where: Zürich"}, user()]),
        (
            agui({"id": "1", **user([{"type": "text", "text": "what?"}, {"type": "image", "source": {"type": "data", "value": "AA==", "mimeType": "image/png"}}])}),
            [user(PICTURE)],
        ),
        (
            agui({"id": "1", **user([{"type": "binary", "mimeType": "image/png", "url": "https://a/b.png"}])}),
            [user([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}])],
        ),
        (
            agui(
                {"id": "1", **user()},
                {"id": "2", "role": "reasoning", "content": "Hm.", "encryptedValue": '[{"provider":"anthropic","part":"signature","value":"sig"}]'},
                {"id": "3", "role": "assistant", "content": "Let me look.", "toolCalls": [CALL], "encryptedValue": "another server's"},
                {"id": "4", "role": "tool", "toolCallId": "c1", "content": "rain"},
                {"id": "5", "role": "activity", "activityType": "PLAN", "content": {}},
                {"id": "6", "role": "developer", "content": "D"},
            ),
            [
                user(),
                {
                    "role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": [CALL],
                    "provider_data": [{"provider": "anthropic", "part": "signature", "value": "sig"}],
                },
                RESULT,
                {"role": "developer", "content": "D"},
            ],
        ),
    ],
}  # fmt: skip


CALL = {"type": "tool-f", "toolCallId": "c", "input": {}}
FAILED: list[tuple[str, dict[str, Any], str]] = [
    ("anthropic", anthropic(messages=[user([{"type": "tool_result", "tool_use_id": "c", "content": "no rain", "is_error": True}])]), "no rain"),
    ("ui", ui({**CALL, "state": "output-error", "errorText": "no rain"}, role="assistant"), "no rain"),
    ("ui", ui({**CALL, "state": "output-denied", "approval": {"id": "a", "approved": False, "reason": "no rain"}}, role="assistant"), "no rain"),
    ("ui", ui({**CALL, "state": "approval-responded", "approval": {"id": "a", "approved": False}}, role="assistant"), "The user did not allow this call."),
    ("agui", agui({"id": "1", "role": "tool", "toolCallId": "c", "content": "", "error": "no rain"}), "no rain"),
    ("agui", agui({"id": "1", "role": "tool", "toolCallId": "c", "content": "sky", "error": "no rain"}), "no rain\nsky"),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "body", "content"), FAILED)
def test_a_tool_that_failed_is_told_as_such(wire: str, body: dict[str, Any], content: str) -> None:
    told = {"role": "tool", "tool_call_id": "c", "content": content, "is_error": True}
    assert wires.get(wire).parse(body).messages[-1] == told


@pytest.mark.parametrize(("wire", "number"), [(w, n) for w, table in MESSAGES.items() for n in range(len(table))])  # fmt: skip
def test_messages(wire: str, number: int) -> None:
    body, wanted = MESSAGES[wire][number]
    assert wires.get(wire).parse(body).messages == wanted


OPTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("anthropic", anthropic(), {"max_tokens": 9}),
    ("anthropic", anthropic(stop_sequences=["X"], temperature=0.5, top_p=0.9, top_k=5), {"max_tokens": 9, "stop": ["X"], "temperature": 0.5, "top_p": 0.9, "top_k": 5}),
    ("anthropic", anthropic(thinking={"type": "enabled", "budget_tokens": 1024}), {"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("anthropic", anthropic(tools=[{"name": "weather", "description": "Look", "input_schema": SCHEMA, "cache_control": {}}], tool_choice={"type": "any", "disable_parallel_tool_use": True}), {"max_tokens": 9, "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}),
    ("anthropic", anthropic(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]), {"max_tokens": 9, "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}),
    ("anthropic", anthropic(tool_choice={"type": "tool", "name": "weather"}), {"max_tokens": 9, "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
    ("anthropic", anthropic(output_config={"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}), {"max_tokens": 9, "reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}}),
    ("anthropic", anthropic(metadata={"user_id": "u"}, betas=["x"], service_tier="auto"), {"max_tokens": 9, "user": "u"}),
    ("responses", responses(max_output_tokens=5, temperature=1, parallel_tool_calls=False, seed=3), {"max_tokens": 5, "temperature": 1, "parallel_tool_calls": False, "seed": 3}),
    ("responses", responses(tools=[{"type": "function", "name": "weather", "description": "Look", "parameters": SCHEMA}], tool_choice={"type": "function", "name": "weather"}), {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
    ("responses", responses(reasoning={"effort": "high", "summary": "auto"}, include=["reasoning.encrypted_content"], store=False, metadata={"a": "b"}), {"reasoning_effort": "high", "reasoning_summary": "auto"}),
    ("responses", responses(text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "low"}), {"verbosity": "low", "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}}),
    ("responses", responses(text={"format": {"type": "text"}}, truncation="disabled", background=False, previous_response_id=None), {}),
    ("ui", ui(temperature=0.1, tools=[TOOL], mine={"a": 1}), {"temperature": 0.1, "tools": [TOOL]}),
    ("agui", agui(tools=[{"name": "weather", "description": "Look", "parameters": SCHEMA}], forwardedProps={"model": "m", "temperature": 0.1, "mine": 1}), {"tools": [TOOL], "temperature": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "body", "wanted"), OPTIONS)
def test_options(wire: str, body: dict[str, Any], wanted: dict[str, Any]) -> None:
    request = wires.get(wire).parse(body)
    assert request.options == wanted
    assert request.model == "m"


@pytest.mark.parametrize(("wire", "body", "stream"), [("anthropic", anthropic(), False), ("responses", responses(), False), ("ui", ui(), True), ("agui", agui(), True)])  # fmt: skip
def test_a_body_says_whether_it_is_a_stream(wire: str, body: dict[str, Any], stream: bool) -> None:
    assert wires.get(wire).parse(body).stream is stream
    assert wires.get(wire).parse({**body, "stream": True}).stream is True
    assert wires.get(wire).parse({**body, "stream": False}).stream is False


def block(**members: Any) -> dict[str, Any]:
    return anthropic(messages=[user([members])])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("anthropic", {}, "messages"),
    ("anthropic", anthropic(messages=[]), "messages"),
    ("anthropic", anthropic(messages="hi"), "messages"),
    ("anthropic", anthropic(messages=["hi"]), "messages[0]"),
    ("anthropic", anthropic(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
    ("anthropic", anthropic(messages=[user(None)]), "messages[0].content"),
    ("anthropic", block(type="document", source={}), "messages[0].content[0].type"),
    ("anthropic", block(type="image", source={"type": "file", "file_id": "f"}), "messages[0].content[0].source.type"),
    ("anthropic", block(type="tool_result", tool_use_id="c", content=[{"type": "image"}]), "messages[0].content[0].content[0].type"),
    ("anthropic", block(type="tool_result", content="x"), "messages[0].content[0].tool_use_id"),
    ("anthropic", block(type="text", text=1), "messages[0].content[0].text"),
    ("anthropic", anthropic(messages=[{"role": "assistant", "content": [{"type": "container_upload"}]}]), "messages[0].content[0].type"),
    ("anthropic", anthropic(tools=[{"type": 1, "name": "web_search"}]), "tools[0].type"),
    ("anthropic", anthropic(tools=[{}]), "tools[0].name"),
    ("anthropic", anthropic(tool_choice={"type": "?"}), "tool_choice.type"),
    ("anthropic", anthropic(mcp_servers=[{"url": "x"}]), "mcp_servers"),
    ("anthropic", anthropic(container="c"), "container"),
    ("anthropic", anthropic(max_tokens="9"), "max_tokens"),
    ("anthropic", anthropic(stream="yes"), "stream"),
    ("anthropic", anthropic(api_key="k"), "api_key"),
    ("anthropic", anthropic(model=1), "model"),
    ("responses", {}, "input"),
    ("responses", responses(input=[]), "input"),
    ("responses", responses(input=[1]), "input[0]"),
    ("responses", responses(input=[{"type": "item_reference", "id": "x"}]), "input[0].type"),
    ("responses", responses(input=[{"type": "web_search_call"}]), "input[0].type"),
    ("responses", responses(input=[user([{"type": "input_file", "file_id": "f"}])]), "input[0].content[0].type"),
    ("responses", responses(input=[user([{"type": "input_image", "file_id": "f"}])]), "input[0].content[0].file_id"),
    ("responses", responses(input=[{"role": "tool", "content": "x"}]), "input[0].role"),
    ("responses", responses(input=[{"type": "function_call", "name": "f", "arguments": "{}"}]), "input[0].call_id"),
    ("responses", responses(previous_response_id="resp_1"), "previous_response_id"),
    ("responses", responses(conversation="c"), "conversation"),
    ("responses", responses(background=True), "background"),
    ("responses", responses(prompt={"id": "p"}), "prompt"),
    ("responses", responses(truncation="auto"), "truncation"),
    ("responses", responses(include=["file_search_call.results"]), "include[0]"),
    ("responses", responses(top_logprobs=2), "top_logprobs"),
    ("responses", responses(tools=[{"type": "file_search"}]), "tools[0].type"),
    ("responses", responses(tool_choice={"type": "mcp"}), "tool_choice.type"),
    ("responses", responses(max_output_tokens=0), "max_output_tokens"),
    ("responses", responses(max_output_tokens=True), "max_output_tokens"),
    ("responses", responses(text={"format": {"type": "grammar"}}), "text.format.type"),
    ("responses", responses(n=2), "n"),
    ("responses", responses(context_management=[{"type": "compaction"}]), "context_management"),
    ("anthropic", anthropic(speed="fast"), "speed"),
    ("anthropic", anthropic(inference_geo="us"), "inference_geo"),
    ("anthropic", anthropic(tools=[{"name": "f", "defer_loading": True}]), "tools[0].defer_loading"),
    ("anthropic", anthropic(tools=[{"name": "f", "input_examples": [{}]}]), "tools[0].input_examples"),
    ("anthropic", anthropic(tools=[{"name": "f", "allowed_callers": ["code_execution_20250825"]}]), "tools[0].allowed_callers"),
    ("anthropic", block(type="tool_result", tool_use_id="c", content="x", is_error="yes"), "messages[0].is_error"),
    ("ui", ui(logprobs=True), "logprobs"),
    ("ui", ui(top_logprobs=2), "top_logprobs"),
    ("ui", ui(modalities=["text", "audio"]), "modalities"),
    ("ui", ui(audio={"voice": "x"}), "audio"),
    ("agui", agui(forwardedProps={"model": "m", "logprobs": True}), "logprobs"),
    ("ui", {"id": "c"}, "messages"),
    ("ui", ui(id=7), "id"),
    ("ui", ui({"type": "file", "mediaType": "application/pdf", "url": "x"}), "messages[0].parts[0].mediaType"),
    ("ui", ui({"type": "hologram"}), "messages[0].parts[0].type"),
    ("ui", ui(role="tool"), "messages[0].role"),
    ("ui", {"id": "c", "messages": [{"role": "user"}]}, "messages[0].parts"),
    ("ui", ui(base_url="x"), "base_url"),
    ("agui", {"threadId": "t"}, "messages"),
    ("agui", agui({"id": "1", **user([{"type": "document", "source": {}}])}), "messages[0].content[0].type"),
    ("agui", agui({"id": "1", **user([{"type": "image", "source": {"type": "file"}}])}), "messages[0].content[0].source.type"),
    ("agui", agui({"id": "1", "role": "robot", "content": ""}), "messages[0].role"),
    ("agui", agui(resume=[{"interruptId": "i", "status": "resolved"}]), "resume"),
    ("agui", agui(forwardedProps={"model": "m", "api_key": "k"}), "api_key"),
    ("agui", agui(forwardedProps=[]), "forwardedProps"),
    ("agui", agui(base_url="x"), "base_url"),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "body", "param"), REFUSED)
def test_what_cannot_be_passed_on_is_refused_by_name(
    wire: str, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        wires.get(wire).parse(body)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert caught.value.status == 400


@pytest.mark.parametrize("wire", ["anthropic", "responses", "ui", "agui"])
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [[]], [None], [{}], [{"role": []}], [{"role": "user", "content": [{"type": []}], "parts": [{"type": []}]}]])  # fmt: skip
@pytest.mark.parametrize("member", ["messages", "input", "tools", "tool_choice", "text", "system", "context", "forwardedProps", "output_config", "reasoning"])  # fmt: skip
def test_no_body_is_more_than_wrong(wire: str, member: str, value: Any) -> None:
    bodies = {"anthropic": anthropic(), "responses": responses(), "ui": ui(), "agui": agui()}
    body = {**bodies[wire], member: value}
    with contextlib.suppress(RequestError):
        wires.get(wire).parse(body)
        wires.get(wire).options(body)
