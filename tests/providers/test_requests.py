"""What each dialect asks of one request, and what it refuses because its API lacks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.errors import RequestError
from headwater.events import (
    Event,
    ProviderData,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from headwater.generation import GenerationRequest
from headwater.providers.anthropic import Messages
from headwater.providers.base import Dialect
from headwater.providers.gemini import GenerateContent
from headwater.providers.ollama import OllamaChat
from headwater.providers.openai_chat import ChatCompletions
from headwater.providers.openai_responses import Responses
from headwater.upstream import Request
from tests.providers.recorded import ANTHROPIC, CHAT, GEMINI, OLLAMA, RESPONSES, Recorded

PIXEL = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Now", "parameters": SCHEMA},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}

DIALECTS: dict[str, Dialect] = {
    "openai": ChatCompletions(),
    "responses": Responses(),
    "anthropic": Messages(),
    "gemini": GenerateContent(),
    "ollama": OllamaChat(),
}
OTHERS = [name for name in DIALECTS if name != "openai"]


def ask(
    dialect: Dialect, messages: list[dict[str, Any]] | None = None, **options: Any
) -> tuple[Request, Any]:
    asked = GenerationRequest(
        messages=messages or [{"role": "user", "content": "hi"}], options=options, stream=False
    )
    request = dialect.request("https://a.example/v1", "k", asked, "m")
    return request, json.loads(request.body)


def asked(name: str, messages: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    return ask(DIALECTS[name], messages, **options)[1]


@pytest.mark.parametrize(
    ("name", "url", "key"),
    [
        ("openai", "/chat/completions", ("Authorization", "Bearer k")),
        ("responses", "/responses", ("Authorization", "Bearer k")),
        ("anthropic", "/messages", ("x-api-key", "k")),
        ("gemini", "/models/m:streamGenerateContent?alt=sse", ("x-goog-api-key", "k")),
        ("ollama", "/api/chat", ("Authorization", "Bearer k")),
    ],
)
def test_where_and_with_which_key(name: str, url: str, key: tuple[str, str]) -> None:
    request, body = ask(DIALECTS[name])
    assert request.url == f"https://a.example/v1{url}"
    assert request.headers[key[0]] == key[1]
    assert body.get("stream", name == "gemini") is True
    dialect = DIALECTS[name]
    without = dialect.request("https://a.example", None, GenerationRequest(messages=[]), "m")
    assert key[0] not in without.headers


def test_a_model_name_is_no_path() -> None:
    asked = GenerationRequest(messages=[{"role": "user", "content": "hi"}])
    request = GenerateContent().request("https://a.example", "k", asked, "../x?y#z")
    assert request.url == "https://a.example/models/..%2Fx%3Fy%23z:streamGenerateContent?alt=sse"


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]},
    {"role": "assistant", "content": "A dot."},
    {"role": "user", "content": "And here?"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "anthropic",
            {
                "system": "Be brief.\n\nBe kind.",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is it?"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                        ],
                    },
                    {"role": "assistant", "content": [{"type": "text", "text": "A dot."}]},
                    {"role": "user", "content": [{"type": "text", "text": "And here?"}]},
                ],
            },
        ),
        (
            "gemini",
            {
                "systemInstruction": {"parts": [{"text": "Be brief.\n\nBe kind."}]},
                "contents": [
                    {
                        "role": "user",
                        "parts": [{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}],
                    },
                    {"role": "model", "parts": [{"text": "A dot."}]},
                    {"role": "user", "parts": [{"text": "And here?"}]},
                ],
            },
        ),
        (
            "responses",
            {
                "store": False,
                "input": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "system", "content": "Be kind."},
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "What is it?"},
                            {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                        ],
                    },
                    {"role": "assistant", "content": "A dot."},
                    {"role": "user", "content": "And here?"},
                ],
            },
        ),
        (
            "ollama",
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "system", "content": "Be kind."},
                    {"role": "user", "content": "What is it?", "images": ["iVBORw0KGgo="]},
                    {"role": "assistant", "content": "A dot."},
                    {"role": "user", "content": "And here?"},
                ],
            },
        ),
        ("openai", {"messages": CONVERSATION}),
    ],
)  # fmt: skip
def test_a_conversation(name: str, expected: dict[str, Any]) -> None:
    body = asked(name, CONVERSATION)
    assert {member: body[member] for member in expected} == expected


SAMPLING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 7,
    "user": "u",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anthropic", {"model": "m", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "metadata": {"user_id": "u"}, "stream": True}),
        ("gemini", {"generationConfig": {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 7}}),
        ("responses", {"model": "m", "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 7, "user": "u", "store": False, "stream": True}),
        ("ollama", {"model": "m", "options": {"temperature": 0.5, "top_p": 0.9, "num_predict": 7}, "stream": True}),
        ("openai", {**SAMPLING, "model": "m", "stream": True, "stream_options": {"include_usage": True}}),
    ],
)  # fmt: skip
def test_sampling(name: str, expected: dict[str, Any]) -> None:
    body = asked(name, None, **SAMPLING)
    for said in ("messages", "contents", "input"):
        body.pop(said, None)
    assert body == expected


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("anthropic", {}, {"max_tokens": 32_000}),
        ("anthropic", {"stop": "a"}, {"stop_sequences": ["a"]}),
        ("anthropic", {"max_completion_tokens": 3, "max_tokens": 9}, {"max_tokens": 3}),
        ("anthropic", {"reasoning_effort": "high"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("anthropic", {"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ("anthropic", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5}, {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 5}),
        ("anthropic", {"response_format": FORMAT}, {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        ("anthropic", {"tools": [TOOL]}, {"tools": [{"name": "weather", "description": "Now", "input_schema": SCHEMA}]}),
        ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("anthropic", {"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ("anthropic", {"tools": [TOOL], "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
        ("anthropic", {"tools": [TOOL], "parallel_tool_calls": False}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        ("anthropic", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, {"tool_choice": {"type": "tool", "name": "weather"}}),
        ("gemini", {"stop": ["a", "b"], "seed": 1}, {"generationConfig": {"seed": 1, "stopSequences": ["a", "b"]}}),
        ("gemini", {"presence_penalty": 1, "frequency_penalty": 0.5}, {"generationConfig": {"presencePenalty": 1, "frequencyPenalty": 0.5}}),
        ("gemini", {"reasoning_effort": "low"}, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}}}),
        ("gemini", {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ("gemini", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": True}}}),
        ("gemini", {"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "high", "includeThoughts": True}}}),
        ("gemini", {"thinking": {"type": "disabled"}}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ("ollama", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"think": True}),
        ("gemini", {"response_format": {"type": "json_object"}}, {"generationConfig": {"responseMimeType": "application/json"}}),
        ("gemini", {"response_format": FORMAT}, {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}}),
        ("gemini", {"tools": [TOOL]}, {"tools": [{"functionDeclarations": [{"name": "weather", "description": "Now", "parametersJsonSchema": SCHEMA}]}]}),
        ("gemini", {"tools": [{"googleSearch": {}}]}, {"tools": [{"googleSearch": {}}]}),
        ("gemini", {"tools": [TOOL], "tool_choice": "required"}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        ("gemini", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}}),
        ("responses", {"max_completion_tokens": 3}, {"max_output_tokens": 3}),
        ("responses", {"store": True, "include": ["reasoning.encrypted_content"]}, {"store": True, "include": ["reasoning.encrypted_content"]}),
        ("responses", {"reasoning_effort": "low", "reasoning": {"summary": "auto"}}, {"reasoning": {"summary": "auto", "effort": "low"}}),
        ("responses", {"response_format": FORMAT}, {"text": {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}}}),
        ("responses", {"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        ("responses", {"tools": [TOOL, {"type": "web_search"}]}, {"tools": [{"type": "function", "name": "weather", "description": "Now", "parameters": SCHEMA, "strict": False}, {"type": "web_search"}]}),
        ("responses", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, {"tool_choice": {"type": "function", "name": "weather"}}),
        ("ollama", {"seed": 1, "stop": ["a"], "frequency_penalty": 1}, {"options": {"seed": 1, "stop": ["a"], "frequency_penalty": 1}}),
        ("ollama", {"response_format": FORMAT}, {"format": SCHEMA}),
        ("ollama", {"response_format": {"type": "json_object"}}, {"format": "json"}),
        ("ollama", {"reasoning_effort": "none"}, {"think": False}),
        ("ollama", {"reasoning_effort": "high"}, {"think": "high"}),
        ("ollama", {"tools": [TOOL]}, {"tools": [TOOL]}),
        ("ollama", {"options": {"num_ctx": 8192}, "top_k": 3, "keep_alive": "5m"}, {"options": {"num_ctx": 8192, "top_k": 3}, "keep_alive": "5m"}),
    ],
)  # fmt: skip
def test_members_by_other_names(
    name: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = asked(name, **options)
    assert {member: body.get(member) for member in expected} == expected


def part(**members: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [members]}]


WEB_IMAGE = part(type="image_url", image_url={"url": "https://a.example/a.png"})

#: Dialect, options or messages, the member that the error names.
REFUSED = [
    ("anthropic", {"seed": 1}, "seed"),
    ("anthropic", {"frequency_penalty": 0.5}, "frequency_penalty"),
    ("anthropic", {"logprobs": True}, "logprobs"),
    ("anthropic", {"logit_bias": {"1": 2}}, "logit_bias"),
    ("anthropic", {"response_format": {"type": "json_object"}}, "response_format"),
    ("anthropic", {"modalities": ["text", "audio"]}, "modalities"),
    ("anthropic", {"functions": [{"name": "f"}]}, "functions"),
    ("anthropic", {"tools": [{"type": "web_search"}]}, "tools[0]"),
    ("gemini", {"parallel_tool_calls": False}, "parallel_tool_calls"),
    ("gemini", {"stop": ["a"] * 6}, "stop"),
    ("gemini", {"logit_bias": {"1": 2}}, "logit_bias"),
    ("gemini", {"tools": [{"type": "web_search"}]}, "tools[0]"),
    ("responses", {"stop": ["a"]}, "stop"),
    ("responses", {"seed": 1}, "seed"),
    ("responses", {"presence_penalty": 1}, "presence_penalty"),
    ("ollama", {"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    ("ollama", {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ("ollama", {"logprobs": True}, "logprobs"),
    *((name, {"n": 2}, "n") for name in OTHERS),
    *((name, {"prediction": {"type": "content"}}, "prediction") for name in OTHERS),
    *((name, {"audio": {"voice": "x"}}, "audio") for name in OTHERS),
    *((name, {"stop": [1]}, "stop") for name in OTHERS),
    *((name, {"tools": 7}, "tools") for name in ("anthropic", "responses", "ollama")),
    *((name, {"tools": [TOOL], "tool_choice": {"type": "custom"}}, "tool_choice") for name in ("anthropic", "gemini")),
    *((name, {"response_format": {"type": "grammar"}}, "response_format") for name in OTHERS),
    *((name, part(type="input_audio", input_audio={}), "messages[0].content[0]") for name in OTHERS),
    *((name, part(type="file", file={}), "messages[0].content[0]") for name in OTHERS),
    *((name, part(type="image_url", image_url={"url": "file:///etc/passwd"}), "messages[0].content[0].image_url.url") for name in OTHERS),
    *((name, part(type="text", text=7), "messages[0].content[0].text") for name in OTHERS),
    *((name, [{"role": "user", "content": [7]}], "messages[0].content[0]") for name in OTHERS),
    *((name, [{"role": "function", "content": "x", "name": "f"}], "messages[0].role") for name in OTHERS),
    *((name, [{"role": "tool", "content": "x"}], "messages[0].tool_call_id") for name in OTHERS),
    *((name, [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]}], "messages[0].tool_calls[0].function.arguments") for name in OTHERS),
    *((name, [{"role": "assistant", "tool_calls": [7]}], "messages[0].tool_calls[0]") for name in OTHERS),
    ("ollama", WEB_IMAGE, "messages[0].content"),
    ("gemini", [{"role": "tool", "tool_call_id": "none", "content": "x"}], "messages[0].tool_call_id"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "param"), REFUSED)
def test_what_an_api_lacks_is_refused_by_name(
    name: str, given: dict[str, Any] | list[dict[str, Any]], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        asked(name, given) if isinstance(given, list) else asked(name, None, **given)
    assert caught.value.param == param
    assert param.partition("[")[0] in caught.value.message


@pytest.mark.parametrize("name", OTHERS)
def test_values_that_ask_for_nothing_pass(name: str) -> None:
    asked(
        name, None, n=1, frequency_penalty=0, presence_penalty=0.0, logprobs=False, top_logprobs=0
    )
    asked(name, logit_bias={}, tools=[], tool_choice="auto", response_format={"type": "text"})
    asked(name, parallel_tool_calls=True, modalities=["text"], stop=None, seed=None)
    asked(name, metadata={"a": "b"}, stream_options={"include_usage": True}, user="u")


def test_images_from_the_web() -> None:
    url = "https://a.example/a.png"
    [message] = asked("anthropic", WEB_IMAGE)["messages"]
    assert message["content"] == [{"type": "image", "source": {"type": "url", "url": url}}]
    [content] = asked("gemini", WEB_IMAGE)["contents"]
    assert content["parts"] == [{"fileData": {"fileUri": url, "mimeType": "image/png"}}]


def test_ids_that_anthropic_does_not_take() -> None:
    call = {"id": "functions.weather:0", "type": "function", "function": {"name": "weather", "arguments": '{"t": 1.0}'}}  # fmt: skip
    request, body = ask(
        Messages(),
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "functions.weather:0", "content": "9"},
        ],
    )
    assert body["messages"][1]["content"][0]["id"] == "functions_weather_0"
    assert body["messages"][2]["content"][0]["tool_use_id"] == "functions_weather_0"
    assert b'"input":{"t": 1.0}' in request.body, "as the model wrote it, for the provider's cache"


# a tool conversation of two turns


def answered(recorded: Recorded) -> dict[str, Any]:
    """The assistant's message that an answer makes, as the wires hand it back."""
    parser = recorded.dialect.parser("acme", recorded.content_type)
    events: list[Event] = [*parser.feed(recorded.body), *parser.end()]
    calls: dict[str, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, ToolCallStart):
            function = {"name": event.name, "arguments": ""}
            calls[event.call] = {"id": event.call, "type": "function", "function": function}
        elif isinstance(event, ToolCallDelta):
            calls[event.call]["function"]["arguments"] += event.arguments
    return {
        "role": "assistant",
        "content": "".join(e.text for e in events if isinstance(e, TextDelta)),
        "reasoning_content": "".join(e.text for e in events if isinstance(e, ReasoningDelta)),
        "tool_calls": list(calls.values()),
        "provider_data": [
            {"provider": e.provider, "part": e.part, "value": e.value}
            for e in events
            if isinstance(e, ProviderData)
        ],
    }


def second_turn(recorded: Recorded) -> list[dict[str, Any]]:
    """The question, the answer, what the tools said: what a client sends to go on."""
    answer = answered(recorded)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": '{"celsius": 9.0}'}
        for call in answer["tool_calls"]
    ]
    return [{"role": "user", "content": "Weather?"}, answer, *results]


def test_anthropic_gets_its_thoughts_back_before_its_calls() -> None:
    _, said, results = asked("anthropic", second_turn(ANTHROPIC))["messages"]
    kinds = [block["type"] for block in said["content"]]
    assert kinds == ["thinking", "redacted_thinking", "server_tool_use", "web_search_tool_result", "text", "tool_use"]  # fmt: skip
    thinking, redacted, *_, tool = said["content"]
    assert thinking == {"type": "thinking", "thinking": "Rayleigh, né 1842", "signature": "EqQBCg"}
    assert redacted == {"type": "redacted_thinking", "data": "EmwKAh"}
    assert tool == {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}}  # fmt: skip
    assert results["role"] == "user"
    assert results["content"][0]["tool_use_id"] == "toolu_1"
    assert results["content"][0]["content"] == [{"type": "text", "text": '{"celsius": 9.0}'}]


def test_thoughts_between_tools_keep_their_places() -> None:
    """Messages in a row are one, so each thought can be a message with its own signature."""

    def thought(text: str, signature: str, **members: Any) -> dict[str, Any]:
        kept = [{"provider": "anthropic", "part": "signature", "value": signature}]
        return {"role": "assistant", "content": None, "reasoning_content": text, "provider_data": kept, **members}  # fmt: skip

    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = [thought("one", "S1", content="said"), thought("two", "S2", tool_calls=[call])]
    [said] = asked("anthropic", messages)["messages"]
    assert said["content"] == [
        {"type": "thinking", "thinking": "one", "signature": "S1"},
        {"type": "text", "text": "said"},
        {"type": "thinking", "thinking": "two", "signature": "S2"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]
    both = thought("one two", "S1")
    both["provider_data"] += thought("", "S2")["provider_data"]
    [said] = asked("anthropic", [both])["messages"]
    assert [block["thinking"] for block in said["content"]] == ["one two", ""]


def test_gemini_gets_each_signature_back_on_its_part() -> None:
    _, said, results = asked("gemini", second_turn(GEMINI))["contents"]
    assert said == {
        "role": "model",
        "parts": [
            {"text": "Der Himmel ist blau 🌊"},
            {"text": "", "thoughtSignature": "EuYC"},
            {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "EjQK"},
            {"functionCall": {"id": "fc-2", "name": "time", "args": {}}},
        ],
    }  # fmt: skip
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "weather", "response": {"celsius": 9.0}}},
            {"functionResponse": {"id": "fc-2", "name": "time", "response": {"celsius": 9.0}}},
        ],
    }


def test_openai_gets_its_reasoning_items_back_whole() -> None:
    _, reasoning, said, call, result = asked("responses", second_turn(RESPONSES))["input"]
    assert reasoning["encrypted_content"] == "gAAAAA"
    assert reasoning["id"] == "rs_1"
    assert said == {"role": "assistant", "content": "Der Himmel ist blau 🌊"}
    assert call == {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Zürich"}'}  # fmt: skip
    assert result == {"type": "function_call_output", "call_id": "call_1", "output": '{"celsius": 9.0}'}  # fmt: skip


def test_ollama_gets_names_instead_of_ids() -> None:
    _, said, weather, time = asked("ollama", second_turn(OLLAMA))["messages"]
    assert said["thinking"] == "Rayleigh, né 1842"
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == [
        {"city": "Zürich"},
        {},
    ]
    assert (weather["tool_name"], time["tool_name"]) == ("weather", "time")


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "recorded", [CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA], ids=lambda r: f"from {r.name}"
)
def test_what_belongs_to_another_vendor_is_not_sent(name: str, recorded: Recorded) -> None:
    """A conversation can go on anywhere; nobody is sent another's signatures."""
    request, body = ask(DIALECTS[name], second_turn(recorded))
    assert b"provider_data" not in request.body
    if name != recorded.name:
        for foreign in (b"EqQBCg", b"EmwKAh", b"gAAAAA", b"EjQK", b"EuYC", b"srvtoolu_1"):
            assert foreign not in request.body
    if name == "anthropic" and recorded.name != "anthropic":
        assert b"Rayleigh" not in request.body, "an unsigned thought would be refused"
    if name == "gemini" and recorded.name != "gemini":
        calls = [p for c in body["contents"] for p in c["parts"] if "functionCall" in p]
        assert calls[0]["thoughtSignature"] == "skip_thought_signature_validator"


def test_what_a_provider_refuses_or_calls_otherwise() -> None:
    """Mistral answers 422 to a member that it does not know."""
    renames = {
        "stream_options": "",
        "max_completion_tokens": "max_tokens",
        "seed": "random_seed",
        "messages.reasoning_content": "",
    }
    _, body = ask(
        ChatCompletions(renames),
        [{"role": "assistant", "content": "a", "reasoning_content": "r"}],
        max_completion_tokens=5,
        seed=1,
        temperature=0.5,
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "assistant", "content": "a"}],
        "stream": True,
        "max_tokens": 5,
        "random_seed": 1,
        "temperature": 0.5,
    }
