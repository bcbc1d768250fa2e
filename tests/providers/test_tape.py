"""A tape: what was recorded, with its timings, through the same path as any provider."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import os
import re
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import events as ev
from headwater.errors import STATUS, ConfigurationError, HeadwaterError, RequestError
from headwater.generation import GenerationRequest
from headwater.providers.base import Finish, Outcome
from headwater.providers.tape import (
    Line,
    Playing,
    TapeProvider,
    TapeSource,
    WrongOption,
    names,
    parse,
    read,
)
from headwater.providers.tape.playing import FAULTS, from_query
from headwater.providers.tape.shipped import FOLDER
from headwater.tools.recording import Recording
from tests.helpers.clock import run

LINES = [
    b'[0, {"type":"stream-start","stream":"s","model":"m","created":1}]',
    b'[20, {"type":"text-delta","text":"The"}]',
    b'[20, {"type":"text-delta","text":" sky"}]',
    b'[60, {"type":"text-delta","text":" is blue."}]',
]
TIMING = b'{"queue":0,"connect":null,"first_token":20,"total":60,"overhead":0,"attempts":1}'
USAGE = b'{"input_tokens":3,"output_tokens":4}'
END = b'[60, {"type":"stream-end","reason":"stop","usage":%b,"timing":%b}]' % (USAGE, TIMING)
FAILED = (
    b'[60, {"type":"stream-error","code":"truncated","message":"cut","retryable":true,'
    b'"usage":%b,"timing":%b}]' % (USAGE, TIMING)
)
TAPE = parse(b"\n".join([*LINES, END]), "tape")
WORDS = [ev.TextDelta("The"), ev.TextDelta(" sky"), ev.TextDelta(" is blue.")]


class Heard:
    """Receives a playing: each read with its second, and the end."""

    def __init__(self) -> None:
        self.reads: list[tuple[float, list[ev.Event]]] = []
        self.end_at = math.nan
        self.outcome: Outcome | None = None
        self._over = asyncio.Event()

    @property
    def events_heard(self) -> list[ev.Event]:
        return [event for _, events in self.reads for event in events]

    def events(self, events: Sequence[ev.Event]) -> None:
        assert events
        assert self.outcome is None
        self.reads.append((asyncio.get_running_loop().time(), list(events)))

    def alive(self, data: bool) -> None:
        raise AssertionError("a tape has no comments")

    def end(self, outcome: Outcome, events: Sequence[ev.Event] = ()) -> None:
        if events:
            self.events(events)
        self.outcome, self.end_at = outcome, asyncio.get_running_loop().time()
        self._over.set()

    async def over(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._over.wait()
        except TimeoutError:
            pass


def play(lines: list[Line], playing: Playing | None = None, timeout_s: float = 1e9) -> Heard:
    """Play on a clock that jumps."""

    async def scenario() -> Heard:
        heard = Heard()
        TapeSource(lines, playing).start(heard)
        await heard.over(timeout_s)
        return heard

    return run(scenario())


# the file

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.one_of(
    st.builds(ev.TextDelta, TEXTS),
    st.builds(ev.ReasoningDelta, TEXTS),
    st.builds(ev.ToolCallStart, TEXTS, TEXTS),
    st.builds(ev.ToolCallDelta, TEXTS, TEXTS),
    st.builds(ev.ToolCallEnd, TEXTS),
    st.builds(ev.ToolResult, TEXTS, JSON),
    st.builds(ev.Citation, TEXTS, st.none() | TEXTS),
    st.builds(ev.Data, TEXTS, JSON),
    st.builds(ev.ProviderData, TEXTS, TEXTS, JSON),
    st.builds(ev.StreamRepair, TEXTS, TEXTS),
)
COUNTED = st.none() | st.builds(ev.Usage, st.integers(0, 10**6), st.integers(0, 10**6))
TIMED = ev.Timing(0.0, None, 1.0, 2.0, 0.0, 1)
ENDS: st.SearchStrategy[ev.Terminal] = st.one_of(
    st.builds(
        ev.StreamEnd, st.sampled_from(["stop", "length", "tool-calls"]), COUNTED, st.just(TIMED)
    ),
    st.builds(
        ev.StreamError,
        st.sampled_from(sorted(STATUS)),
        TEXTS,
        st.booleans(),
        COUNTED,
        st.none() | st.just(TIMED),
    ),
)
READS = st.lists(st.tuples(st.integers(1, 50_000), st.lists(EVENTS, min_size=1, max_size=4)))


@given(READS, ENDS, st.sampled_from([0.25, 1.0, 3.0]))
def test_what_was_recorded_is_played(
    tmp_path_factory: pytest.TempPathFactory,
    reads: list[tuple[int, list[ev.Event]]],
    end: ev.Terminal,
    speed: float,
) -> None:
    path = tmp_path_factory.mktemp("tape") / "any.tape"
    times = [at / 10 for at in itertools.accumulate(gap for gap, _ in reads)]
    last = (times or [0.0])[-1]
    with Recording(path) as recording:
        recording.add([ev.StreamStart("s", "m", 1)], 0.0)
        for at, (_, events) in zip(times, reads, strict=True):
            recording.add(events, at + 0.01)
        recording.add([end], last)
    lines = read(path)
    recorded = [(at, e) for at, (_, events) in zip(times, reads, strict=True) for e in events]
    assert lines == [(0.0, ev.StreamStart("s", "m", 1)), *recorded, (last, end)]

    heard = play(lines, Playing(speed))
    assert [events for _, events in heard.reads] == [events for _, events in reads]
    assert [at for at, _ in heard.reads] == pytest.approx([at / 1000 / speed for at in times])
    assert heard.end_at == pytest.approx(last / 1000 / speed)
    if isinstance(end, ev.StreamEnd):
        assert heard.outcome == Finish(end.reason, end.usage)
    else:
        assert isinstance(heard.outcome, HeadwaterError)
        told = heard.outcome
        assert (told.code, told.message, told.retryable) == (end.code, end.message, end.retryable)


def test_a_recording_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    with Recording(path) as recording:
        recording.add(WORDS, 1)
    assert list(tmp_path.iterdir()) == []  # no terminal event
    with suppress(KeyboardInterrupt), Recording(path) as recording:
        recording.add(WORDS, 1)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with Recording(path) as recording:
        recording.add([*WORDS, TAPE[-1][1]], 1)
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]
    assert (recording.count, recording.ms) == (4, 1)


def test_a_recording_replaces_only_what_it_may(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already; --force replaces it"):
        Recording(path)
    with pytest.raises(ConfigurationError, match="is not a file"):
        Recording(tmp_path, force=True)
    with pytest.raises(ConfigurationError, match=r"cannot write .*: No such file"):
        Recording(tmp_path / "none" / "a.tape").__enter__()
    with Recording(path, force=True) as recording:
        recording.add(WORDS, 1)
    assert path.read_text() == "mine"
    with Recording(path, force=True) as recording:
        recording.add([TAPE[-1][1]], 1)
    assert read(path) == [(1, TAPE[-1][1])]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "is not a tape: its last line is not a terminal event"),
        (LINES, "last line is not a terminal event"),
        ((b"not json", END), "not a tape: line 1: "),
        ((LINES[0], b'[0, {"type":"unknown"}]', END), "not a tape: line 2: "),
        ((b'{"type":"text-delta","text":"a"}', END), "line 1: Expected `array`"),
        ((b'["0", {"type":"text-delta","text":"a"}]', END), "line 1: Expected `float`"),
        ((b'[-1, {"type":"text-delta","text":"a"}]', END), "line 1: its time must be from 0"),
        ((*LINES, b'[59, {"type":"text-delta","text":"a"}]', END), "must be from 60 to"),
        ((b'[1e9, {"type":"text-delta","text":"a"}]', END), "to 86400000 ms, not 1e"),
        ((*LINES, END, b"", LINES[3]), "line 7: nothing follows the terminal event"),
        ((b'[0, {"type":"event-unknown"}]', END), "line 1: event-unknown stands for an event"),
        ((LINES[0], LINES[0], END), "line 2: stream-start can only be the first"),
        ((FAILED.replace(b"truncated", b"odd"),), "there is no error 'odd'; use one of invalid"),
    ],
)  # fmt: skip
def test_what_is_not_a_tape(tmp_path: Path, lines: tuple[bytes, ...], says: str) -> None:
    path = tmp_path / "answer.tape"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert says in caught.value.message


def test_a_tape_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path / "none")
    long = tmp_path / "long.tape"
    with long.open("wb") as file:
        file.truncate(32 * 1024 * 1024 + 1)
    with pytest.raises(ConfigurationError, match="too long"):
        read(long)


# playing


def test_a_tape_is_played_whole_and_in_its_time() -> None:
    heard = play(TAPE)
    assert heard.reads == [(0.02, WORDS[:2]), (0.06, WORDS[2:])]
    assert heard.outcome == Finish("stop", ev.Usage(3, 4))


def test_at_full_speed_nothing_waits_and_reads_stay_apart() -> None:
    heard = play(TAPE, Playing(math.inf))
    assert heard.reads == [(0, WORDS[:2]), (0, WORDS[2:])]
    assert heard.outcome == Finish("stop", ev.Usage(3, 4))


def test_a_recorded_failure_keeps_what_was_counted() -> None:
    async def scenario() -> None:
        heard = Heard()
        source = TapeSource(parse(b"\n".join([*LINES, FAILED]), "tape"))
        source.start(heard)
        await heard.over(10)
        assert isinstance(heard.outcome, HeadwaterError)
        assert heard.outcome.code == "truncated"
        assert source.usage == ev.Usage(3, 4)

    run(scenario())


CODES = {"cut": "truncated", "error": "upstream_error", "malformed": "upstream_error"}


@pytest.mark.parametrize("after", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("fault", list(CODES))
def test_a_fault_comes_after_as_many_events(fault: str, after: int) -> None:
    heard = play(TAPE, from_query(f"{fault}={after}"))
    assert heard.events_heard == WORDS[:after]
    assert isinstance(heard.outcome, HeadwaterError)
    assert heard.outcome.code == CODES[fault]
    assert heard.outcome.retryable
    assert heard.end_at == {0: 0, 1: 0.02, 2: 0.02}.get(after, 0.06)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 99])
def test_a_stall_says_nothing_more(after: int) -> None:
    heard = play(TAPE, from_query(f"stall={after}"), timeout_s=1000)
    assert heard.events_heard == WORDS[:after]
    assert heard.outcome is None


def test_a_refusal_is_at_once() -> None:
    heard = play(TAPE, from_query("refuse"))
    assert (heard.reads, heard.end_at) == ([], 0)
    assert isinstance(heard.outcome, HeadwaterError)
    assert heard.outcome.message == "tape failed (HTTP 503)."


@pytest.mark.parametrize("at", [0.0, 0.01, 0.03])
def test_a_cancelled_playing_is_silent_and_gone(at: float) -> None:
    async def scenario() -> None:
        heard = Heard()
        source = TapeSource(TAPE)
        source.start(heard)
        await asyncio.sleep(at)
        source.cancel()
        said = len(heard.reads)
        gone = weakref.ref(heard)
        loop: Any = asyncio.get_running_loop()
        assert all(timer.cancelled() for timer in loop._scheduled)
        await asyncio.sleep(100)
        assert (len(heard.reads), heard.outcome) == (said, None)
        del heard
        gc.collect()
        assert gone() is None

    run(scenario())


# options


@pytest.mark.parametrize(
    ("query", "playing"),
    [
        ("", Playing()),
        ("speed=4", Playing(4)),
        ("speed=max", Playing(math.inf)),
        ("speed=0.5&cut=30", Playing(0.5, "cut", 30)),
        ("stall=0&speed=1000", Playing(1000, "stall", 0)),
        ("refuse", Playing(1, "refuse", 0)),
    ],
)
def test_options(query: str, playing: Playing) -> None:
    assert from_query(query) == playing


@pytest.mark.parametrize(
    ("query", "says"),
    [
        *((f"speed={wrong}", "a number from 0.01 to 1000, or max")
          for wrong in ["0", "-1", "0.001", "1001", "inf", "nan", "1e2", "", "four", "٤"]),
        *((f"cut={wrong}", "cut wants the number of events before it, such as cut=30")
          for wrong in ["", "-1", "1.5", "x", "9" * 40]),
        ("cut", "cut wants the number"),
        ("refuse=1", "refuse takes no number"),
        ("cut=1&stall=2", "one fault, not cut and stall"),
        ("cut=1&cut=2", "one fault, not cut and cut"),
        ("speed=1&speed=2", "one speed"),
        ("spede=2", "'spede' is no option of a tape: there are speed and refuse, cut"),
        ("cut=1?stall=2", "cut wants the number"),
    ],
)  # fmt: skip
def test_wrong_options(query: str, says: str) -> None:
    with pytest.raises(WrongOption) as caught:
        from_query(query)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 250


# folders


def source(folder: Path, model: str) -> TapeSource:
    request = GenerationRequest(messages=[{"role": "user", "content": "?"}])
    return TapeProvider("mine", folder).source(request, model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tapes = tmp_path / "tapes"
    (tapes / "sub").mkdir(parents=True)
    data = b"\n".join([*LINES, END])
    shown = ["a.tape", "b.jsonl", "dotted.name.tape", "two words.tape"]
    hidden = [".h.tape", "c.txt", "q?speed=2.tape", "n\n.tape", "sub/d.tape", "../out.tape"]
    for name in [*shown, *hidden]:
        (tapes / name).write_bytes(data)
    (tapes / "e.tape").mkdir()
    (tapes / "a.jsonl").write_bytes(b"of two with one name, the other")
    (tapes / "bad.tape").write_bytes(b"[]")
    return tapes


def test_the_tapes_of_a_folder(folder: Path) -> None:
    assert sorted(names(folder)) == ["a", "b", "bad", "dotted.name", "two words"]
    assert names(folder)["a"].name == "a.tape"
    assert names(folder / "none") == {}
    for name in ("a", "b", "dotted.name", "two words", "a?speed=2"):
        source(folder, name)


@pytest.mark.parametrize(
    "name",
    ["../out", "..", ".", "", "/etc/passwd", "sub/d", "a.tape", "a\0", "\0", ".h", "e", "%61",
     "..%2fout", "a/../a", "x" * 5000, "\udc80"],
)  # fmt: skip
def test_no_name_leads_out_of_its_folder(folder: Path, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        source(folder, name)
    assert caught.value.status == 404
    assert "the nearest are mine/" in caught.value.message
    assert len(caught.value.message) < 400


def test_what_a_folder_cannot_play(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadwaterError, match="mine/bad is not a tape: line 1") as caught:
        source(folder, "bad")
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(RequestError, match="there is none in its folder"):
        source(folder / "sub" / "none", "a")


def test_a_tape_that_changes_is_read_again(folder: Path) -> None:
    async def heard() -> list[ev.Event]:
        heard = Heard()
        source(folder, "a?speed=max").start(heard)
        await heard.over(10)
        return heard.events_heard

    assert run(heard()) == WORDS
    (folder / "a.tape").write_bytes(b"\n".join([LINES[1], END]))
    os.utime(folder / "a.tape", ns=(1, 1))
    assert run(heard()) == WORDS[:1]


# what is shipped

SHIPPED = {"story", "slow-start", "reasoning", "tools", "bursty"}


def test_the_shipped_tapes_are_what_their_script_makes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    script = [sys.executable, str(root / "scripts" / "tapes.py"), str(tmp_path)]
    printed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.glob("*.tape")}
    assert {name.removesuffix(".tape") for name in made} == SHIPPED
    assert sum(map(len, made.values())) < 100_000
    # And what it prints is what the documentation says.
    table = (root / "docs" / "tapes.md").read_text()
    for line in printed.splitlines():
        name, seed, pieces, first, total, _ = re.split(r": seed |, ", line)
        cells = [f"`{name}`", seed, pieces.split()[0], first.removeprefix("first token "), total]
        assert f"| {' | '.join(cells).removesuffix(' in all')} |" in table


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_tape_plays_the_same_again(name: str) -> None:
    lines = read(FOLDER / f"{name}.tape")
    once, again = play(lines), play(lines)
    assert (once.reads, once.outcome) == (again.reads, again.outcome)
    assert isinstance(once.outcome, Finish)
    assert once.outcome.usage is not None
    assert once.outcome.reason == ("tool-calls" if name == "tools" else "stop")


def test_every_fault_has_its_sentence() -> None:
    assert set(FAULTS) == {"refuse", "stall", *CODES}
