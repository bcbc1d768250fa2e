"""A response as a whole: the same however its text came in pieces, and as cheap."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import events as ev
from headwater import wires
from headwater.events.position import Position
from headwater.events.snapshot import Snapshot

TIMING = ev.Timing(queue=0, connect=1, first_token=1, total=2, overhead=0, attempts=1)


def snapshot_of(events: list[ev.Event]) -> Snapshot:
    snapshot = Snapshot()
    snapshot.know("0" * 32, "m", None, None, None)
    whole = [ev.StreamStart("0" * 32, "m", 1), *events, ev.StreamEnd("stop", None, TIMING)]
    for seq, event in enumerate(whole, 1):
        snapshot.add(event, Position(1, seq))
    return snapshot


texts = st.text(min_size=1, max_size=5)
deltas = st.one_of(
    st.builds(ev.TextDelta, texts),
    st.builds(ev.ReasoningDelta, texts),
    st.builds(ev.RefusalDelta, texts),
    st.builds(ev.ToolCallDelta, st.sampled_from("ab"), texts),
)


@given(st.lists(deltas, max_size=12))
def test_adjacent_deltas_are_one_and_nothing_is_lost(given: list[Any]) -> None:
    calls = [ev.ToolCallStart("a", "f"), ev.ToolCallStart("b", "g")]
    ends = [ev.ToolCallEnd("a"), ev.ToolCallEnd("b")]
    snapshot = snapshot_of([*calls, *given, *ends])
    assert snapshot.text == "".join(e.text for e in given if isinstance(e, ev.TextDelta))
    assert snapshot.reasoning == "".join(e.text for e in given if isinstance(e, ev.ReasoningDelta))
    assert snapshot.refusal == "".join(e.text for e in given if isinstance(e, ev.RefusalDelta))
    for call in snapshot.tool_calls:
        pieces = [e for e in given if isinstance(e, ev.ToolCallDelta) and e.call == call.call]
        assert call.arguments == "".join(piece.arguments for piece in pieces)
    assert len(snapshot.events) + snapshot.merged == len(calls) + len(given) + len(ends)
    kinds = [(type(e), getattr(e, "call", "")) for e in snapshot.events if "Delta" in str(type(e))]
    assert all(before != after for before, after in itertools.pairwise(kinds))


@pytest.mark.parametrize("wire", wires.names())
def test_a_whole_answer_is_the_same_in_one_piece_and_in_many(wire: str) -> None:
    pieces: list[ev.Event] = [*[ev.ReasoningDelta("hm ")] * 3, *[ev.TextDelta("ha ")] * 1000]
    joined: list[ev.Event] = [ev.ReasoningDelta("hm " * 3), ev.TextDelta("ha " * 1000)]
    many, one = snapshot_of(pieces), snapshot_of(joined)
    one.position = many.position
    assert wires.get(wire).format().whole(many) == wires.get(wire).format().whole(one)
    assert len(many.events) == 2
