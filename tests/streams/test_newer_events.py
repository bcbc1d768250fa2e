"""A log that a newer version has written, read by this one."""

from __future__ import annotations

import asyncio

import pytest

from headwater import wires
from headwater.events import StreamEnd, StreamStart, TextDelta, Timing, encode
from headwater.events.position import START, Position
from headwater.stores.base import Record
from tests.helpers.hub import make_hub, read_all

NEWER = b'{"type":"thought-summary","text":"later","nested":{"a":[1]}}'
EVENTS = [
    encode(StreamStart("s", "m", 1)),
    encode(TextDelta("Hi")),
    NEWER,
    encode(TextDelta(" there")),
    encode(StreamEnd("stop", None, Timing(0, None, None, 1, 0, 1))),
]


@pytest.mark.parametrize("wire", wires.names())
def test_fault_51_a_log_of_a_newer_version_is_read(wire: str) -> None:
    async def run() -> None:
        hub = make_hub()
        await hub.store.create(Record("s", "me", "m", 1))
        hub.store.append("s", START, Position(1, 3), b"\n".join(EVENTS[:3]), False, lambda _: None)
        hub.store.append(
            "s", Position(1, 3), Position(1, 5), b"\n".join(EVENTS[3:]), True, lambda _: None
        )
        whole = await read_all(hub, "s", wires.get(wire))
        assert b"Hi" in whole
        assert b" there" in whole
        # Told as it is where events are told as they are; elsewhere its place is silent.
        assert (NEWER in whole) == (wire == "native")
        # Positions count it all the same.
        mark = whole.index(b" there")
        assert whole.rindex(b"id: 1-4", 0, mark) < mark
        rest = await read_all(hub, "s", wires.get(wire), after=Position(1, 2))
        assert whole.endswith(rest)
        assert (await hub.snapshot(Record("s", "me", "m", 1))).text == "Hi there"

    asyncio.run(run())
