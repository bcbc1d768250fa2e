"""Faults 14 to 25: what an upstream does after its first token."""

from __future__ import annotations

import random
import time
from itertools import accumulate

import pytest

from headwater.testing import (
    CUT,
    DONE,
    EOF,
    ERRORS,
    Answer,
    Step,
    chat,
    chunk,
    coalesced,
    cut_after,
    event,
    huge_line,
    size_of,
    split,
    with_line_ends,
)
from headwater.testing.answers import Act
from tests.faults.watching import on_time, resident
from tests.server.serving import anonymous
from tests.server.wires import outcome, text_of
from tests.server.world import BOUND_S, WIRES, World

pytestmark = pytest.mark.system

every_wire = pytest.mark.parametrize("wire", WIRES)

TOKENS = ["Was", "ser", " fällt\n", '"🌊"', " und steigt."]
PLAIN = Answer(chat(TOKENS).steps, framing="close")
WRITES = [step for step in PLAIN.steps if isinstance(step, bytes)]
HEAD = len(PLAIN.head())
#: Where each write is whole: the blank line behind its JSON brings nothing new.
ENDS = [HEAD + end - 2 for end in accumulate(map(len, WRITES))]
#: After which byte the answer had told its end.
FINISHED = ENDS[1 + len(TOKENS)]
CUTS = range(size_of(PLAIN))


def whole_before(size: int) -> str:
    """The text whose events came whole within so many bytes."""
    return "".join(t for t, end in zip(TOKENS, ENDS[1:], strict=False) if end <= size)


def check_cut(w: World, size: int, how: Act) -> None:
    reader = w.whole("native", cut_after(PLAIN, size, how))
    ended, text = outcome("native", reader.body), text_of("native", reader.body)
    if how is EOF:
        assert text == whole_before(size), size
        assert (ended == "stop") == (size >= FINISHED), size
    else:  # a reset may take with it what had not been read yet
        assert whole_before(size).startswith(text), size
        assert text in map(whole_before, (0, *ENDS)), size
    assert ended in ("stop", "truncated", "upstream_error"), size
    assert w.get(reader.stream, "native") == reader.body


@pytest.mark.parametrize(("number", "how"), [(16, EOF), (17, CUT)])
def test_fault_16_17_a_cut_at_any_byte_keeps_what_was_whole(
    w: World, number: int, how: Act
) -> None:
    for size in random.Random(number).sample(CUTS, 50):
        check_cut(w, size, how)


@pytest.mark.proof
@pytest.mark.parametrize("how", [EOF, CUT])
def test_fault_16_17_a_cut_at_every_byte_keeps_what_was_whole(w: World, how: Act) -> None:
    for size in CUTS:
        check_cut(w, size, how)


@pytest.mark.parametrize("shape", ERRORS)
@every_wire
def test_fault_19_20_every_shape_of_error_is_one_error(w: World, wire: str, shape: str) -> None:
    """It latches, whatever follows, and what came before it stays."""
    reader = w.whole(wire, Answer([chunk({"content": "kept"}), *ERRORS[shape]]))
    assert outcome(wire, reader.body) not in ("stop", "done")
    assert text_of(wire, reader.body) == "kept"
    at_once = w.whole(wire, Answer(ERRORS[shape]))
    if wire == "openai":
        assert at_once.head.status >= 400
    else:
        assert outcome(wire, at_once.body) not in ("stop", "done")
        assert text_of(wire, at_once.body) == ""


@every_wire
def test_fault_22_unknown_and_duplicate_events_change_nothing(w: World, wire: str) -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    role, one, two = (
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Was"}),
        chunk({"content": "ser"}),
    )
    odd = [b"event: surprise\nid: 7\nretry: 5\ndata: {}\n\n", event({"object": "later", "x": [1]})]
    plain = Answer([role, one, two, chunk({}, "stop"), usage, DONE])
    end = chunk({}, "stop")
    steps = [role, role, *odd, one, *odd, two, end, *odd, end, usage, usage, DONE, DONE]
    expected, got = w.whole(wire, plain), w.whole(wire, Answer(steps))
    assert anonymous(got.body, got.stream) == anonymous(expected.body, expected.stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 7, None], ids=["1 byte", "2", "7", "one write"])
@pytest.mark.parametrize("bom", [False, True], ids=["", "BOM"])
def test_fault_23_bytes_at_any_boundary_mean_the_same(
    w: World, end: bytes, size: int | None, bom: bool
) -> None:
    answer = with_line_ends(chat(TOKENS, usage={"prompt_tokens": 1}), end, bom=bom)
    packed = coalesced(answer) if size is None else split(answer, size)
    reader, expected = (
        w.whole("native", packed),
        w.whole("native", chat(TOKENS, usage={"prompt_tokens": 1})),
    )
    assert anonymous(reader.body, reader.stream) == anonymous(expected.body, expected.stream)


def test_fault_24_a_line_without_end_is_one_error(w: World) -> None:
    """17 MiB, more than a whole stream may be: told in time, and nobody else waits for it."""
    before = resident(w.served.process.pid)
    with on_time(w):
        began = time.monotonic()
        prompt = w.plan(huge_line(17 * 2**20))
        reader = w.post("native", prompt)
        assert outcome("native", reader.rest()) == "upstream_error"
        assert time.monotonic() - began < BOUND_S
    assert w.freed(prompt, time.monotonic()) < 2
    assert resident(w.served.process.pid) - before < 100 * 2**20


def test_fault_24_a_huge_line_that_ends_is_a_token(w: World) -> None:
    text = "x" * 2**20
    reader = w.whole("native", split(chat([text]), 1000))
    assert text_of("native", reader.body) == text


TOGETHER: list[Step] = [b"".join([chunk({"content": "x"})] * 1000)] * 5
SPEEDS = {
    "one byte a write": split(chat(["x"] * 100), 1),
    "a thousand tokens a write": Answer([*TOGETHER, chunk({}, "stop"), DONE]),
}


@pytest.mark.parametrize("speed", SPEEDS)
def test_fault_25_neither_drops_nor_floods_hold_up_another_stream(w: World, speed: str) -> None:
    with on_time(w):
        reader = w.whole("native", SPEEDS[speed])
    assert outcome("native", reader.body) == "stop"
    assert set(text_of("native", reader.body)) == {"x"}
    assert len(text_of("native", reader.body)) in (100, 5000)
