"""Bursts told from streams, whatever the clocks, the line and the machine do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.tools.doctor.measurement import Tick
from headwater.tools.doctor.rhythm import rhythm

GAP_S = 0.1


def live(count: int, *, offset: float = 0.0, delays: tuple[float, ...] = ()) -> list[Tick]:
    """Ticks sent every 100 ms, each with a delay of its own, in order as TCP keeps it."""
    ticks, last = [], float("-inf")
    for number in range(count):
        sent = number * GAP_S
        delay = delays[number % len(delays)] if delays else 0.0
        last = max(last, offset + sent + delay)
        ticks.append(Tick(sent, last, 100 * (number + 1)))
    return ticks


def in_lumps(count: int, per_lump: int) -> list[Tick]:
    """Ticks that leave a buffer when it holds so many, the rest at the end."""
    ticks = []
    for number in range(count):
        released = min((number // per_lump + 1) * per_lump, count) - 1
        ticks.append(Tick(number * GAP_S, 3 + released * GAP_S, 100 * (number + 1)))
    return ticks


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0, 0.03), min_size=1, max_size=20))
def test_neither_clocks_nor_a_nervous_line_make_a_fault(offset: float, delays: list[float]) -> None:
    assert rhythm(live(20, offset=offset, delays=tuple(delays))).verdict == "live"


@pytest.mark.parametrize("seed", range(20))
def test_a_busy_machine_makes_no_fault(seed: int) -> None:
    """A tenth of the time nothing runs for longer than a gap."""
    chance = random.Random(seed)
    delays = tuple(0.15 if chance.random() < 0.1 else 0.0 for _ in range(20))
    assert rhythm(live(20, delays=delays)).verdict != "held"


@given(st.integers(4, 100), st.integers(3, 100))
def test_lumps_are_a_fault(count: int, per_lump: int) -> None:
    assert rhythm(in_lumps(count, per_lump)).verdict == "held"


def test_the_size_of_a_lump_is_that_of_the_buffer() -> None:
    found = rhythm(in_lumps(48, 8))
    assert (found.lumps, found.lump_bytes) == (6, 800)
    assert found.lump_s == pytest.approx(0.8)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_ticks_tell_nothing(count: int) -> None:
    assert rhythm(live(count)).verdict == "unclear"
