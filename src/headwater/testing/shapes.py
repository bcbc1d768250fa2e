"""Answers made of answers: cut, packed and spoilt as providers and networks really do it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from headwater.testing.answers import DONE, EOF, STALL, Act, Answer, Step, chunk, event

#: Every way in which a provider has been seen to tell an error inside a stream with status 200.
ERRORS: Final[dict[str, tuple[bytes, ...]]] = {
    "OpenAI": (event({"error": {"message": "x", "type": "server_error", "code": None}}),),
    "OpenAI, then [DONE]": (event({"error": {"message": "x"}}), DONE),
    "OpenAI, then text": (event({"error": {"message": "x"}}), chunk({"content": "no more"}), DONE),
    "OpenAI, then a finish": (event({"error": {"message": "x"}}), chunk({}, "stop"), DONE),
    "vLLM, older": (event({"object": "error", "message": "x", "code": 400}), DONE),
    "Responses": (
        b'event: error\ndata: {"type":"error","code":"server_error","message":"x"}\n\n',
        b'event: response.failed\ndata: {"type":"response.failed","response":{}}\n\n',
    ),
    "Anthropic": (
        b"event: error\n",
        event({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
    ),
    "Groq": (b'event: error\ndata: {"error":{"message":"x","status_code":400}}\n\n',),
    "Gemini": (event({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}),),
    "Gemini, in a list": (event([{"error": {"code": 503, "message": "x"}}]),),
    "OpenRouter, finish null": (
        event(
            {
                "error": {"code": 502, "message": "x"},
                "choices": [{"delta": {"content": ""}, "finish_reason": None}],
            }
        ),
    ),
    "OpenRouter, finish error": (
        event(
            {
                "error": {"code": 429, "message": "x"},
                "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
            }
        ),
    ),
    "a finish of error": (chunk({}, "error"), DONE),
    "a string": (event({"error": "overloaded"}),),
    "not JSON": (b"data: {oops\n\n", DONE),
    "not an object": (b"data: null\n\n", DONE),
}


def _rendered(answer: Answer) -> Iterator[Step]:
    """Everything that goes over the wire, in its writes and with its waits."""
    yield answer.head()
    for step in answer.steps:
        yield answer.framed(step) if isinstance(step, bytes) else step
    yield answer.ending()


def size_of(answer: Answer) -> int:
    """Bytes of it on the wire, its head and its framing included."""
    return sum(len(step) for step in _rendered(answer) if isinstance(step, bytes))


def cut_after(answer: Answer, size: int, how: Act = EOF) -> Answer:
    """The first `size` bytes of it on the wire, then `how`: `EOF`, `CUT` or `STALL`."""
    steps: list[Step] = []
    for step in _rendered(answer):
        if isinstance(step, bytes):
            steps.append(step[:size])
            size -= len(step)
            if size <= 0:
                break
        else:
            steps.append(step)
    return Answer([*steps, how], framing="raw")


def split(answer: Answer, size: int) -> Answer:
    """The same, at most `size` bytes of body a write. 1 is one byte a write."""
    steps: list[Step] = []
    for step in answer.steps:
        if isinstance(step, bytes):
            steps += [step[at : at + size] for at in range(0, len(step), size)]
        else:
            steps.append(step)
    return replace(answer, steps=steps)


def coalesced(answer: Answer) -> Answer:
    """The same in as few writes as its waits allow."""
    steps: list[Step] = []
    for step in answer.steps:
        if isinstance(step, bytes) and steps and isinstance(steps[-1], bytes):
            steps[-1] += step
        else:
            steps.append(step)
    return replace(answer, steps=steps)


def with_line_ends(answer: Answer, end: bytes, *, bom: bool = False) -> Answer:
    r"""The same with another line end than LF: CRLF or CR, and perhaps with a BOM before it."""
    steps = [step.replace(b"\n", end) if isinstance(step, bytes) else step for step in answer.steps]
    return replace(answer, steps=[b"\xef\xbb\xbf", *steps] if bom else steps)


def gzipped(answer: Answer) -> Answer:
    """The same compressed, flushed with every write, although the client asked for identity."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    steps = [
        packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH) if isinstance(step, bytes) else step
        for step in answer.steps
    ]
    headers = (*answer.headers, ("Content-Encoding", "gzip"))
    return replace(answer, steps=[*steps, packer.flush()], headers=headers)


def huge_line(size: int, write: int = 65536) -> Answer:
    """One line of `size` bytes that does not end, `write` bytes a write; then silence."""
    return split(Answer([b"data: " + b"x" * size, STALL]), write)


def endless_comments(gap_s: float, count: int = 100_000) -> Answer:
    """Nothing but comments, one every `gap_s` seconds."""
    return Answer([b": OPENROUTER PROCESSING\n\n", gap_s] * count)
