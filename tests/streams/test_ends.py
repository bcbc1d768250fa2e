"""A reason for every end: in the stream's state, in the metric and in the log."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from msgspec import structs

from headwater.errors import HeadwaterError, StorageError, UpstreamError
from headwater.events import (
    EndedBy,
    Event,
    NotTried,
    ReasoningDelta,
    StreamEnd,
    StreamError,
    TextDelta,
    ToolCallStart,
    decode,
)
from headwater.events.position import Position
from headwater.events.snapshot import Snapshot
from headwater.generation import GenerationRequest, PartialText
from headwater.observe import Observer
from headwater.observe.instruments import ENDED, Instrument
from headwater.settings import Settings, StoreSettings, TimeoutSettings
from headwater.stores.base import Appended, Record
from headwater.stores.memory import MemoryStore
from headwater.stores.sqlite import SqliteStore
from headwater.streams import Hub, LocalStream
from headwater.streams.generation import Generation, StreamOptions
from tests.helpers.hub import ScriptedSource
from tests.helpers.polling import eventually_async

ROOT = Path(__file__).parents[2]
SETTINGS = structs.replace(
    Settings(),
    timeouts=TimeoutSettings(first_token_s=5, idle_s=0.05, comments_s=5, total_s=5),
    store=StoreSettings(max_stream_bytes=1000),
)
CUT = UpstreamError("truncated", "a broke off.")


class Meter:
    """Counts ends."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, ...]] = []

    def add(self, instrument: Instrument, value: float, labels: tuple[str, ...] = ()) -> None:
        if instrument is ENDED:
            assert value == 1
            self.ended.append(labels)


class Disk(MemoryStore):
    """Takes appends until it is full."""

    full = False

    def append(
        self,
        stream: str,
        prev: Position,
        last: Position,
        data: bytes,
        closes: bool,
        done: Callable[[Appended], None],
    ) -> Appended | None:
        if self.full:
            return "failed"
        return super().append(stream, prev, last, data, closes, done)


class World(NamedTuple):
    """A stream that has said a word."""

    hub: Hub
    disk: Disk
    stream: LocalStream
    source: ScriptedSource

    def visit(self) -> None:
        self.stream.feed.enter()
        self.stream.feed.leave()

    def fill(self) -> None:
        self.disk.full = True
        self.source.say(TextDelta("b"))


class End(NamedTuple):
    """How it ends, and how that is to be seen."""

    cause: Callable[[World], object]
    outcome: str
    ended_by: EndedBy
    repair: str | None = None


ENDS = {
    "the provider": End(lambda w: w.source.end(), "stop", "provider"),
    "a cut": End(lambda w: w.source.end(CUT), "truncated", "provider", "not_tried: generator"),
    "a stop": End(lambda w: w.stream.stop(), "cancelled", "caller"),
    "no reader": End(World.visit, "cancelled", "unread"),
    "its key": End(lambda w: w.hub.revoke({"me"}), "cancelled", "revoked"),
    "its key, in another process": End(
        lambda w: w.stream.note("revoke", "other"), "cancelled", "revoked"
    ),
    "silence": End(lambda w: None, "upstream_timeout", "deadline", "not_tried: generator"),
    "length": End(lambda w: w.source.say(TextDelta("a" * 2000)), "too_large", "size_limit"),
    "a drain": End(
        lambda w: asyncio.ensure_future(w.hub.drain(0)),
        "interrupted",
        "shutdown",
        "not_tried: unshared_store",
    ),
    "the store": End(World.fill, "storage_failed", "storage", "not_tried: log_unwritable"),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_end_has_its_reason(end: End, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        meter, disk = Meter(), Disk()
        hub = Hub(SETTINGS, disk, observer=Observer([meter]))
        source = ScriptedSource()
        stream = await hub.start(
            Generation(source, "m"), StreamOptions(principal="me", on_disconnect="cancel")
        )
        source.say(TextDelta("a"))
        end.cause(World(hub, disk, stream, source))
        await eventually_async(lambda: stream.feed.ended)
        snapshot = await hub.snapshot(stream.record)
        if stream.producer.unlogged is not None:
            snapshot.add(stream.producer.unlogged, Position(1, 3))
        state = snapshot.describe()
        assert (state["ended_by"], state["repair"]) == (end.ended_by, end.repair)
        assert meter.ended == [(end.outcome, end.ended_by)]

    with caplog.at_level(logging.INFO, "headwater.streams"):
        asyncio.run(scenario())
    (line,) = [r for r in caplog.records if hasattr(r, "ended_by")]
    seen = vars(line)
    assert (seen["outcome"], seen["ended_by"], seen["repair"]) == (
        end.outcome,
        end.ended_by,
        end.repair,
    )
    assert line.levelno == (logging.WARNING if end.repair else logging.INFO)
    said = f"ended by {end.ended_by} in process " in line.getMessage()
    assert said == (end.repair is not None)


@pytest.mark.parametrize(
    ("end", "ended_by"),
    [
        ('{"type":"stream-end","reason":"stop","usage":null,"timing":%s}', "provider"),
        ('{"type":"stream-end","reason":"cancelled","usage":null,"timing":%s}', None),
        (
            '{"type":"stream-error","code":"truncated","message":"a","retryable":true,'
            '"usage":null,"timing":%s}',
            "provider",
        ),
        (
            '{"type":"stream-end","reason":"stop","usage":null,"timing":%s,"ended_by":"moon"}',
            "moon",
        ),
    ],
)
def test_the_ends_of_other_versions_are_read(end: str, ended_by: str | None) -> None:
    timing = '{"queue":0,"connect":null,"first_token":null,"total":1,"overhead":0,"attempts":1}'
    event = decode((end % timing).encode())
    assert isinstance(event, StreamEnd | StreamError)
    snapshot = Snapshot()
    snapshot.add(event, Position(1, 1))
    assert snapshot.describe()["ended_by"] == ended_by
    assert snapshot.describe()["repair"] is None


def test_the_page_explains_every_reason_and_no_other() -> None:
    page = (ROOT / "docs" / "why-did-it-end.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    reasons = [f"not_tried: {reason}" for reason in get_args(NotTried)]
    rows = [row for row in rows if row not in ("ended_by", "repair")]
    assert rows == [*get_args(EndedBy), "made", *reasons, "failed: CODE"]


def test_a_broken_off_error_names_no_repair_before_the_first_token() -> None:
    async def scenario() -> None:
        hub = Hub(SETTINGS, MemoryStore())
        source = ScriptedSource()
        stream = await hub.start(
            Generation(source, "m"), StreamOptions(principal="me", on_disconnect="continue")
        )
        source.end(HeadwaterError("internal", "no"))
        state = (await hub.snapshot(stream.record)).describe()
        assert (state["ended_by"], state["repair"]) == ("provider", None)

    asyncio.run(scenario())


@dataclass
class Kept:
    """A recovery of which only what another process sees is wanted."""

    what: GenerationRequest | NotTried
    asked: str = "a/m"

    def kept(self) -> GenerationRequest | NotTried:
        return self.what

    def ended(self, route: str | None, error: HeadwaterError | None) -> None:
        """Nothing is counted."""

    def refusal(self, error: HeadwaterError) -> NotTried | None:
        return "final_error"

    def source(self, said: PartialText) -> ScriptedSource:
        raise HeadwaterError("overloaded", "no")


ASKED = GenerationRequest(messages=[{"role": "user", "content": "Why?"}])


@pytest.mark.parametrize(
    ("recovery", "said", "repair"),
    [
        (None, TextDelta("a"), "not_tried: generator"),
        (Kept("transform"), TextDelta("a"), "not_tried: transform"),
        (Kept(ASKED), ReasoningDelta("a"), "not_tried: reasoning_only"),
        (Kept(ASKED), ToolCallStart("c", "f"), "not_tried: not_text"),
        (Kept(ASKED), TextDelta("a"), "failed: overloaded"),
        (
            Kept(GenerationRequest(messages=[{"role": "user", "content": "\ud83c"}])),
            TextDelta("a"),
            "not_tried: request_unavailable",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_process_that_takes_over_says_why_it_does_not_continue(
    recovery: Kept | None, said: Event, repair: str, tmp_path: Path
) -> None:
    async def recover(record: Record, request: GenerationRequest) -> Kept:
        return Kept(request)

    async def scenario() -> None:
        meter = Meter()
        one, other = (SqliteStore(tmp_path / "s.db", lease_s=1) for _ in range(2))
        left, taking = Hub(SETTINGS, one), Hub(SETTINGS, other, recover, Observer([meter]))
        source = ScriptedSource()
        stream = await left.start(
            Generation(source, "m", recovery=recovery, timed="never"),
            StreamOptions(principal="me", on_disconnect="continue"),
        )
        source.say(said)
        await eventually_async(lambda: stream.feed.position.seq == 2)
        await left._membership.leave()
        await taking.open()
        await eventually_async(lambda: meter.ended)
        state = (await taking.snapshot(stream.record)).describe()
        assert state["repair"] == repair
        assert state["error"].code == "interrupted"
        for hub in (left, taking):
            await hub.aclose()
            await hub.store.aclose()

    asyncio.run(scenario())


class Late(SqliteStore):
    """Makes a stream, and answers that it may not have."""

    async def create(self, record: Record, plan: bytes | None = None) -> None:
        await super().create(record, plan)
        raise StorageError("store_unavailable", "no answer")


def test_a_stream_whose_store_answered_too_late_is_ended_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        meter, store = Meter(), Late(tmp_path / "s.db", lease_s=1)
        hub = Hub(SETTINGS, store, observer=Observer([meter]))
        with pytest.raises(StorageError):
            await hub.start(
                Generation(ScriptedSource(), "m"),
                StreamOptions(principal="me", on_disconnect="continue"),
                "s",
            )
        await eventually_async(lambda: meter.ended)
        record, _ = await hub.find("s", "me")
        state = (await hub.snapshot(record)).describe()
        assert (state["status"], state["ended_by"], state["repair"]) == ("failed", "storage", None)
        assert meter.ended == [("storage_failed", "storage")]
        await hub.aclose()
        await store.aclose()

    asyncio.run(scenario())
    (line,) = [r for r in caplog.records if hasattr(r, "ended_by")]
    assert line.levelno == logging.WARNING
    assert vars(line)["ended_by"] == "storage"
    assert line.getMessage() == "stream s of this process ended late: storage_failed"
