"""Logs for tests of wires, and what a wire makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headwater import events as ev
from headwater import wires
from headwater.events.position import Position
from headwater.events.snapshot import Snapshot
from headwater.wires.base import WireOptions

STREAM = "5eed"
START = ev.StreamStart(STREAM, "a-model", 1_700_000_000)
TIMING = ev.Timing(0.1, 1.0, 2.0, 3.0, 0.2, 1)
USAGE = ev.Usage(10, 7, reasoning_tokens=3, cached_tokens=4)

#: Every kind of event, in an order that an agent might send.
EVERYTHING: Sequence[ev.Event] = (
    START,
    ev.StepStart(),
    ev.ReasoningDelta("Let me "),
    ev.ReasoningDelta("think."),
    ev.ProviderData("anthropic", "signature", "c2lnbmF0dXJl"),
    ev.ProviderData("anthropic", "redacted_thinking", "cmVkYWN0ZWQ="),
    ev.ProviderData("openai", "reasoning", {"id": "rs_1", "encrypted_content": "ZW5jcnlwdGVk"}),
    ev.ProviderData("gemini", "thought_signature", "Zm9yZWlnbg=="),
    ev.TextDelta("Looking "),
    ev.TextDelta('it "up" 🌊\n'),
    ev.ToolCallStart("call_1", "weather"),
    ev.ToolCallDelta("call_1", '{"city":'),
    ev.ToolCallDelta("call_1", '"Zürich"}'),
    ev.ToolCallStart("call_2", "clock"),
    ev.ToolCallEnd("call_1"),
    ev.ToolCallEnd("call_2"),
    ev.ToolResult("call_1", {"sky": "blue"}),
    ev.ToolResult("call_2", "noon"),
    ev.StepEnd(),
    ev.StepStart(),
    ev.Citation("https://a.example/sky", "The sky"),
    ev.Citation("https://b.example/", None),
    ev.File("image/png", "data:image/png;base64,AA=="),
    ev.Data("chart", {"x": [1, 2]}),
    ev.Data("progress", None, transient=True),
    ev.TextDelta("Blue."),
    ev.ProviderData("anthropic", "citation", {"type": "char_location", "cited_text": "blue"}),
    ev.StreamRepair("truncated", "a/model"),
    ev.RefusalDelta("No more."),
    ev.StepEnd(),
    ev.StreamEnd("stop", USAGE, TIMING),
)


def ended(reason: ev.FinishReason, *said: ev.Event) -> list[ev.Event]:
    """A log that ends so."""
    return [START, *(said or (ev.TextDelta("Hi"),)), ev.StreamEnd(reason, USAGE, TIMING)]


def failed(*said: ev.Event) -> list[ev.Event]:
    error = ev.StreamError("upstream_timeout", "No token within 60 s.", True, None, TIMING)
    return [START, *(said or (ev.TextDelta("Hi"),)), error]


def frames(
    wire: str, events: Iterable[ev.Event], options: WireOptions | None = None
) -> list[bytes]:
    """What each event made, with ids from 1-1."""
    fold = wires.get(wire).format(options).fold()
    return [
        fold.step(event, ev.encode(event), b"id: 1-%d\n" % number)
        for number, event in enumerate(events, 1)
    ]


def data(wire: str, events: Iterable[ev.Event], options: WireOptions | None = None) -> list[Any]:
    """The values of all data lines; what is not JSON as text."""
    found: list[Any] = []
    for line in b"".join(frames(wire, events, options)).split(b"\n"):
        if line.startswith(b"data: "):
            text = line.removeprefix(b"data: ").decode()
            found.append(text if text == "[DONE]" else json.loads(text))
    return found


def snapshot(events: Iterable[ev.Event]) -> Snapshot:
    """What the log says."""
    made = Snapshot()
    for number, event in enumerate(events, 1):
        made.add(event, Position(1, number))
    return made


def whole(wire: str, events: Iterable[ev.Event], options: WireOptions | None = None) -> Any:
    """The whole answer, as JSON."""
    return json.loads(msgspec.json.encode(wires.get(wire).format(options).whole(snapshot(events))))
