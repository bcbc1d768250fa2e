"""A generator of one's own: strings, events, and what the real SDKs and agents yield."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import openai
import pytest

from headwater import testing
from headwater.errors import HeadwaterError
from headwater.events import (
    Event,
    ProviderData,
    ReasoningDelta,
    StepStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    ToolResult,
    Usage,
    encode,
)
from headwater.providers.base import Finish, Outcome
from headwater.providers.iterator import iterator_source
from headwater.testing import DONE, Answer, FaultyUpstream, chat, chunk
from tests.helpers.polling import eventually_async
from tests.providers.recorded import ANTHROPIC, CHAT, RESPONSES, Recorded, call, delta


class Collected:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.outcome: Outcome | None = None
        self.ended = asyncio.Event()

    def events(self, events: Sequence[Event]) -> None:
        assert events, "never empty"
        self.all += events

    def alive(self, data: bool) -> None:
        raise AssertionError("there is no upstream")

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        assert self.outcome is None
        self.all += events
        self.outcome = outcome
        self.ended.set()


def collected(items: Any) -> tuple[list[Event], Outcome | None]:
    async def scenario() -> Collected:
        receiver = Collected()
        iterator_source(items).start(receiver)
        await asyncio.wait_for(receiver.ended.wait(), 10)
        return receiver

    receiver = asyncio.run(scenario())
    for event in receiver.all:
        encode(event)
    return receiver.all, receiver.outcome


async def later(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


both = pytest.mark.parametrize("as_given", [iter, later], ids=["sync", "async"])


@both
def test_strings_and_events(as_given: Callable[[Any], Any]) -> None:
    items = ["a", "", StepStart(), "b\ud83d", "\ude00"]
    assert collected(as_given(items)) == (
        [TextDelta("a"), StepStart(), TextDelta("b"), TextDelta("😀")],
        Finish("stop"),
    )


@both
@pytest.mark.parametrize(
    "item", [7, None, b"bytes", {"a": 1}, object(), {"type": "text"}, ("a", "b")]
)
def test_what_is_nothing_that_is_known(as_given: Callable[[Any], Any], item: object) -> None:
    events, outcome = collected(as_given(["a", item]))
    assert events == [TextDelta("a")]
    assert isinstance(outcome, HeadwaterError)
    assert outcome.code == "internal"


@contextlib.contextmanager
def served(recorded: Recorded, tail: int | None = None) -> Iterator[str]:
    """The base URL of a vendor that answers as recorded, or only its first messages."""
    with FaultyUpstream(Answer(recorded.frames[:tail])) as upstream:
        yield upstream.url


@contextlib.contextmanager
def openai_client(recorded: Recorded, tail: int | None = None) -> Iterator[openai.OpenAI]:
    with served(recorded, tail) as url, openai.OpenAI(api_key="k", base_url=url) as client:
        yield client


MESSAGES: Any = [{"role": "user", "content": "Why?"}]
#: `openai` fills in what a chunk must have; the recorded ones have no more than is read.
CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
FULL_CHAT = CHAT._replace(
    steps=[({**CHUNK, **m} if isinstance(m, dict) else m, events) for m, events in CHAT.steps]
)


def test_openai_chat_chunks() -> None:
    with openai_client(FULL_CHAT) as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert collected(stream) == (CHAT.events, CHAT.outcome)


def test_openai_chat_through_ones_own_generator() -> None:
    """With text of one's own before, and usage although the SDK ends at [DONE]."""

    def agent(client: openai.OpenAI) -> Iterator[Any]:
        yield "Thinking… "
        yield from client.chat.completions.create(model="m", messages=MESSAGES, stream=True)

    with openai_client(FULL_CHAT) as client:
        events, outcome = collected(agent(client))
    assert (events[0], events[1:], outcome) == (TextDelta("Thinking… "), CHAT.events, CHAT.outcome)


def test_openai_does_not_say_that_it_was_cut_but_we_do() -> None:
    with openai_client(FULL_CHAT, tail=5) as client:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        events, outcome = collected(stream)
    assert events == CHAT.events[:3]
    assert isinstance(outcome, HeadwaterError)
    assert (outcome.code, outcome.retryable) == ("truncated", True)


def test_openai_stream_helper() -> None:
    """Its own events tell the same again, and are not told twice."""
    with (
        openai_client(FULL_CHAT) as client,
        client.chat.completions.stream(model="m", messages=MESSAGES) as stream,
    ):
        events, outcome = collected(stream)
    assert events == CHAT.events
    assert outcome == CHAT.outcome


def test_openai_responses_events() -> None:
    with openai_client(RESPONSES) as client:
        stream = client.responses.create(model="m", input="Why?", stream=True)
        assert collected(stream) == (RESPONSES.events, RESPONSES.outcome)
    with openai_client(RESPONSES, tail=10) as client:
        _, outcome = collected(client.responses.create(model="m", input="Why?", stream=True))
        assert isinstance(outcome, HeadwaterError)


def test_anthropic_events() -> None:
    anthropic = importlib.import_module("anthropic")

    asked = {"model": "m", "max_tokens": 9, "messages": MESSAGES}

    def client(url: str) -> Any:
        return anthropic.Anthropic(api_key="k", base_url=url.removesuffix("/v1"))

    with served(ANTHROPIC) as url, client(url) as one:
        events, outcome = collected(one.messages.create(**asked, stream=True))
        with one.messages.stream(**asked) as helper:
            of_helper = collected(helper)[0]
    assert [type(event) for event in events] == [type(event) for event in ANTHROPIC.events]
    assert texts(events) == texts(of_helper) == texts(ANTHROPIC.events)
    assert outcome == ANTHROPIC.outcome
    with served(ANTHROPIC, 12) as url, client(url) as one:
        _, outcome = collected(one.messages.create(**asked, stream=True))
        assert isinstance(outcome, HeadwaterError)
        assert outcome.code == "truncated"


def texts(events: list[Event]) -> list[tuple[str, str]]:
    """What was said, thought and argued."""
    said: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, (TextDelta, ReasoningDelta)):
            said.append((type(event).__name__, event.text))
        elif isinstance(event, ToolCallDelta):
            said.append((event.call, event.arguments))
    return said


@both
@pytest.mark.parametrize("recorded", [CHAT, RESPONSES, ANTHROPIC], ids=lambda r: r.name)
def test_dicts_of_the_same_shapes(as_given: Callable[[Any], Any], recorded: Recorded) -> None:
    items = [message for message, _ in recorded.steps if isinstance(message, dict)]
    assert collected(as_given(items)) == (recorded.events, recorded.outcome)


def test_dicts_without_an_end_are_whole() -> None:
    """One writes them by hand; only what an SDK made is known to be cut."""
    items = [delta(content="a"), call(id="c", function={"name": "f", "arguments": "{}"})]
    assert collected(items) == (
        [TextDelta("a"), ToolCallStart("c", "f"), ToolCallDelta("c", "{}"), ToolCallEnd("c")],
        Finish("stop"),
    )


def test_several_responses_of_an_agent() -> None:
    """Each has calls of its own; what they used is summed; the last one's reason is the end's."""
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    items = [
        {"id": "1", **call(id="c1", function={"name": "f", "arguments": "{}"})},
        {"id": "1", **delta("tool_calls")},
        {"id": "1", "choices": [], "usage": usage},
        "in between",
        {"id": "2", **call(id="c2", function={"name": "g", "arguments": "{}"})},
        {"id": "2", **delta("tool_calls"), "usage": usage},
        {"id": "3", **delta(content="done")},
        {"id": "3", **delta("length"), "usage": usage},
    ]
    events, outcome = collected(items)
    assert events == [
        ToolCallStart("c1", "f"),
        ToolCallDelta("c1", "{}"),
        TextDelta("in between"),
        ToolCallEnd("c1"),
        ToolCallStart("c2", "g"),
        ToolCallDelta("c2", "{}"),
        ToolCallEnd("c2"),
        TextDelta("done"),
    ]
    assert outcome == Finish("length", Usage(9, 6, cached_tokens=3))


def test_an_error_among_them_ends_it() -> None:
    items = [delta(content="a"), {"error": {"message": "boom", "code": 429}, "choices": []}, "more"]
    events, outcome = collected(items)
    assert events == [TextDelta("a")]
    assert isinstance(outcome, HeadwaterError)
    assert outcome.code == "rate_limited"


class Object:
    """An SDK's object that is no pydantic model."""

    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)


def test_objects_with_members_alone() -> None:
    chunk = Object(choices=[Object(index=0, delta=Object(content="a"), finish_reason="stop")])
    assert collected([Object(data=chunk)]) == ([TextDelta("a")], Finish("stop"))


# LangChain


def ai(content: Any = "", **members: Any) -> Any:
    messages = importlib.import_module("langchain_core.messages")
    return messages.AIMessageChunk(content=content, id="run-1", **members)


def test_langchain_chunks() -> None:
    usage = {
        "input_tokens": 3,
        "output_tokens": 1,
        "total_tokens": 4,
        "output_token_details": {"reasoning": 1},
    }
    items = [
        ai("", additional_kwargs={"reasoning_content": "hm"}),
        ai([{"type": "thinking", "thinking": "ha", "index": 0}]),
        ai([{"type": "thinking", "signature": "EqQ", "index": 0}]),
        ai([{"type": "text", "text": "Der ", "index": 1}]),
        ai("Himmel"),
        ai("", tool_call_chunks=[{"name": "weather", "args": '{"a', "id": "c1", "index": 2, "type": "tool_call_chunk"}]),
        ai("", tool_call_chunks=[{"name": None, "args": '": 1}', "id": None, "index": 2, "type": "tool_call_chunk"}]),
        ai("", usage_metadata=usage, response_metadata={"finish_reason": "tool_calls"}),
        ai("", usage_metadata={"input_tokens": 0, "output_tokens": 4, "total_tokens": 4}),
    ]  # fmt: skip
    expected: list[Event] = [
        ReasoningDelta("hm"),
        ReasoningDelta("ha"),
        ProviderData("anthropic", "signature", "EqQ"),
        TextDelta("Der "),
        TextDelta("Himmel"),
        ToolCallStart("c1", "weather"),
        ToolCallDelta("c1", '{"a'),
        ToolCallDelta("c1", '": 1}'),
        ToolCallEnd("c1"),
    ]
    finish = Finish("tool-calls", Usage(3, 5, reasoning_tokens=1))
    assert collected(items) == (expected, finish)
    assert collected(later([(item, {"langgraph_node": "agent"}) for item in items])) == (
        expected,
        finish,
    )
    wrapped = [{"event": "on_chat_model_stream", "data": {"chunk": item}} for item in items]
    assert collected([{"event": "on_chain_start", "data": {}}, *wrapped]) == (expected, finish)


def test_langchain_whole_messages() -> None:
    """An agent's steps: a message with calls, what the tools said, what nobody is to be told."""
    messages = importlib.import_module("langchain_core.messages")
    called = {"name": "weather", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    items = [
        messages.HumanMessage("Weather?"),
        messages.AIMessage(content="", tool_calls=[called], id="m1"),
        messages.ToolMessage(content="9 °C", tool_call_id="c1"),
        messages.AIMessageChunk(content="Nine.", id="m2"),
        messages.AIMessage(content="Nine.", id="m2"),
    ]
    assert collected(items) == (
        [
            ToolCallStart("c1", "weather"),
            ToolCallDelta("c1", '{"a": 1}'),
            ToolCallEnd("c1"),
            ToolResult("c1", "9 °C"),
            TextDelta("Nine."),
        ],
        Finish("stop"),
    )


def test_langchain_models_own_stream() -> None:
    fakes = importlib.import_module("langchain_core.language_models.fake_chat_models")
    messages = importlib.import_module("langchain_core.messages")
    model = fakes.GenericFakeChatModel(
        messages=iter([messages.AIMessage(content="Der Himmel ist")])
    )
    events, outcome = collected(model.astream("Why?"))
    assert (
        "".join(event.text for event in events if isinstance(event, TextDelta)) == "Der Himmel ist"
    )
    assert outcome == Finish("stop")


#: What an agent's model is asked twice: it calls a tool, then tells what that has said. LangChain
#: keeps its client for ever, so that the connections have to end by themselves.
ROUNDS = [
    Answer(
        [
            chunk({"content": "Let me see. "}),
            testing.event(
                call(id="c1", type="function", function={"name": "weather", "arguments": ""})
            ),
            testing.event(call(function={"arguments": '{"city": '})),
            testing.event(call(function={"arguments": '"Zürich"}'})),
            chunk({}, "tool_calls"),
            DONE,
        ],
        keep_alive=False,
    ),
    replace(chat(["It ", "is 9."]), keep_alive=False),
]


@pytest.mark.parametrize("way", ["messages", "events"])
def test_langchain_agents_own_run(way: str) -> None:
    """A real agent with a real tool: the call, whole before its result, and the text around it."""
    agents = importlib.import_module("langchain.agents")
    models = importlib.import_module("langchain_openai")
    rounds = iter(ROUNDS)

    def weather(city: str) -> str:
        """Degrees in a city."""
        return f"9 in {city}"

    with FaultyUpstream(lambda _: next(rounds)) as upstream:
        model = models.ChatOpenAI(model="m", base_url=upstream.url, api_key="k")
        agent = agents.create_agent(model, [weather])
        asked = {"messages": [("user", "Weather?")]}
        if way == "messages":
            items = agent.astream(asked, stream_mode="messages")
        else:
            items = agent.astream_events(asked, version="v2")
        assert collected(items) == (
            [
                TextDelta("Let me see. "),
                ToolCallStart("c1", "weather"),
                ToolCallDelta("c1", '{"city": '),
                ToolCallDelta("c1", '"Zürich"}'),
                ToolCallEnd("c1"),
                ToolResult("c1", "9 in Zürich"),
                TextDelta("It "),
                TextDelta("is 9."),
            ],
            Finish("stop"),
        )


# pydantic-ai


def test_pydantic_ai_events() -> None:
    m = importlib.import_module("pydantic_ai.messages")
    items = [
        m.PartStartEvent(index=0, part=m.ThinkingPart(content="h")),
        m.PartDeltaEvent(index=0, delta=m.ThinkingPartDelta(content_delta="m")),
        m.PartDeltaEvent(
            index=0,
            delta=m.ThinkingPartDelta(signature_delta="EqQ", provider_name="anthropic"),
        ),
        m.PartStartEvent(index=1, part=m.TextPart(content="Der ")),
        m.PartDeltaEvent(index=1, delta=m.TextPartDelta(content_delta="Himmel")),
        m.PartStartEvent(index=2, part=m.ToolCallPart("weather", '{"a', tool_call_id="c1")),
        m.PartDeltaEvent(index=2, delta=m.ToolCallPartDelta(args_delta='": 1}')),
        m.PartEndEvent(index=2, part=m.ToolCallPart("weather", '{"a": 1}', tool_call_id="c1")),
        m.FunctionToolResultEvent(m.ToolReturnPart("weather", {"c": 9}, tool_call_id="c1")),
    ]
    assert collected(items) == (
        [
            ReasoningDelta("h"),
            ReasoningDelta("m"),
            ProviderData("anthropic", "signature", "EqQ"),
            TextDelta("Der "),
            TextDelta("Himmel"),
            ToolCallStart("c1", "weather"),
            ToolCallDelta("c1", '{"a'),
            ToolCallDelta("c1", '": 1}'),
            ToolCallEnd("c1"),
            ToolResult("c1", {"c": 9}),
        ],
        Finish("stop"),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pydantic_ai_agents_own_run() -> None:
    """A tool that runs, then the answer: calls, results, text and usage of a real agent."""
    pydantic_ai = importlib.import_module("pydantic_ai")
    models = importlib.import_module("pydantic_ai.models.test")
    agent = pydantic_ai.Agent(models.TestModel())

    @agent.tool_plain  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        return f"9 in {city}"

    events, outcome = collected(agent.run_stream_events("Weather?"))
    names = [type(event).__name__ for event in events]
    assert names.index("ToolCallStart") < names.index("ToolCallEnd") < names.index("ToolResult")
    assert "TextDelta" in names
    assert isinstance(outcome, Finish)
    assert outcome.usage is not None
    assert outcome.usage.input_tokens > 0


def test_a_context_manager_is_left_whoever_ends_it() -> None:
    """Its value is what yields: at the end, when it fails, and when nobody wants the rest."""
    left: list[str] = []

    @contextlib.contextmanager
    def manager(items: Iterable[Any]) -> Iterator[Iterable[Any]]:
        try:
            yield items
        finally:
            left.append("sync")

    @contextlib.asynccontextmanager
    async def async_manager(items: Iterable[Any]) -> AsyncIterator[AsyncIterator[Any]]:
        try:
            yield later(items)
        finally:
            left.append("async")

    for make in (manager, async_manager):
        assert collected(make(["a"])) == ([TextDelta("a")], Finish("stop"))
        assert isinstance(collected(make([7]))[1], HeadwaterError)

    async def scenario() -> None:
        for make in (manager, async_manager):
            source = iterator_source(make(itertools.repeat("x")))
            source.start(Collected())
            await asyncio.sleep(0.01)
            source.cancel()
        await eventually_async(lambda: len(left) == 6)

    asyncio.run(scenario())
    assert sorted(left) == ["async"] * 3 + ["sync"] * 3


def test_a_generator_that_is_not_read_to_its_end_is_closed() -> None:
    closed = threading.Event()

    def agent() -> Iterator[Any]:
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    async def scenario() -> None:
        receiver = Collected()
        source = iterator_source(agent())
        source.start(receiver)
        await asyncio.sleep(0.05)
        source.cancel()

    asyncio.run(scenario())
    assert closed.wait(10)


@pytest.mark.parametrize("end", ["nobody wants the rest", "it is refused"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_sdks_stream_that_is_not_read_to_its_end_is_hung_up(
    end: str, asynchronous: bool
) -> None:
    """Closing its iterator does not close it: the provider would go on for nobody."""
    message = {**CHUNK, **delta(content="a")} if end == "nobody wants the rest" else {"x": 1}
    frame = b"data: " + json.dumps(message).encode() + b"\n\n"

    async def scenario(upstream: FaultyUpstream) -> None:
        asked: Any = {"model": "m", "messages": MESSAGES, "stream": True}
        own: Any = {"api_key": "k", "base_url": upstream.url}
        if asynchronous:
            stream: Any = await openai.AsyncOpenAI(**own).chat.completions.create(**asked)
        else:
            stream = openai.OpenAI(**own).chat.completions.create(**asked)
        receiver = Collected()
        source = iterator_source(stream)
        source.start(receiver)
        await eventually_async(lambda: receiver.all or receiver.outcome is not None)
        source.cancel()
        await asyncio.to_thread(upstream.wait, lambda: upstream.posts[0].hung_up_at is not None, 10)
        assert upstream.posts[0].hung_up_at is not None

    with FaultyUpstream(Answer([frame, 0.02] * 1000)) as upstream:
        asyncio.run(scenario(upstream))
