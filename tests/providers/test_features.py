"""Every feature at every provider: passed on in its own words, or a 400 that names it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from tests.providers.test_requests import DIALECTS, FORMAT, PIXEL, TOOL

STRICT: Final = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
CALLED: Final = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
NO: Final = None
#: Feature: what asks for it, then for each provider the JSON that its request has to hold; NO is a
#: 400, "as it is" that it stands in the request as it was asked for.
AS_IT_IS: Final = "as it is"
COLUMNS: Final = ("openai", "responses", "anthropic", "gemini", "ollama")
FEATURES: dict[str, tuple[dict[str, Any], tuple[str | None, ...]]] = {
    "temperature": ({"temperature": 0.25}, (AS_IT_IS, AS_IT_IS, AS_IT_IS, AS_IT_IS, AS_IT_IS)),
    "top_p": ({"top_p": 0.25}, (AS_IT_IS, AS_IT_IS, AS_IT_IS, '"topP":0.25', AS_IT_IS)),
    "top_k": ({"top_k": 7}, (AS_IT_IS, NO, AS_IT_IS, '"topK":7', AS_IT_IS)),
    "max_tokens": ({"max_tokens": 77}, (AS_IT_IS, '"max_output_tokens":77', AS_IT_IS, '"maxOutputTokens":77', '"num_predict":77')),
    "max_completion_tokens": ({"max_completion_tokens": 77}, (AS_IT_IS, '"max_output_tokens":77', '"max_tokens":77', '"maxOutputTokens":77', '"num_predict":77')),
    "stop": ({"stop": ["X", "Y"]}, (AS_IT_IS, NO, '"stop_sequences":["X","Y"]', '"stopSequences":["X","Y"]', AS_IT_IS)),
    "one stop": ({"stop": "X"}, (AS_IT_IS, NO, '"stop_sequences":["X"]', '"stopSequences":["X"]', '"stop":["X"]')),
    "seed": ({"seed": 3}, (AS_IT_IS, NO, NO, AS_IT_IS, AS_IT_IS)),
    "frequency_penalty": ({"frequency_penalty": 1.5}, (AS_IT_IS, NO, NO, '"frequencyPenalty":1.5', AS_IT_IS)),
    "presence_penalty": ({"presence_penalty": 1.5}, (AS_IT_IS, NO, NO, '"presencePenalty":1.5', AS_IT_IS)),
    "logit_bias": ({"logit_bias": {"5": 1}}, (AS_IT_IS, NO, NO, NO, NO)),
    "tools": ({"tools": [TOOL]}, (AS_IT_IS, '"name":"weather"', '"name":"weather"', '"functionDeclarations":[{"name":"weather"', '"name":"weather"')),
    "strict tools": ({"tools": [STRICT]}, (AS_IT_IS, '"strict":true', '"strict":true', '"mode":"VALIDATED"', NO)),
    "tool_choice none": ({"tools": [TOOL], "tool_choice": "none"}, ('"tool_choice":"none"', '"tool_choice":"none"', '"tool_choice":{"type":"none"', '"mode":"NONE"', "")),
    "tool_choice required": ({"tools": [TOOL], "tool_choice": "required"}, ('"tool_choice":"required"', '"tool_choice":"required"', '"tool_choice":{"type":"any"}', '"mode":"ANY"', NO)),
    "tool_choice of a tool": ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, ('"tool_choice":{"type":"function","function":{"name":"weather"}}', '"tool_choice":{"type":"function","name":"weather"}', '"tool_choice":{"type":"tool","name":"weather"}', '"allowedFunctionNames":["weather"]', NO)),
    "parallel_tool_calls": ({"tools": [TOOL], "parallel_tool_calls": False}, ('"parallel_tool_calls":false', '"parallel_tool_calls":false', '"disable_parallel_tool_use":true', NO, NO)),
    "json_schema": ({"response_format": FORMAT}, (AS_IT_IS, '"format":{"type":"json_schema"', '"format":{"type":"json_schema"', '"responseJsonSchema":{', '"format":{"type":"object"')),
    "strict json_schema": ({"response_format": FORMAT}, ('"strict":true', '"strict":true', '"format":{"type":"json_schema"', '"responseJsonSchema":{', '"format":{"type":"object"')),
    "json_object": ({"response_format": {"type": "json_object"}}, (AS_IT_IS, '"format":{"type":"json_object"}', NO, '"responseMimeType":"application/json"', '"format":"json"')),
    "reasoning_effort": ({"reasoning_effort": "low"}, (AS_IT_IS, '"reasoning":{"effort":"low"}', '"effort":"low"', '"thinkingLevel":"low"', '"think":"low"')),
    "no reasoning": ({"reasoning_effort": "none"}, (AS_IT_IS, '"effort":"none"', '"thinking":{"type":"disabled"}', '"thinkingBudget":0', '"think":false')),
    "a budget to think": ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, (AS_IT_IS, NO, AS_IT_IS, '"thinkingBudget":2048', '"think":true')),
    "a summary of thoughts": ({"reasoning_summary": "auto"}, ("", '"summary":"auto"', "", '"includeThoughts":true', "")),
    "verbosity": ({"verbosity": "low"}, (AS_IT_IS, '"text":{"verbosity":"low"}', NO, NO, NO)),
    "service_tier": ({"service_tier": "flex"}, (AS_IT_IS, AS_IT_IS, NO, NO, NO)),
    "service_tier default": ({"service_tier": "default"}, (AS_IT_IS, AS_IT_IS, '"service_tier":"standard_only"', "", "")),
    "prediction": ({"prediction": {"type": "content", "content": "x"}}, (AS_IT_IS, NO, NO, NO, NO)),
    "web_search_options": ({"web_search_options": {"user_location": None}}, (AS_IT_IS, NO, NO, NO, NO)),
    "user": ({"user": "u-1"}, (AS_IT_IS, AS_IT_IS, '"user_id":"u-1"', "", "")),
    "an unknown member": ({"x_mine": 7}, (AS_IT_IS, NO, NO, NO, NO)),
}  # fmt: skip
PARTS: dict[str, tuple[list[dict[str, Any]], tuple[str | None, ...]]] = {
    "an image": ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}], (PIXEL, PIXEL, "iVBORw0KGgo=", "iVBORw0KGgo=", "iVBORw0KGgo=")),
    "an image of the web": ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/a.png"}}]}], ("https://a.example/a.png", "https://a.example/a.png", "https://a.example/a.png", "https://a.example/a.png", NO)),
    "audio": ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}], ("AAAA", NO, NO, NO, NO)),
    "a file": ([{"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA"}}]}], ("AAAA", NO, NO, NO, NO)),
    "a tool's result": ([CALLED, {"role": "tool", "tool_call_id": "c", "content": "rain"}], ('"content":"rain"', '"output":"rain"', '"text":"rain"}]}', '{"result":"rain"}', '"content":"rain"')),
    "a tool that failed": ([CALLED, {"role": "tool", "tool_call_id": "c", "content": "down", "is_error": True}], ('"content":"Error: down"', '"output":"Error: down"', '"is_error":true', '{"error":"down"}', '"content":"Error: down"')),
    "a tool that failed in parts": ([CALLED, {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "down"}], "is_error": True}], ('{"type":"text","text":"Error: "},{"type":"text","text":"down"}', '"output":"Error: down"', '"is_error":true', '{"error":"down"}', '"content":"Error: down"')),
    "a tool that did not fail": ([CALLED, {"role": "tool", "tool_call_id": "c", "content": "rain", "is_error": False}], ('"content":"rain"', '"output":"rain"', '"text":"rain"}]}', '{"result":"rain"}', '"content":"rain"')),
}  # fmt: skip
USER: Final = [{"role": "user", "content": "hi"}]
ROWS: Final = [
    (name, column, messages, options, wanted[at])
    for name, messages, options, wanted in [
        *((name, USER, options, wanted) for name, (options, wanted) in FEATURES.items()),
        *((name, messages, {}, wanted) for name, (messages, wanted) in PARTS.items()),
    ]
    for at, column in enumerate(COLUMNS)
]


@pytest.mark.parametrize(
    ("feature", "provider", "messages", "options", "wanted"),
    [pytest.param(*row, id=f"{row[0]} at {row[1]}") for row in ROWS],
)
def test_passed_or_refused(
    feature: str,
    provider: str,
    messages: list[dict[str, Any]],
    options: dict[str, Any],
    wanted: str | None,
) -> None:
    asked = GenerationRequest(messages=messages, options=options)
    if wanted is NO:
        with pytest.raises(RequestError) as refused:
            DIALECTS[provider].request("https://a.example", None, asked, "m")
        assert refused.value.status == 400
        assert refused.value.param
        assert any(name in refused.value.message for name in [*options, "messages[0]"])
        return
    request = DIALECTS[provider].request("https://a.example", None, asked, "m")
    sent = json.dumps(json.loads(request.body), separators=(",", ":"))
    if wanted == AS_IT_IS:
        wanted = json.dumps(options, separators=(",", ":"))[1:-1]
    assert wanted in sent
    # What is not said in a member of the API's own is not said in one that it does not know.
    if provider != "openai" and "is_error" not in wanted:
        assert "is_error" not in sent
