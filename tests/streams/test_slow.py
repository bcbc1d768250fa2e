"""The slow-reader policy: the deadline's table, and what a cut does to a reader and its stream."""

from __future__ import annotations

import asyncio

import pytest

from headwater.events import TextDelta
from headwater.observe import Observer
from headwater.observe.instruments import LEFT, READERS, Instrument
from headwater.settings import LimitSettings, Settings
from headwater.stores.memory import MemoryStore
from headwater.streams import Hub
from headwater.streams.slow import WriteDeadline
from headwater.wires import native
from tests.helpers.hub import BucketSink, begin, read_all
from tests.helpers.polling import eventually_async


class Connection:
    def __init__(self) -> None:
        self.count: int | None = None

    def taken(self) -> int | None:
        return self.count


@pytest.mark.parametrize(
    ("looks", "cut_at"),
    [
        ([(0, None), (100, None), (1000, None)], None),  # nothing to take
        ([(0, 5), (5, 5), (9.9, 5), (10, 5)], 10),
        ([(0, 5), (9, 6), (18, 7), (27, 8)], None),  # slow, but steady
        ([(0, 5), (9, 6), (18, 6), (19, 6)], 19),  # the time starts at the last byte
        ([(0, 5), (9, None), (18, 5), (27, 5)], None),  # everything was taken in between
        ([(0, 5), (9, 4), (18, 4)], None),  # any other number is progress
        ([(50, 0), (60, 0)], 60),  # a connection that has never taken anything
    ],
)
def test_the_time_without_progress(
    looks: list[tuple[float, int | None]], cut_at: float | None
) -> None:
    connection = Connection()
    deadline = WriteDeadline(connection, 10.0, 0.0)
    cuts = []
    for now, connection.count in looks:
        wait = deadline.look(now)
        assert deadline.idle == (connection.count is None)
        if wait is None:
            cuts.append(now)
        else:
            assert 0 < wait <= 5.0
    assert cuts == ([] if cut_at is None else [cut_at])


class Meter:
    """Counts readers, and why they left."""

    def __init__(self) -> None:
        self.readers = 0.0
        self.left: list[str] = []

    def add(self, instrument: Instrument, value: float, labels: tuple[str, ...] = ()) -> None:
        if instrument is READERS:
            self.readers += value
        if instrument is LEFT:
            self.left += labels


def test_a_cut_reader_no_longer_counts_and_may_resume() -> None:
    asyncio.run(_cut_and_resume())


async def _cut_and_resume() -> None:
    meter = Meter()
    settings = Settings(limits=LimitSettings(write_timeout_s=0.05))
    hub = Hub(settings, MemoryStore(), observer=Observer([meter]))
    stream, source = await begin(hub, on_disconnect="cancel")
    sink = BucketSink()
    hub.read(stream.id, native.WIRE.format(), sink)
    source.say(TextDelta("a"))
    assert meter.readers == 1
    sink.stuck = 7
    await eventually_async(lambda: sink.aborted)
    assert (meter.readers, meter.left) == (0, ["slow"])
    await eventually_async(lambda: source.cancelled)
    assert (await read_all(hub, stream.id, native.WIRE)).startswith(sink.data)
