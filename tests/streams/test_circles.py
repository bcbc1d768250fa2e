"""What ends is freed by counting: a server that waits for the collector grows until it comes."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from headwater import wires
from headwater.errors import UpstreamError
from headwater.events import TextDelta
from tests.helpers.hub import BucketSink, begin, make_hub


@pytest.mark.parametrize("how", ["end", "failure", "stop", "reader left", "never read"])
def test_a_stream_that_ended_leaves_no_circle(how: str) -> None:
    async def run() -> weakref.ref[object]:
        hub = make_hub()
        stream, source = await begin(hub, on_disconnect="cancel")
        subscriber = None
        if how != "never read":
            subscriber = hub.read(stream.id, wires.get("openai").format(), BucketSink())
        source.say(TextDelta("a"))
        match how:
            case "failure":
                source.end(UpstreamError("truncated", "cut"))
            case "stop":
                stream.producer.stop()
            case "reader left" if subscriber is not None:
                subscriber.leave()
            case _:
                source.end()
        assert stream.feed.ended
        source.receiver = None  # the test's own hold on it
        return weakref.ref(stream)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()
