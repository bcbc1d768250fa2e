"""No request and no answer makes work or memory that grows faster than its own size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headwater import events as ev
from headwater import wires
from headwater.errors import RequestError
from headwater.generation import GenerationRequest
from headwater.json_text import JsonBounds, read_json
from headwater.providers.conversation import turns
from headwater.providers.forwarding import Forwarding
from headwater.providers.gemini_request import content_body
from headwater.requests.limits import Limits
from headwater.settings import KeyLimits
from headwater.testing import DONE, Answer, chunk
from headwater.wires.agui import RunFold
from headwater.wires.base import Fold, dump
from headwater.wires.openai_responses_items import Items
from tests.helpers.hub import BucketSink, begin, make_hub
from tests.helpers.polling import eventually_async
from tests.server.serving import ask, frames
from tests.server.wires import PATHS, body_of, is_end, outcome, text_of
from tests.server.world import World, world
from tests.wires.logs import ended, snapshot
from tests.wires.logs import frames as frames_of

pytestmark = pytest.mark.system
every_wire = pytest.mark.parametrize("wire", wires.names())


class Counted(str):
    """Counts what is done with a text."""

    compared = measured = formatted = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__

    def __len__(self) -> int:
        Counted.measured += 1
        return super().__len__()

    def __format__(self, spec: str) -> str:
        Counted.formatted += 1
        return super().__format__(spec)


@pytest.fixture(autouse=True)
def from_zero() -> None:
    Counted.compared = Counted.measured = Counted.formatted = 0


# frames of a log


def _signatures(count: int) -> Iterator[ev.Event]:
    yield ev.ReasoningDelta("Hm.")
    for number in range(count):
        yield ev.ProviderData("anthropic", "signature", f"{number:08}")


def _citations(count: int) -> Iterator[ev.Event]:
    for number in range(count):
        yield ev.TextDelta("So. ")
        yield ev.ProviderData("anthropic", "citation", {"cited_text": f"{number:08}"})
        yield ev.Citation("https://a.example/", None)


def _signed_calls(count: int) -> Iterator[ev.Event]:
    for number in range(count):
        yield ev.ToolCallStart(f"call_{number:08}", "look_up")
        yield ev.ProviderData("gemini", "thought_signature", f"{number:08}")


def _answered_calls(count: int) -> Iterator[ev.Event]:
    for number in range(count):
        yield ev.ToolCallStart(f"call_{number:08}", "look_up")
        yield ev.ToolCallDelta(f"call_{number:08}", '{"a":[]}')
        yield ev.ToolResult(f"call_{number:08}", "Blue.")
        yield ev.ReasoningDelta("Hm.")
        yield ev.ProviderData("openai", "reasoning", {"id": f"rs_{number:08}"})


@every_wire
@pytest.mark.parametrize("log", [_signatures, _citations, _signed_calls, _answered_calls])
def test_a_log_twice_as_long_makes_frames_twice_as_long(
    wire: str, log: Callable[[int], Iterator[ev.Event]]
) -> None:
    short, long = (sum(map(len, frames_of(wire, ended("stop", *log(n))))) for n in (300, 600))
    assert long < 2.2 * short


@pytest.mark.parametrize("log", [_signatures, _citations, _signed_calls, _answered_calls])
def test_the_agui_client_is_sent_all_provider_data_once(
    log: Callable[[int], Iterator[ev.Event]],
) -> None:
    events = ended("stop", *log(20))
    said = b"".join(frames_of("agui", events)).split(b"\n")
    values = [json.loads(line[6:]) for line in said if b"ENCRYPTED_VALUE" in line]
    entities = [value["entityId"] for value in values]
    assert len(entities) == len(set(entities))
    kept = [each["value"] for value in values for each in json.loads(value["encryptedValue"])]
    assert kept == [event.value for event in events if isinstance(event, ev.ProviderData)]


def test_provider_data_is_sent_before_a_run_is_cancelled_or_fails() -> None:
    failure = ev.StreamError("upstream_timeout", "No token.", True, None, None)
    for log in (
        ended("cancelled", *_signatures(2)),
        [*ended("stop", *_signatures(2))[:-1], failure],
    ):
        assert b"".join(frames_of("agui", log)).count(b"ENCRYPTED_VALUE") == 1


def test_a_call_is_found_among_open_ones_without_comparing_all() -> None:
    fold = RunFold()
    calls = [Counted(f"call_{number}") for number in range(1000)]
    for call in calls:
        fold._tool(ev.ToolCallStart(call, "look_up"))
    for call in reversed(calls):
        fold._tool(ev.ToolCallEnd(Counted(call)))
    assert Counted.compared < 10 * len(calls)


def test_a_citation_measures_only_the_text_since_the_last() -> None:
    items = Items("s")
    for number in range(1000):
        items.say("output_text", Counted("So. "))
        [*_, (_, cited)] = items.cite("https://a.example/", None)
        assert cited["annotation"]["start_index"] == 4 * (number + 1)
    assert Counted.measured < 10 * 1000


# places within a request


def test_no_path_is_built_for_a_member_that_is_not_refused() -> None:
    inner = {Counted(f"m{number}"): {"a": [1]} for number in range(1000)}
    options = {"x" * 100_000: inner}
    limits = Limits(lambda principal: KeyLimits(max_output_tokens=100))
    limits.capped(None, GenerationRequest(messages=[], options=options))
    Forwarding([], ["*"]).check(options, "a")
    assert Counted.formatted == 0


def test_a_member_that_is_refused_is_named() -> None:
    limits = Limits(lambda principal: KeyLimits(max_output_tokens=100))
    for options, path in (
        ({"extra": [{"n_predict": 101}]}, "extra[0].n_predict"),
        ({"x" * 100_000: {"n_predict": 101}}, "x" * 100),
    ):
        with pytest.raises(RequestError) as refused:
            limits.capped(None, GenerationRequest(messages=[], options=options))
        assert refused.value.param == path


def test_a_tool_is_compared_with_no_other() -> None:
    class Tool(dict[str, Any]):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Tool.compared += 1
            return super().__eq__(other)

        __hash__ = None

    function = {"name": "look_up", "parameters": {}}
    tools = [Tool(type="function", function=function) for _ in range(200)]
    tools += [Tool(googleSearch={}) for _ in range(200)]
    body = content_body(GenerationRequest(messages=[], options={"tools": tools}))
    assert len(body["tools"]) == 201
    assert Tool.compared == 0


# what a model wrote


@every_wire
@pytest.mark.parametrize("depth", [127, 129, 2000, 100_000])
def test_arguments_of_any_depth_are_readable(wire: str, depth: int) -> None:
    arguments = "[" * depth + "]" * depth
    called: list[ev.Event] = [
        ev.ToolCallStart("c", "f"),
        ev.ToolCallDelta("c", arguments),
        ev.ToolCallEnd("c"),
    ]
    log = ended("tool-calls", *called)
    assert b"".join(frames_of(wire, log))
    answer = dump(wires.get(wire).format().whole(snapshot(log)))
    assert arguments.encode() in answer


# JSON within strings

BOMBS = {
    "lists": '{"a":[' + "[]," * 300_000 + "1]}",
    "numbers": '{"a":[' + "1," * 700_000 + "1]}",
    "names": "{" + ",".join(f'"{number}":1' for number in range(200_000)) + "}",
    "depth": '{"a":' + "[" * 200 + "]" * 200 + "}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_json_within_a_string_has_the_bounds_of_a_body(bomb: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": BOMBS[bomb]}}
    with pytest.raises(RequestError) as refused:
        turns([{"role": "assistant", "tool_calls": [call]}], "An API", "vendor")
    assert (refused.value.status, refused.value.param) == (
        400,
        "messages[0].tool_calls[0].function.arguments",
    )


def test_strings_share_the_bounds() -> None:
    bounds = JsonBounds()
    text = "[" + "[]," * 40_000 + "1]"
    read_json(text, bounds)
    read_json(text, bounds)
    with pytest.raises(RequestError):
        read_json(text, bounds)


def test_a_result_beyond_the_bounds_goes_to_gemini_as_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
    for result in ('{"b":1}', BOMBS["lists"]):
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": result})
    contents = content_body(GenerationRequest(messages=messages, options={}))["contents"]
    sent = [
        part["functionResponse"]["response"]
        for c in contents
        for part in c["parts"]
        if "functionResponse" in part
    ]
    assert bytes(sent[0]) == b'{"b":1}'
    assert sent[1] == {"result": BOMBS["lists"]}


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("bounded")) as w:
        yield w


@pytest.mark.parametrize("wire", ["ui", "anthropic"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_deep_tool_call_reaches_its_client(w: World, wire: str, stream: bool) -> None:
    arguments = "[" * 2000 + "]" * 2000
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    prompt = w.plan(Answer([chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE]))
    answer = ask(w.port, PATHS[wire], body_of(wire, prompt, stream=stream))
    assert answer.status == 200
    assert arguments.encode() in answer.body
    if stream:
        assert outcome(wire, answer.body) == is_end(wire, "tool-calls")


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_encrypted_value_has_the_bounds_of_a_body(w: World, bomb: str) -> None:
    thought = {"id": "1", "role": "reasoning", "content": "", "encryptedValue": BOMBS[bomb]}
    body = body_of("agui", "?")
    body["messages"].append(thought)
    before = list(w.upstream.posts)
    answer = ask(w.port, PATHS["agui"], body)
    assert answer.status == 400
    assert answer.error["param"] == "messages[1].encryptedValue"
    assert w.upstream.posts == before


# what an answer repeats


def test_a_response_repeats_only_short_members() -> None:
    short = {"instructions": "Be brief.", "metadata": {"k": "v" * 512}, "temperature": 0.5}
    tool = {"type": "function", "name": "f", "parameters": {"description": "x" * 100_000}}
    wire = wires.get("responses")
    kept = wire.options(body_of("responses", "?", **short))
    assert json.loads(kept.echo) == short
    kept = wire.options(body_of("responses", "?", instructions="y" * 1_000_000, tools=[tool] * 9))
    assert json.loads(kept.echo) == {}


def test_a_reader_is_not_sent_long_instructions(w: World) -> None:
    prompt = w.plan(Answer([chunk({"content": "Blue."}), chunk({}, "stop"), DONE]))
    body = body_of("responses", prompt, instructions="y" * 1_000_000)
    answer = ask(w.port, PATHS["responses"], body)
    assert text_of("responses", answer.body) == "Blue."
    assert len(answer.body) < 20_000
    assert frames(answer.body)
    assert b'"instructions":null' in answer.body
    assert b"y" * 1_000_000 in w.asked(prompt).body


# readers of one stream


def test_a_thousand_readers_that_leave_the_edge_at_once_share_one_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = 0
    copy = Fold.copy

    def counted(fold: Fold) -> Fold:
        nonlocal copies
        copies += 1
        return copy(fold)

    monkeypatch.setattr(Fold, "copy", counted)

    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        sinks = [BucketSink(2 if number % 2 else 1 << 30) for number in range(1000)]
        for sink in sinks:
            hub.read(stream.id, wires.get("responses").format(), sink)
        source.say(ev.TextDelta("Blue"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert copies <= 2  # half of the readers are full, and have left
        source.say(ev.TextDelta("."))
        for sink in sinks:
            sink.empty(1 << 30)
        await eventually_async(lambda: all(b'"."' in sink.data for sink in sinks))
        before = copies
        source.end()
        await eventually_async(lambda: all(sink.closed for sink in sinks))
        assert copies == before  # at the end they leave for good
        assert len({sink.data for sink in sinks}) == 1

    asyncio.run(run())
