"""A reader is a cursor: however slowly it reads, and in which wire, its bytes are the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from headwater import wires
from headwater.events import (
    Citation,
    Data,
    Event,
    File,
    ProviderData,
    ReasoningDelta,
    RefusalDelta,
    StepEnd,
    StepStart,
    StreamRepair,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    ToolResult,
)
from headwater.events.position import START, Position
from tests.helpers.hub import (
    BucketSink,
    after,
    begin,
    make_hub,
    positions,
    read_all,
)
from tests.helpers.polling import eventually_async

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
calls = st.sampled_from(["call_a", "call_b"])
values = st.one_of(st.none(), texts, st.just({"a": [1, None]}))
#: Every kind that a source can say, in any order: also in those that no provider would send.
events = st.one_of(
    texts.map(TextDelta),
    texts.map(ReasoningDelta),
    texts.map(RefusalDelta),
    calls.map(lambda call: ToolCallStart(call, "look_up")),
    st.builds(ToolCallDelta, calls, texts),
    calls.map(ToolCallEnd),
    st.builds(ToolResult, calls, values),
    st.builds(Citation, st.just("https://a.example/"), st.one_of(st.none(), texts)),
    st.just(File("image/png", "data:image/png;base64,AA==")),
    st.just(StepStart()),
    st.just(StepEnd()),
    st.builds(Data, st.just("weather"), values, st.sampled_from([UNSET, True, False])),
    st.sampled_from(
        [
            ProviderData("anthropic", "signature", "c2ln"),
            ProviderData("anthropic", "redacted_thinking", "c2VjcmV0"),
            ProviderData("anthropic", "citation", {"type": "char_location"}),
            ProviderData("openai", "reasoning", {"id": "rs_1", "encrypted_content": "ZW5j"}),
            ProviderData("openai", "reasoning", "ZW5j"),
            ProviderData("gemini", "thought_signature", "c2ln"),
        ]
    ),
    st.just(StreamRepair("truncated", "a/b")),
)


#: What a generation and its readers do, in turn: what a read brings, or which reader has room.
steps = st.lists(
    st.one_of(
        st.lists(events, min_size=1, max_size=3),
        st.integers(0, 3),  # this reader takes what it was given
        st.just("join"),
        st.just("turn"),
    ),
    max_size=25,
)
every_wire = pytest.mark.parametrize(
    "wire", [wires.get(name) for name in wires.names()], ids=wires.names()
)


@every_wire
@given(steps=steps, rooms=st.lists(st.integers(1, 3), min_size=1, max_size=6), data=st.data())
def test_every_reader_gets_the_same_bytes(
    wire: Any, steps: list[Any], rooms: list[int], data: st.DataObject
) -> None:
    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        sinks: list[BucketSink] = []

        def join() -> None:
            sinks.append(BucketSink(rooms[len(sinks) % len(rooms)]))
            hub.read(stream.id, wire.format(), sinks[-1])

        join()
        for step in steps:
            match step:
                case list():
                    source.say(*step)
                case int() if step < len(sinks):
                    sinks[step].empty(rooms[step % len(rooms)])
                case "join":
                    join()
                case "turn":
                    await asyncio.sleep(0)
        source.end()
        for sink in sinks:
            while not sink.closed:
                sink.empty(1 << 30)
                await asyncio.sleep(0)
        whole = await read_all(hub, stream.id, wire)
        assert all(sink.data == whole for sink in sinks)
        # … and what follows any position of it is what the uncut response has there.
        ids = positions(whole)
        assert list(ids) == sorted(set(ids))
        known = data.draw(st.sampled_from(ids))
        if known != ids[-1]:
            assert await read_all(hub, stream.id, wire, known) == after(whole, known)

    asyncio.run(run())


@given(batches=st.lists(st.lists(events, min_size=1, max_size=4), max_size=6))
def test_a_position_of_one_wire_is_valid_in_every_other(batches: list[list[Event]]) -> None:
    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        for batch in batches:
            source.say(*batch)
        source.end()
        whole = {
            name: await read_all(hub, stream.id, wire)
            for name, wire in ((n, wires.get(n)) for n in wires.names())
        }
        native = positions(whole["native"])
        assert native == [Position(1, seq) for seq in range(1, len(native) + 1)]
        for name, wire in ((n, wires.get(n)) for n in wires.names()):
            for known in native[:-1]:
                rest = await read_all(hub, stream.id, wire, known)
                assert whole[name].endswith(rest)
                assert [p for p in positions(whole[name]) if p > known] == positions(rest)

    asyncio.run(run())


@every_wire
def test_a_reader_that_never_reads_holds_nothing_and_nobody(wire: Any) -> None:
    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        stuck, reader = BucketSink(room=1), BucketSink()
        hub.read(stream.id, wire.format(), stuck)
        hub.read(stream.id, wire.format(), reader)
        for number in range(1000):
            source.say(TextDelta(f"{number} "))
        source.end()
        await eventually_async(lambda: reader.closed)
        assert stuck.room == 0
        stuck.empty(1 << 30)
        await eventually_async(lambda: stuck.closed)
        assert stuck.data == reader.data

    asyncio.run(run())


def test_leaving_ends_what_is_written_at_once() -> None:
    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        sink = BucketSink()
        subscriber = hub.read(stream.id, wires.get("native").format(), sink)
        source.say(TextDelta("seen"))
        seen = sink.data
        subscriber.leave()
        subscriber.leave()
        source.say(TextDelta("unseen"))
        source.end()
        await asyncio.sleep(0)
        assert sink.data == seen
        assert stream.feed.readers == 0

    asyncio.run(run())


class KeepingSink(BucketSink):
    """Keeps the very objects it is given."""

    def __init__(self, kept: list[bytes]) -> None:
        super().__init__()
        self.kept = kept

    def write(self, data: bytes) -> bool:
        self.kept.append(data)
        return True


def test_frames_of_readers_in_one_wire_are_encoded_once() -> None:
    async def run() -> None:
        hub = make_hub()
        stream, source = await begin(hub)
        kept: list[bytes] = []
        for _ in range(5):
            hub.read(stream.id, wires.get("native").format(), KeepingSink(kept))
        kept.clear()
        source.say(TextDelta("once"))
        assert len(kept) == 5
        assert len({id(frames) for frames in kept}) == 1
        source.end()

    asyncio.run(run())


def test_reading_from_the_start_is_reading_after_nothing() -> None:
    assert Position(1, 1) > START
