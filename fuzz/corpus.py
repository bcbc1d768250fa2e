"""Requests in every shape that a server is asked in, with each member that it knows."""

from __future__ import annotations

from typing import Any, Final

PNG: Final = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Final = {"name": "weather", "description": "Now", "parameters": SCHEMA, "strict": True}
CALL: Final = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
SAMPLING: Final[dict[str, Any]] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 20,
    "stop": ["END"],
    "seed": 3,
    "user": "u",
    "metadata": {"a": "b"},
    "reasoning_effort": "low",
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "n": 1,
}
CHAT: Final[dict[str, Any]] = {
    **SAMPLING,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm",
         "provider_data": [{"provider": "anthropic", "part": "signature", "value": "s", "at": 0}]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain", "is_error": False},
        {"role": "developer", "content": "Go on.", "name": "d"},
        {"role": "user", "content": "And here?"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"5": 1},
    "prediction": {"type": "content", "content": "x"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
}  # fmt: skip
RESPONSES: Final[dict[str, Any]] = {
    "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "hi"},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "e"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
            {"type": "output_text", "text": "ok", "annotations": [
                {"type": "url_citation", "url": "https://a.example", "title": "A",
                 "start_index": 0, "end_index": 1}]},
            {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ],
    "instructions": "Be brief.",
    "tools": [{"type": "function", **FUNCTION}, {"type": "web_search"}],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True},
             "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 20,
    "include": ["reasoning.encrypted_content"],
    "store": False, "truncation": "disabled", "stream": True, "temperature": 0.5,
    "parallel_tool_calls": True, "metadata": {"a": "b"}, "previous_response_id": None,
}  # fmt: skip
MESSAGES: Final[dict[str, Any]] = {
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "hi"},
            {"type": "image",
             "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "text", "text": "ok", "citations": [
                {"type": "web_search_result_location", "url": "https://a.example", "title": "A",
                 "encrypted_index": "i", "cited_text": "t"}]},
            {"type": "server_tool_use", "id": "t0", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "t0", "content": []},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": True,
             "content": [{"type": "text", "text": "rain"}]}]},
    ],
    "tools": [{"name": "weather", "description": "Now", "input_schema": SCHEMA},
              {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "stop_sequences": ["END"], "temperature": 0.5, "top_k": 5, "top_p": 0.9, "stream": True,
    "metadata": {"user_id": "u"}, "service_tier": "auto",
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
}  # fmt: skip
UI: Final[dict[str, Any]] = {
    **SAMPLING,
    "id": "chat-1", "trigger": "submit-message", "messageId": "m1",
    "messages": [
        {"id": "u1", "role": "user", "metadata": {"a": 1}, "parts": [
            {"type": "text", "text": "hi"},
            {"type": "file", "mediaType": "image/png", "url": PNG, "filename": "a.png"}]},
        {"id": "a1", "role": "assistant", "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "hm", "state": "done"},
            {"type": "text", "text": "ok", "state": "done"},
            {"type": "tool-weather", "toolCallId": "c1", "state": "output-available",
             "input": {"city": "Rome"}, "output": "rain"},
            {"type": "dynamic-tool", "toolName": "clock", "toolCallId": "c2",
             "state": "output-error", "input": {}, "errorText": "broken"},
            {"type": "source-url", "sourceId": "s", "url": "https://a.example", "title": "A"},
            {"type": "data-weather", "data": {"a": 1}},
            {"type": "data-provider-data",
             "data": {"provider": "anthropic", "part": "signature", "value": "s"}}]},
        {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "and?"}]},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
}  # fmt: skip
AGUI: Final[dict[str, Any]] = {
    "threadId": "t", "runId": "r", "state": {"a": 1},
    "messages": [
        {"id": "1", "role": "developer", "content": "Be brief."},
        {"id": "2", "role": "user", "name": "u", "content": [
            {"type": "text", "text": "hi"},
            {"type": "binary", "mimeType": "image/png", "data": "AA=="},
            {"type": "binary", "mimeType": "image/png", "url": "https://a.example/i.png"}]},
        {"id": "3", "role": "assistant", "content": "ok", "toolCalls": [CALL]},
        {"id": "4", "role": "tool", "toolCallId": "c1", "content": "rain", "error": "broken"},
        {"id": "5", "role": "reasoning", "content": "hm", "encryptedValue": "[]"},
        {"id": "6", "role": "activity", "activityType": "a", "content": {}},
        {"id": "7", "role": "user", "content": "and?"},
    ],
    "tools": [{"name": "weather", "description": "Now", "parameters": SCHEMA}],
    "context": [{"description": "d", "value": "v"}],
    "forwardedProps": {**SAMPLING, "model": "m"},
}  # fmt: skip

#: Requests by the path that takes them.
REQUESTS: Final[dict[str, list[dict[str, Any]]]] = {
    "/stream": [{**SAMPLING, "prompt": "hi"}, CHAT],
    "/v1/streams": [{**SAMPLING, "prompt": "hi"}, CHAT],
    "/v1/chat/completions": [CHAT, {"messages": [{"role": "user", "content": "hi"}]}],
    "/v1/responses": [RESPONSES, {"input": "hi"}],
    "/v1/messages": [MESSAGES],
    "/api/chat": [UI],
    "/agui": [AGUI],
    "/v1/session": [{"key": "a-key"}],
}
