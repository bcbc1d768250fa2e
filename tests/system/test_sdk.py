from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionToolParam

from headwater.testing import (
    DONE,
    MODELS,
    STALL,
    Answer,
    Request,
    Step,
    chat,
    chunk,
    event,
    reply,
)
from headwater.testing import (
    FaultyUpstream as Upstream,
)
from tests.conftest import Figures
from tests.helpers.arrivals import assert_one_by_one, request, token_times
from tests.helpers.servers import Server, serve

pytestmark = pytest.mark.system

TOKENS = ["Rayleigh ", "scattering", ": ", "naïve ", "天空", " 🌊", "\n\n", "done", "."]
GAP_S = 0.1
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ARGUMENTS = ['{"ci', 'ty": "Zü', 'rich"}', "{}"]


def tool_chunk(index: int, arguments: str, **first: Any) -> bytes:
    function = {"arguments": arguments} | ({"name": first.pop("name")} if first else {})
    return chunk({"tool_calls": [{"index": index, "function": function, **first}]})


TOOLS: list[Step] = [
    tool_chunk(0, "", name="weather", id="call_a", type="function"),
    *(tool_chunk(0, piece) for piece in ARGUMENTS[:3]),
    tool_chunk(1, "", name="weather", id="call_b", type="function"),
    tool_chunk(1, ARGUMENTS[3]),
    chunk({}, "tool_calls"),
    DONE,
]

#: What the upstream does, by what it is asked.
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=GAP_S, usage=USAGE),
    "tools": Answer(TOOLS),
    "limited": reply(429, {"error": {"message": "slow down"}}, [("Retry-After", "7")]),
    "broken": reply(500, {"error": {"message": "out of memory"}}),
    "refused": reply(401, {"error": {"message": "no such key: sk-1234567890"}}),
    "unwelcome": reply(400, {"error": {"message": "too long"}}),
    "error inside": Answer(
        [chunk({"content": "a"}), 0.1, event({"error": {"message": "overloaded"}}), DONE]
    ),
    "cut": Answer([chunk({"content": "a"})]),
    "silence": Answer([chunk({"content": "a"}), 1.0, chunk({"content": "b"}, "stop"), DONE]),
    "stall": Answer([chunk({"content": "a"}), STALL]),
    "length": chat(["a"], finish="length"),
}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    upstream: Upstream, embedded: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    environ = {"HEADWATER_SERVER__HEARTBEAT_S": "0.2"}
    folder = tmp_path_factory.mktemp("sdk")
    with serve("--upstream", upstream.url, cwd=folder, environ=environ) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="anything", max_retries=0) as sdk:
        yield sdk


def ask(client: OpenAI, prompt: str, **extra: Any) -> Iterator[tuple[float, ChatCompletionChunk]]:
    stream = client.chat.completions.create(
        model=extra.pop("model", "test-model"),
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        **extra,
    )
    for part in stream:
        yield time.monotonic(), part


def text(parts: list[tuple[float, ChatCompletionChunk]]) -> str:
    return "".join(choice.delta.content or "" for _, part in parts for choice in part.choices)


def test_streaming_from_an_upstream(client: OpenAI, upstream: Upstream) -> None:
    parts = list(ask(client, "tokens"))
    assert text(parts) == "".join(TOKENS)
    arrived = [at for at, part in parts if part.choices and part.choices[0].delta.content]
    sent = token_times(upstream)
    assert_one_by_one(arrived, sent)
    assert parts[0][1].choices[0].delta.role == "assistant"
    assert [p.choices[0].finish_reason for _, p in parts if p.choices][-1] == "stop"
    assert len({part.id for _, part in parts}) == 1
    assert all(part.usage is None for _, part in parts), "usage was not asked for"
    assert {part.model for _, part in parts} == {"test-model"}


def test_streaming_from_the_embedded_model(client: OpenAI, server: Server, embedded: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=f"local/{embedded}",
        messages=[{"role": "user", "content": "Why is the sky blue?"}],
        max_tokens=40,
        stream=True,
    )
    stream = raw.headers["Headwater-Stream"]
    assert raw.headers["X-Request-Id"]
    parts = [(time.monotonic(), part) for part in raw.parse()]
    assert text(parts)
    assert len({at for at, _ in parts}) >= 5
    accept = {"Accept": "application/json"}
    state = json.loads(b"".join(request(server.port, f"/v1/streams/{stream}", headers=accept)))
    assert state["text"] == text(parts)


@pytest.mark.parametrize("said", [{}, {"stream": False}])
def test_whole(client: OpenAI, said: dict[str, Any]) -> None:
    completion = client.chat.completions.create(
        model="test-model", messages=[{"role": "user", "content": "tokens"}], **said
    )
    assert completion.choices[0].message.content == "".join(TOKENS)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.object == "chat.completion"
    assert completion.usage is not None
    assert completion.usage.model_dump(exclude_none=True) == USAGE


def test_usage_where_it_is_asked_for(client: OpenAI) -> None:
    parts = [p for _, p in ask(client, "tokens", stream_options={"include_usage": True})]
    assert parts[-1].choices == []
    assert parts[-1].usage is not None
    assert parts[-1].usage.model_dump(exclude_none=True) == USAGE
    assert all(part.usage is None for part in parts[:-1])


def test_tool_calls_streamed(client: OpenAI) -> None:
    calls: dict[int, dict[str, str]] = {}
    reasons = []
    for _, part in ask(client, "tools", tools=[WEATHER]):
        reasons.append(part.choices[0].finish_reason)
        for call in part.choices[0].delta.tool_calls or ():
            known = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
            assert call.function is not None
            known["id"] += call.id or ""
            known["name"] += call.function.name or ""
            known["arguments"] += call.function.arguments or ""
    assert calls == {
        0: {"id": "call_a", "name": "weather", "arguments": "".join(ARGUMENTS[:3])},
        1: {"id": "call_b", "name": "weather", "arguments": ARGUMENTS[3]},
    }
    assert reasons[-1] == "tool_calls"


def test_tool_calls_whole_and_their_next_turn(client: OpenAI, upstream: Upstream) -> None:
    first = client.chat.completions.create(
        model="test-model", messages=[{"role": "user", "content": "tools"}], tools=[WEATHER]
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    called = [call.to_dict() for call in message.tool_calls]
    assert called == [
        {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "".join(ARGUMENTS[:3])}},
        {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS[3]}},
    ]  # fmt: skip
    turn: list[Any] = [
        {"role": "user", "content": "tools"},
        message,
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
        {"role": "user", "content": "tokens"},
    ]
    client.chat.completions.create(model="test-model", messages=turn, tools=[WEATHER])
    sent = upstream.posts[-1].json
    assert sent["messages"][1]["tool_calls"] == called
    assert sent["messages"][2] == turn[2]
    assert sent["tools"] == [WEATHER]


def test_the_sdk_s_own_accumulating_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="test-model", messages=[{"role": "user", "content": "tools"}], tools=[WEATHER]
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == "".join(ARGUMENTS[:3])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("prompt", "kind", "status", "code"),
    [
        ("limited", openai.RateLimitError, 429, "rate_limited"),
        ("broken", openai.InternalServerError, 502, "upstream_error"),
        ("unwelcome", openai.BadRequestError, 400, "invalid_request"),
        # Not our caller's key was refused, but ours.
        ("refused", openai.InternalServerError, 502, "upstream_error"),
    ],
)
def test_an_upstream_s_refusal(
    client: OpenAI,
    prompt: str,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(
            model="test-model", messages=[{"role": "user", "content": prompt}], stream=stream
        )
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.request_id
    assert error.response.headers["headwater-stream"]
    assert "sk-1234567890" not in str(error)
    assert error.response.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    ("prompt", "code"), [("error inside", "upstream_error"), ("cut", "truncated")]
)
def test_an_error_inside_the_stream(client: OpenAI, prompt: str, code: str) -> None:
    parts: list[tuple[float, ChatCompletionChunk]] = []
    with pytest.raises(openai.APIError) as caught:
        parts.extend(ask(client, prompt))
    assert text(parts) == "a"
    assert caught.value.code == code
    assert not isinstance(caught.value, openai.APIStatusError)


def test_heartbeats_in_silence_are_harmless(client: OpenAI, server: Server) -> None:
    assert text(list(ask(client, "silence"))) == "ab"
    # They were there: the same answer as bytes.
    body = {"model": "m", "messages": [{"role": "user", "content": "silence"}], "stream": True}
    raw = b"".join(request(server.port, "/v1/chat/completions", body))
    assert raw.count(b": ping\n") >= 3


def test_a_length_is_a_length(client: OpenAI) -> None:
    reasons = [part.choices[0].finish_reason for _, part in ask(client, "length")]
    assert reasons[-1] == "length"


def test_models(client: OpenAI, embedded: str) -> None:
    ids = {model.id for model in client.models.list()}
    assert {"test-model", f"local/{embedded}"} <= ids


def test_the_catalogue_is_large(client: OpenAI) -> None:
    assert len(list(client.models.list())) >= 30


def test_a_listed_model_can_be_asked_for(client: OpenAI, embedded: str) -> None:
    # Bare names are the upstream's, so the list shows every other by its provider.
    [name] = [model.id for model in client.models.list() if model.id.endswith(f"/{embedded}")]
    parts = [part for _, part in ask(client, "tokens", model=name, max_tokens=8)]
    answered = text([(0.0, part) for part in parts])
    assert answered
    assert answered != "".join(TOKENS), "the upstream has answered"


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_body_is_a_bad_request(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="test-model", messages=[{"role": "user", "content": "tokens"}], n=2, stream=stream
        )
    assert caught.value.param == "n"


def test_leaving_frees_the_upstream(client: OpenAI, upstream: Upstream, figures: Figures) -> None:
    with client.chat.completions.create(
        model="test-model", messages=[{"role": "user", "content": "stall"}], stream=True
    ) as stream:
        assert next(iter(stream)).choices[0].delta.role == "assistant"
        asked = upstream.posts[-1]
        held = asked.hung_up_at is None
        assert held, "it was freed while it was read"
        left = time.monotonic()
    upstream.wait(lambda: asked.hung_up_at is not None, 2)
    assert asked.hung_up_at is not None
    took = (asked.hung_up_at - left) * 1000
    figures("openai SDK's stream closed to upstream freed", f"{took:.1f} ms")


def test_the_async_client(server: Server, upstream: Upstream) -> None:
    async def scenario() -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:

            async def one(prompt: str) -> tuple[list[float], str]:
                stream = await client.chat.completions.create(
                    model="test-model", messages=[{"role": "user", "content": prompt}], stream=True
                )
                pieces = [
                    (time.monotonic(), part.choices[0].delta.content or "") async for part in stream
                ]
                return [at for at, _ in pieces], "".join(piece for _, piece in pieces)

            answers = await asyncio.gather(*(one("tokens") for _ in range(8)))
            assert {answer for _, answer in answers} == {"".join(TOKENS)}
            # Side by side: all had begun before the first had ended.
            assert max(times[1] for times, _ in answers) < min(times[-1] for times, _ in answers)

            with pytest.raises(openai.RateLimitError):
                await one("limited")
            with pytest.raises(openai.APIError, match="broke off"):
                await one("cut")
            assert (await one("silence"))[1] == "ab"
            assert "test-model" in [model.id async for model in client.models.list()]

    asyncio.run(scenario())


def test_the_sdk_s_retries_meet_a_limit_that_passes(server: Server, upstream: Upstream) -> None:
    """What a user has by default: two retries, after the seconds that Retry-After names."""
    before = len(upstream.posts)
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=1) as client,
        pytest.raises(openai.InternalServerError),
    ):
        list(ask(client, "broken"))
    # Each of the SDK's two requests was tried three times, as long as there is a budget for it.
    assert 2 <= len(upstream.posts) - before <= 6
