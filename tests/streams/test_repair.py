"""An answer that breaks off goes on: what is repaired, what is not, and what readers and bills see."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import wires
from headwater.errors import HeadwaterError, UpstreamError
from headwater.events import (
    Data,
    Event,
    ReasoningDelta,
    RefusalDelta,
    StreamEnd,
    StreamError,
    StreamRepair,
    TextDelta,
    ToolCallStart,
    Usage,
)
from headwater.generation import GenerationRequest, PartialText
from headwater.providers.base import Finish
from headwater.routing.recovery import Recovery
from headwater.routing.router import Router
from headwater.routing.source import UnstartedAttempt
from headwater.settings import Settings, TimeoutSettings
from headwater.streams import Hub, LocalStream
from headwater.streams.generation import Generation, StreamOptions
from headwater.streams.recovery import MAX_REPAIRS
from tests.helpers.clock import run
from tests.helpers.hub import BucketSink, ScriptedSource, make_hub, read_all
from tests.helpers.polling import eventually_async

LIMITS = TimeoutSettings(first_token_s=10, idle_s=20, comments_s=50, total_s=95)
CUT = UpstreamError("truncated", "a broke off.")
ASKED = GenerationRequest(messages=[{"role": "user", "content": "Why?"}])


class Routed:
    """A stream of a route whose entries are played by the test: `a`, and `b`, which continues."""

    def __init__(self, request: GenerationRequest = ASKED, *, continues: bool = True) -> None:
        self.hub: Hub = make_hub(Settings(timeouts=LIMITS))
        self.router = Router(LIMITS, jitter=lambda: 0.5)
        self.first, self.sources = ScriptedSource(), list[ScriptedSource]()
        self.said: list[PartialText] = []
        self.request = request
        self.continues = continues
        self.stream: LocalStream

    async def begin(self) -> Routed:
        candidates = [
            UnstartedAttempt("a", lambda: self.first),
            UnstartedAttempt("b", ScriptedSource),
        ]
        source = self.router.source(candidates, "m")
        go_on = self._going_on if self.continues else None
        self.stream = await self.hub.start(
            Generation(
                source,
                "m",
                recovery=Recovery(self.router, "m", "a", self.request, go_on),
                timed="once begun",
            ),
            StreamOptions(principal="me", on_disconnect="continue"),
        )
        return self

    def _going_on(self, said: PartialText) -> Sequence[UnstartedAttempt]:
        self.said.append(said)

        def make() -> ScriptedSource:
            self.sources.append(ScriptedSource())
            return self.sources[-1]

        return [UnstartedAttempt("b", make)]

    async def asked_again(self, times: int = 1) -> ScriptedSource:
        await eventually_async(
            lambda: len(self.sources) == times and self.sources[-1].receiver is not None
        )
        return self.sources[-1]

    async def ended(self) -> list[Event]:
        await eventually_async(lambda: self.stream.feed.ended)
        return [event async for event in self.stream.events()]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_it_goes_on_behind_one_seam_and_both_parts_are_counted() -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        sink = BucketSink()
        routed.hub.read(routed.stream.id, wires.get("plain").format(), sink)
        routed.first.usage = Usage(3, 2)
        routed.first.say(TextDelta("It "), TextDelta("is "))
        routed.first.end(CUT)
        second = await routed.asked_again()
        assert routed.said == [PartialText("It is ", tokens=2)]
        assert not sink.closed
        second.say(TextDelta("light"))
        second.end(Finish("stop", Usage(5, 1, cached_tokens=4)))
        _, *texts, seam, new, end = await routed.ended()
        assert text_of([*texts, new]) == "It is light"
        assert seam == StreamRepair("truncated", "b")
        assert isinstance(end, StreamEnd)
        assert end.usage == Usage(8, 3, cached_tokens=4)
        assert (end.timing.attempts, end.timing.route) == (2, "b")
        await eventually_async(lambda: sink.closed)
        assert sink.data == await read_all(routed.hub, routed.stream.id, wires.get("plain"))

    run(scenario())


@given(
    pieces=st.lists(st.text("ab🌊 ", min_size=1, max_size=3), min_size=1), cut=st.integers(0, 99)
)
@settings(max_examples=50, deadline=None)
def test_wherever_it_is_cut_nothing_is_lost_or_doubled(pieces: list[str], cut: int) -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        at = 1 + cut % len(pieces)
        for piece in pieces[:at]:
            routed.first.say(TextDelta(piece))
        routed.first.end(CUT)
        second = await routed.asked_again()
        assert routed.said[0].text == "".join(pieces[:at])
        for piece in pieces[at:]:
            second.say(TextDelta(piece))
        second.end()
        events = await routed.ended()
        assert text_of(events) == "".join(pieces)
        assert sum(isinstance(event, StreamRepair) for event in events) == 1
        assert sum(isinstance(event, StreamEnd | StreamError) for event in events) == 1
        for name, wire in ((n, wires.get(n)) for n in wires.names()):
            assert await read_all(routed.hub, routed.stream.id, wire), name

    run(scenario())


def test_thoughts_before_the_text_are_given_back() -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        routed.first.say(ReasoningDelta("Hm"), ReasoningDelta("."), TextDelta("It"))
        routed.first.end(CUT)
        (await routed.asked_again()).end()
        assert routed.said == [PartialText("It", "Hm.", 3)]
        assert isinstance((await routed.ended())[-1], StreamEnd)

    run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([TextDelta("I"), ToolCallStart("c", "f")], id="inside a tool call"),
        pytest.param([ReasoningDelta("Hm")], id="inside a thought"),
        pytest.param([RefusalDelta("I cannot")], id="a refusal"),
        pytest.param([TextDelta("I"), Data("n", 1)], id="what is no text"),
    ],
)
def test_where_there_is_no_text_to_go_on_from_it_ends(said: list[Event]) -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        routed.first.say(*said)
        routed.first.end(CUT)
        _, *events, end = await routed.ended()
        assert events == said
        assert isinstance(end, StreamError)
        assert (end.code, end.message, end.retryable) == ("truncated", CUT.message, True)
        assert routed.sources == []

    run(scenario())


@pytest.mark.parametrize(
    "error",
    [
        HeadwaterError("too_large", "no"),
        HeadwaterError("internal", "no"),
        UpstreamError("upstream_error", "no", retryable=False),
    ],
    ids=lambda error: f"{error.code}, {error.retryable}",
)
def test_what_will_not_pass_is_told_at_once(error: HeadwaterError) -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        routed.first.say(TextDelta("It"))
        routed.first.end(error)
        end = (await routed.ended())[-1]
        assert isinstance(end, StreamError)
        assert end.code == error.code
        assert routed.said == []

    run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"options": {"response_format": {"type": "json_object"}}}, id="a form"),
        pytest.param({"options": {"guided_json": {}}}, id="a grammar"),
        pytest.param({"messages": [{"role": "assistant", "content": "It"}]}, id="a prefill"),
    ],
)
def test_requests_whose_answers_cannot_go_on(request_: dict[str, Any]) -> None:
    async def scenario() -> None:
        request = GenerationRequest(**{"messages": ASKED.messages, **request_})
        routed = await Routed(request).begin()
        routed.first.say(TextDelta("It"))
        routed.first.end(CUT)
        assert isinstance((await routed.ended())[-1], StreamError)

    run(scenario())


def test_without_an_entry_that_continues_nothing_is_asked_again() -> None:
    async def scenario() -> None:
        routed = await Routed(continues=False).begin()
        routed.first.say(TextDelta("It"))
        routed.first.end(CUT)
        assert routed.stream.feed.ended
        assert isinstance((await routed.ended())[-1], StreamError)

    run(scenario())


def test_what_breaks_again_and_again_ends() -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        source = routed.first
        for turn in range(MAX_REPAIRS):
            source.say(TextDelta(f"{turn}"))
            source.end(CUT)
            source = await routed.asked_again(turn + 1)
        source.say(TextDelta("x"))
        source.end(UpstreamError("upstream_error", "b failed."))
        events = await routed.ended()
        assert sum(isinstance(event, StreamRepair) for event in events) == MAX_REPAIRS
        end = events[-1]
        assert isinstance(end, StreamError)
        assert (end.code, end.timing and end.timing.attempts) == ("upstream_error", 3)

    run(scenario())


def test_when_nobody_can_go_on_the_first_failure_is_told() -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        routed.first.say(TextDelta("It"))
        routed.first.end(CUT)
        (await routed.asked_again()).end(UpstreamError("upstream_error", "no", retryable=False))
        events = await routed.ended()
        assert not any(isinstance(event, StreamRepair) for event in events)
        end = events[-1]
        assert isinstance(end, StreamError)
        assert (end.code, end.message) == ("truncated", CUT.message)

    run(scenario())


@pytest.mark.parametrize("when", ["while the log is read", "before its first token", "after it"])
def test_a_stop_is_the_end_at_any_moment(when: str) -> None:
    async def scenario() -> None:
        routed = await Routed().begin()
        routed.first.say(TextDelta("It"))
        routed.first.end(CUT)
        if when != "while the log is read":
            second = await routed.asked_again()
            if when == "after it":
                second.say(TextDelta(" is"))
        routed.stream.producer.stop()
        end = (await routed.ended())[-1]
        assert isinstance(end, StreamEnd)
        assert end.reason == "cancelled"
        await asyncio.sleep(1)
        assert all(source.cancelled for source in routed.sources)

    run(scenario())


def test_silence_is_repaired_and_the_time_for_all_of_it_runs_on() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        routed = await Routed().begin()
        routed.first.say(TextDelta("It"))
        while not routed.sources:
            await asyncio.sleep(1)
        assert loop.time() == pytest.approx(LIMITS.idle_s, abs=2)
        second = await routed.asked_again()
        assert routed.first.cancelled
        second.say(TextDelta(" is"))
        while not routed.stream.feed.ended:
            second.say(TextDelta("."))
            await asyncio.sleep(5)
        assert loop.time() == pytest.approx(LIMITS.total_s, abs=6)
        events = await routed.ended()
        assert [e.reason for e in events if isinstance(e, StreamRepair)] == ["upstream_timeout"]
        end = events[-1]
        assert isinstance(end, StreamError)
        assert (end.code, "in all" in end.message) == ("upstream_timeout", True)
        assert len(routed.sources) == 1

    run(scenario())


def test_who_breaks_off_again_and_again_is_asked_last() -> None:
    async def scenario() -> None:
        router = Router(LIMITS, jitter=lambda: 0.5)
        a, b = (UnstartedAttempt(name, ScriptedSource) for name in "ab")
        router.source([a, b], "m")
        for _ in range(5):
            assert router._ordered([a, b])[0] == [a, b]
            router._breakers["a"].answered()
            router.ended("a", CUT)
        assert router._ordered([a, b])[0] == [b, a]
        router.ended("a", None)
        assert router._ordered([a, b])[0] == [a, b]

    run(scenario())
