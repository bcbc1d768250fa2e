"""What holds in every wire: golden frames, seams, ends, framing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from headwater import events as ev
from headwater import wires
from headwater.wires.agui import RunOptions
from headwater.wires.base import WireOptions
from headwater.wires.openai_chat import ChatOptions
from headwater.wires.openai_responses import ResponsesOptions
from headwater.wires.ui import UIOptions
from tests.wires.golden import FOLDER
from tests.wires.logs import EVERYTHING, data, ended, failed, frames

every_wire = pytest.mark.parametrize("wire", wires.names())
#: Options that a request would have given.
OPTIONS: dict[str, WireOptions] = {
    "openai": ChatOptions(True),
    "responses": ResponsesOptions('{"metadata":{"a":"b"},"tools":[]}'),
    "ui": UIOptions("msg_continued", "digest"),
    "agui": RunOptions("thread", "run"),
}
LOGS: dict[str, Sequence[ev.Event]] = {
    "everything": EVERYTHING,
    "failed": failed(),
    "failed at once": [failed()[0], failed()[-1]],
    "cancelled in a call": ended(
        "cancelled", ev.ToolCallStart("c", "f"), ev.ToolCallDelta("c", "{")
    ),
    "nothing": [EVERYTHING[0], EVERYTHING[-1]],
}


@every_wire
def test_golden(wire: str) -> None:
    assert b"".join(frames(wire, EVERYTHING)) == (FOLDER / f"{wire}.txt").read_bytes()


def test_the_golden_log_has_every_kind_of_event() -> None:
    # One of a newer version has no frames of its own: tests/streams/test_newer_events.py.
    kinds = {type(event) for event in EVERYTHING} | {ev.StreamError, ev.Unknown}
    assert kinds == set(ev.Event.__args__)


@every_wire
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("with_options", [False, True])
def test_a_seam_at_every_position(wire: str, log: str, with_options: bool) -> None:
    """A resume folds in silence and goes on with the same bytes; so does a copy of a fold."""
    options = OPTIONS.get(wire) if with_options else None
    events = LOGS[log]
    uncut = frames(wire, events, options)
    for cut in range(len(events) + 1):
        resumed = frames(wire, events, options)[cut:]
        assert resumed == uncut[cut:]
        fold = wires.get(wire).format(options).fold()
        for number, event in enumerate(events[:cut], 1):
            fold.step(event, ev.encode(event), b"id: 1-%d\n" % number)
        copied = fold.copy()
        for going_on in (fold, copied):
            rest = [
                going_on.step(event, ev.encode(event), b"id: 1-%d\n" % number)
                for number, event in enumerate(events[cut:], cut + 1)
            ]
            assert rest == uncut[cut:]


@every_wire
def test_only_the_last_frame_of_an_event_has_its_id(wire: str) -> None:
    for number, made in enumerate(frames(wire, EVERYTHING, OPTIONS.get(wire)), 1):
        if made:
            *first, last = made.removesuffix(b"\n\n").split(b"\n\n")
            assert all(b"id: " not in frame for frame in first)
            assert last.startswith(b"id: 1-%d\n" % number)
            for frame in (*first, last):
                lines = frame.split(b"\n")
                assert sum(line.startswith(b"data: ") for line in lines) == 1
                assert b"\r" not in frame


@every_wire
@pytest.mark.parametrize("reason", ["stop", "length", "tool-calls", "content-filter", "cancelled"])
def test_every_reason_ends_once(wire: str, reason: ev.FinishReason) -> None:
    *_, before, last = frames(wire, ended(reason))
    assert before
    assert last.count(b"id: ") == 1


ENDS: dict[str, dict[str, Any]] = {
    "openai": {"stop": "stop", "length": "length", "tool-calls": "tool_calls", "content-filter": "content_filter", "cancelled": "stop"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tool-calls": "tool_use", "content-filter": "refusal", "cancelled": "end_turn"},
    "responses": {"stop": ("completed", None), "length": ("incomplete", "max_output_tokens"), "tool-calls": ("completed", None), "content-filter": ("incomplete", "content_filter"), "cancelled": ("incomplete", "cancelled")},
    "ui": {"stop": ("finish", "stop"), "length": ("finish", "length"), "tool-calls": ("finish", "tool-calls"), "content-filter": ("finish", "content-filter"), "cancelled": ("abort", None)},
    "agui": {"stop": ("RUN_FINISHED", None), "length": ("RUN_FINISHED", None), "tool-calls": ("RUN_FINISHED", None), "content-filter": ("RUN_FINISHED", None), "cancelled": ("RUN_ERROR", "aborted")},
}  # fmt: skip


def end_of(wire: str, said: list[Any]) -> Any:
    match wire:
        case "openai":
            return said[-2]["choices"][0]["finish_reason"]
        case "anthropic":
            assert said[-1] == {"type": "message_stop"}
            return said[-2]["delta"]["stop_reason"]
        case "responses":
            response = said[-1]["response"]
            assert said[-1]["type"] == f"response.{response['status']}"
            return response["status"], (response["incomplete_details"] or {}).get("reason")
        case "ui":
            assert said[-1] == "[DONE]"
            return said[-2]["type"], said[-2].get("finishReason")
        case _:
            return said[-1]["type"], said[-1].get("code")


@pytest.mark.parametrize(("wire", "reason"), [(w, r) for w, rs in ENDS.items() for r in rs])
def test_a_reason_is_the_client_s_own(wire: str, reason: ev.FinishReason) -> None:
    assert end_of(wire, data(wire, ended(reason))) == ENDS[wire][reason]


@every_wire
def test_an_error_that_no_log_holds_can_be_said(wire: str) -> None:
    """A POST that nothing can be resumed for, and a log that cannot be written."""
    error = ev.StreamError("position_lost", "Gone.", False, None, None)
    said = wires.get(wire).format().fold().render(0, 0, [error], [ev.encode(error)])
    assert b"Gone." in said
    assert b"id: " not in said
    cut = wires.get(wire).format().fold()
    for event in EVERYTHING[:9]:
        cut.step(event, ev.encode(event), b"")
    assert b"id: " not in cut.render(0, 0, [error], [ev.encode(error)])


def nulls(value: Any, where: str = "") -> list[str]:
    match value:
        case None:
            return [where]
        case dict():
            return [n for name, each in value.items() for n in nulls(each, f"{where}.{name}")]
        case list():
            return [n for each in value for n in nulls(each, where)]
    return []


def test_agui_has_neither_nulls_nor_done() -> None:
    for log in (*LOGS.values(), *(ended(reason) for reason in ENDS["ui"])):  # type: ignore[arg-type]
        said = data("agui", log)
        assert "[DONE]" not in said
        assert nulls(said) == []


def test_responses_are_numbered_without_gaps() -> None:
    for log in LOGS.values():
        numbers = [each["sequence_number"] for each in data("responses", log)]
        assert numbers == list(range(len(numbers)))


def test_responses_after_a_number_are_what_is_left() -> None:
    """Also between two frames of one event, where no position is."""
    uncut = data("responses", EVERYTHING, ResponsesOptions())
    for number in range(len(uncut)):
        assert (
            data("responses", EVERYTHING, ResponsesOptions(starting_after=number))
            == uncut[number + 1 :]
        )


def test_what_came_before_late_fragments_is_not_lost() -> None:
    """A provider that mixes its calls: each fragment is taken to its own."""
    log = ended(
        "tool-calls",
        ev.ToolCallStart("a", "f"),
        ev.ToolCallDelta("a", "1"),
        ev.ToolCallStart("b", "g"),
        ev.ToolCallDelta("b", "3"),
        ev.ToolCallDelta("a", "2"),
        ev.ToolCallEnd("a"),
        ev.ToolCallEnd("b"),
    )
    pieces = [
        (each["index"], each["delta"]["partial_json"])
        for each in data("anthropic", log)
        if each["type"] == "content_block_delta"
    ]
    assert pieces == [(0, "1"), (1, "3"), (0, "2")]
    done = [each for each in data("responses", log) if each["type"].endswith("arguments.done")]
    assert [(each["output_index"], each["arguments"]) for each in done] == [(0, "12"), (1, "3")]
    ready = [each for each in data("ui", log) if each != "[DONE]" and "input" in each]
    assert [(each["toolCallId"], each["input"]) for each in ready] == [("a", 12), ("b", 3)]


@every_wire
def test_an_unbelievable_log_is_survived(wire: str) -> None:
    said: list[ev.Event] = [
        ev.ToolCallEnd("never"),
        ev.ToolCallDelta("never", "{}"),
        ev.ToolResult("never", None),
        ev.StepEnd(),
        ev.ToolCallStart("twice", "f"),
        ev.ToolCallStart("twice", "f"),
        ev.ToolCallDelta("twice", "not json"),
        ev.ToolCallEnd("twice"),
        ev.StepStart(),
    ]
    assert json.dumps(data(wire, ended("stop", *said)))
