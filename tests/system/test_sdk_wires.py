"""The Python SDKs of Anthropic and of OpenAI's Responses, over several turns."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    FaultyUpstream,
    Request,
    Step,
    chat,
    chunk,
    event,
    reply,
)
from tests.helpers.arrivals import assert_one_by_one, token_times
from tests.helpers.servers import Server, serve
from tests.providers.recorded import ANTHROPIC, CITED, FOUND, RESPONSES, SEARCH

pytestmark = pytest.mark.system

TOKENS = ["Rayleigh ", "scattering", ": ", "naïve ", "天空", " 🌊", "\n\n", "done", "."]
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
ARGUMENTS = ['{"ci', 'ty": "Zü', 'rich"}']
PARAMETERS: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
PNG = "iVBORw0KGgo="


def tool_chunk(index: int, arguments: str, **first: Any) -> bytes:
    function = {"arguments": arguments} | ({"name": first.pop("name")} if first else {})
    return chunk({"tool_calls": [{"index": index, "function": function, **first}]})


TOOLS: list[Step] = [
    chunk({"reasoning_content": "I should "}),
    chunk({"reasoning_content": "look."}),
    chunk({"content": "Looking."}),
    tool_chunk(0, "", name="weather", id="call_a", type="function"),
    *(tool_chunk(0, piece) for piece in ARGUMENTS),
    tool_chunk(1, "", name="weather", id="call_b", type="function"),
    tool_chunk(1, "{}"),
    chunk({}, "tool_calls"),
    event({"choices": [], "usage": USAGE}),
    DONE,
]
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=0.1, usage=USAGE),
    "tools": Answer(TOOLS),
    "limited": reply(429, {"error": {"message": "slow down"}}, [("Retry-After", "7")]),
    "unwelcome": reply(400, {"error": {"message": "too long"}}),
    "broken": reply(500, {"error": {"message": "out of memory"}}),
    "stall": Answer([chunk({"content": "a"}), STALL]),
    "length": chat(["a"], finish="length"),
    "filtered": chat(["a"], finish="content_filter"),
    "cut": Answer([chunk({"content": "a"})]),
}
WEATHER: anthropic.types.ToolParam = {"name": "weather", "input_schema": PARAMETERS}
SEARCHING: anthropic.types.WebSearchTool20250305Param = {
    "type": "web_search_20250305",
    "name": "web_search",
}
FUNCTION: openai.types.responses.FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "parameters": PARAMETERS,
    "strict": False,
}
CALLED = [
    {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}},
    {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
]  # fmt: skip


def answer(asked: Request) -> Answer:
    if asked.method == "GET":
        return MODELS
    content = asked.json["messages"][-1]["content"]
    return ANSWERS[content if isinstance(content, str) else content[0]["text"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("--upstream", upstream.url, cwd=tmp_path_factory.mktemp("wires")) as running:
        yield running


@pytest.fixture
def claude(server: Server) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="anything", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="anything", max_retries=0) as sdk:
        yield sdk


def ask(claude: Anthropic, prompt: str, **extra: Any) -> anthropic.types.Message:
    message: anthropic.types.Message = claude.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": prompt}], **extra
    )
    return message


# Anthropic


def test_messages_one_by_one(claude: Anthropic, upstream: FaultyUpstream) -> None:
    ask(claude, "tokens")  # the SDK builds its models at its first answer
    arrived, text = [], ""
    with claude.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "tokens"}]
    ) as stream:
        for piece in stream.text_stream:
            arrived.append(time.monotonic())
            text += piece
        message = stream.get_final_message()
    assert text == "".join(TOKENS)
    sent = token_times(upstream)
    assert_one_by_one(arrived, sent)
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 9)
    assert upstream.posts[-1].json["max_tokens"] == 9


@pytest.mark.parametrize("stream", [True, False])
def test_messages_over_two_turns(claude: Anthropic, upstream: FaultyUpstream, stream: bool) -> None:
    """Thinking and calls, and their results sent back as the SDK itself keeps them."""
    if stream:
        with claude.messages.stream(
            model="m",
            max_tokens=9,
            tools=[WEATHER],
            messages=[{"role": "user", "content": "tools"}],
        ) as events:
            kinds = {event.type for event in events}
            first: anthropic.types.Message = events.get_final_message()
        assert {"thinking", "text", "input_json", "content_block_stop"} <= kinds
    else:
        first = ask(claude, "tools", tools=[WEATHER])
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, _, call, other = first.content
    assert thinking.type == "thinking"
    assert thinking.thinking == "I should look."
    assert call.type == other.type == "tool_use"
    assert (call.id, call.input, other.input) == ("call_a", {"city": "Zürich"}, {})
    assert first.stop_reason == "tool_use"
    source: Any = {"type": "base64", "media_type": "image/png", "data": PNG}
    claude.messages.create(
        model="m",
        max_tokens=9,
        system="Be brief.",
        tools=[WEATHER],
        messages=[
            {"role": "user", "content": "tools"},
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_a", "content": "rain"},
                    {"type": "tool_result", "tool_use_id": "call_b", "content": "sun"},
                    {"type": "text", "text": "tokens"},
                    {"type": "image", "source": source},
                ],
            },
        ],
    )
    sent = upstream.posts[-1].json
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]
    assert sent["messages"][2]["tool_calls"] == CALLED
    assert sent["messages"][2]["reasoning_content"] == "I should look."
    assert sent["messages"][5]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert sent["tools"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("prompt", "kind", "status"),
    [
        ("limited", anthropic.RateLimitError, 429),
        ("unwelcome", anthropic.BadRequestError, 400),
        ("broken", anthropic.InternalServerError, 502),
    ],
)
def test_refusals_of_messages(
    claude: Anthropic, prompt: str, kind: type[anthropic.APIStatusError], status: int, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        ask(claude, prompt, stream=stream)
    assert caught.value.status_code == status
    assert caught.value.request_id
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    ("prompt", "reason"), [("length", "max_tokens"), ("filtered", "refusal"), ("tokens", "end_turn")]
)  # fmt: skip
def test_stop_reasons(claude: Anthropic, prompt: str, reason: str) -> None:
    assert ask(claude, prompt).stop_reason == reason


def test_what_cannot_be_passed_on_is_said(claude: Anthropic) -> None:
    document: Any = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}  # fmt: skip
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.type"):
        claude.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": [document]}]
        )


def test_leaving_messages_frees_the_upstream(claude: Anthropic, upstream: FaultyUpstream) -> None:
    with claude.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "stall"}]
    ) as stream:
        assert next(iter(stream.text_stream)) == "a"
        asked = upstream.posts[-1]
    upstream.wait(lambda: asked.hung_up_at is not None, 2)


# Responses


def test_responses_one_by_one(client: OpenAI, upstream: FaultyUpstream) -> None:
    # Once before: at its first event the SDK builds its models, which takes a busy machine long.
    with client.responses.stream(model="m", input="tokens") as stream:
        stream.until_done()
    arrived, text = [], ""
    with client.responses.stream(model="m", input="tokens") as stream:
        for each in stream:
            if each.type == "response.output_text.delta":
                arrived.append(time.monotonic())
                text += each.delta
        final = stream.get_final_response()
    assert text == final.output_text == "".join(TOKENS)
    sent = token_times(upstream)
    assert_one_by_one(arrived, sent)
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (7, 9)


@pytest.mark.parametrize("stream", [True, False])
def test_responses_over_two_turns(client: OpenAI, upstream: FaultyUpstream, stream: bool) -> None:
    conversation: list[Any] = [{"role": "user", "content": "tools"}]
    if stream:
        with client.responses.stream(model="m", input=conversation, tools=[FUNCTION]) as events:
            kinds = {each.type for each in events}
            first: Any = events.get_final_response()
        assert "response.function_call_arguments.done" in kinds
        assert "response.reasoning_summary_text.delta" in kinds
    else:
        first = client.responses.create(model="m", input=conversation, tools=[FUNCTION])
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]  # fmt: skip
    assert first.output[2].arguments == "".join(ARGUMENTS)
    assert first.tools[0].name == "weather"
    conversation += [item.to_dict() for item in first.output]
    for call, output in (("call_a", "rain"), ("call_b", "sun")):
        conversation.append({"type": "function_call_output", "call_id": call, "output": output})
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    text = {"type": "input_text", "text": "tokens"}
    conversation.append({"role": "user", "content": [text, picture]})
    second = client.responses.create(
        model="m", input=conversation, instructions="Be brief.", max_output_tokens=9
    )
    assert second.output_text == "".join(TOKENS)
    sent = upstream.posts[-1].json
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]
    said = sent["messages"][2]
    assert [json.loads(call["function"]["arguments"]) for call in said["tool_calls"]] == [{"city": "Zürich"}, {}]  # fmt: skip
    assert (said["content"], said["reasoning_content"]) == ("Looking.", "I should look.")
    assert sent["max_tokens"] == 9


def test_a_response_is_retrieved_and_cancelled(client: OpenAI, upstream: FaultyUpstream) -> None:
    name = ""
    for each in client.responses.create(model="m", input="stall", stream=True, metadata={"a": "b"}):
        if each.type == "response.created":
            name = each.response.id
        if each.type == "response.output_text.delta":
            running = client.responses.retrieve(name)
            assert (running.status, running.output_text) == ("in_progress", "a")
            cancelled = client.responses.cancel(name)
            assert cancelled.status == "incomplete"
    last = client.responses.retrieve(name)
    assert (last.status, last.metadata, last.output_text) == ("incomplete", {"a": "b"}, "a")
    asked = upstream.posts[-1]
    upstream.wait(lambda: asked.hung_up_at is not None, 2)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_none")


def test_structured_output_is_asked_for(client: OpenAI, upstream: FaultyUpstream) -> None:
    wanted: Any = {"format": {"type": "json_schema", "name": "n", "schema": PARAMETERS}}
    client.responses.create(model="m", input="tokens", text=wanted)
    format_ = upstream.posts[-1].json["response_format"]
    assert format_ == {"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS}}


@pytest.mark.parametrize("stream", [True, False])
def test_refusals_of_responses(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="m", input="limited", stream=stream)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="m", input="x", previous_response_id="resp_1", stream=stream)
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="m", input="cut", stream=False)


def test_the_async_clients(server: Server) -> None:
    async def scenario() -> None:
        async with (
            AsyncAnthropic(base_url=server.url, api_key="x", max_retries=0) as claude,
            AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client,
        ):

            async def message() -> str:
                async with claude.messages.stream(
                    model="m", max_tokens=9, messages=[{"role": "user", "content": "tokens"}]
                ) as stream:
                    return "".join([piece async for piece in stream.text_stream])

            async def response() -> str:
                async with client.responses.stream(model="m", input="tokens") as stream:
                    async for _ in stream:
                        pass
                    return (await stream.get_final_response()).output_text

            answers = await asyncio.gather(*(each() for each in (message, response) * 4))
            assert set(answers) == {"".join(TOKENS)}

    asyncio.run(scenario())


# what only the provider understands, over several turns of the SDK's own conversation

VENDORS = """
[providers.claude]
base_url = "{url}"
dialect = "anthropic"
[providers.thinker]
base_url = "{url}"
dialect = "responses"
"""


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FaultyUpstream]]:
    """Providers that answer in Anthropic's and in OpenAI's own API, with all that they can send."""
    recorded = {"/v1/messages": ANTHROPIC, "/v1/responses": RESPONSES}

    def say(asked: Request) -> Answer:
        return MODELS if asked.method == "GET" else Answer([recorded[asked.path].body])

    folder = tmp_path_factory.mktemp("vendors")
    with FaultyUpstream(say) as upstream:
        (folder / "headwater.toml").write_text(VENDORS.format(url=upstream.url))
        with serve(cwd=folder) as running:
            yield running.url, upstream


def test_signatures_blocks_and_citations_go_back(vendors: tuple[str, FaultyUpstream]) -> None:
    """Three turns: what Anthropic sent goes back to it as it came, the tool's results between."""
    url, upstream = vendors
    messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Why?"}]
    with Anthropic(base_url=url, api_key="x", max_retries=0) as claude:
        for _ in range(2):
            with claude.messages.stream(
                model="claude/m", max_tokens=99, messages=messages, tools=[WEATHER, SEARCHING]
            ) as stream:
                said = stream.get_final_message()
            assert said.stop_reason == "tool_use"
            result: anthropic.types.ToolResultBlockParam = {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": "rain",
            }
            messages += [
                {"role": "assistant", "content": said.content},
                {"role": "user", "content": [result]},
            ]
        claude.messages.create(model="claude/m", max_tokens=99, messages=messages)
    sent = upstream.posts[-1].json["messages"]
    assert [message["role"] for message in sent] == ["user", *["assistant", "user"] * 2]
    for assistant in (sent[1], sent[3]):
        assert assistant["content"] == [
            {"type": "thinking", "thinking": "Rayleigh, né 1842", "signature": "EqQBCg"},
            {"type": "redacted_thinking", "data": "EmwKAh"},
            {**SEARCH, "input": {"query": "Himmel"}},
            FOUND,
            {"type": "text", "text": "Der Himmel ist blau 🌊", "citations": [CITED]},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}},
        ]


def test_encrypted_reasoning_goes_back(vendors: tuple[str, FaultyUpstream]) -> None:
    """The same with OpenAI's Responses and its SDK."""
    url, upstream = vendors
    conversation: list[Any] = [{"role": "user", "content": "Why?"}]
    with OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as there:
        for _ in range(2):
            with there.responses.stream(
                model="thinker/m", input=conversation, tools=[FUNCTION]
            ) as stream:
                for _event in stream:
                    pass
                said = stream.get_final_response()
            result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
            conversation += [*(item.to_dict() for item in said.output), result]
        there.responses.create(model="thinker/m", input=conversation)
    sent = upstream.posts[-1].json["input"]
    kinds = [item.get("type", "message") for item in sent]
    turn = ["reasoning", "message", "function_call", "function_call_output"]
    assert kinds == ["message", *turn, *turn]
    for at in (1, 5):
        assert (sent[at]["id"], sent[at]["encrypted_content"]) == ("rs_1", "gAAAAA")
        call = sent[at + 2]
        assert (call["call_id"], json.loads(call["arguments"])) == ("call_1", {"city": "Zürich"})


def test_streams_are_read_in_any_wire(server: Server, claude: Anthropic) -> None:
    with claude.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "tokens"}]
    ) as stream:
        name = stream.response.headers["Headwater-Stream"]
        stream.until_done()
    for wire in ("plain", "native", "openai", "responses", "anthropic", "ui", "agui"):
        body = httpx.get(f"{server.url}/v1/streams/{name}?wire={wire}").text
        assert "naïve" in body
