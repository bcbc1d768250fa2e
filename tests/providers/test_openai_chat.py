"""Chat Completions as providers really send it: whole, byte by byte, and cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.errors import HeadwaterError
from headwater.events import (
    Citation,
    Event,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from headwater.generation import GenerationRequest
from headwater.providers.base import Finish, Outcome
from headwater.providers.openai_chat import ChatCompletions, ChatCompletionsParser


def sse(*messages: object, end: str = "\n") -> bytes:
    """Messages as an upstream sends them: JSON values, or bytes as they are."""
    return b"".join(
        m if isinstance(m, bytes) else f"data: {json.dumps(m)}{end}{end}".encode() for m in messages
    )


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def tool(index: int | None, **members: Any) -> dict[str, Any]:
    call = {"index": index, **members} if index is not None else members
    return delta(tool_calls=[call])


DONE = b"data: [DONE]\n\n"
STOP = sse(delta("stop"), DONE)

#: Everything an answer can hold, multi-byte characters included.
RECORDED = sse(
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    delta(role="assistant", content=""),
    b": OPENROUTER PROCESSING\n\n",
    delta(reasoning_content="Rayleigh, né 1842"),
    delta(content="Der Himmel "),
    "data: {}\n\n".format('{"choices":[{"index":0,"delta":{"content":"ist blau 🌊"}}]}').encode(),
    {"choices": [{"index": 0}]},
    tool(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
    tool(0, function={"arguments": '{"city": "Zü'}),
    tool(1, id="call_2", type="function", function={"name": "time", "arguments": "{}"}),
    tool(0, function={"arguments": 'rich"}'}),
    delta("tool_calls"),
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "completion_tokens_details": {"reasoning_tokens": 2},
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    },
    DONE,
)
EXPECTED: list[Event] = [
    ReasoningDelta("Rayleigh, né 1842"),
    TextDelta("Der Himmel "),
    TextDelta("ist blau 🌊"),
    ToolCallStart("call_1", "weather"),
    ToolCallDelta("call_1", '{"city": "Zü'),
    ToolCallStart("call_2", "time"),
    ToolCallDelta("call_2", "{}"),
    ToolCallDelta("call_1", 'rich"}'),
    ToolCallEnd("call_1"),
    ToolCallEnd("call_2"),
]
USAGE = Usage(9, 7, reasoning_tokens=2, cached_tokens=4)


def parse(
    *reads: bytes, content_type: str = "text/event-stream"
) -> tuple[list[Event], Outcome | None]:
    parser = ChatCompletionsParser("acme", content_type)
    events: list[Event] = []
    for read in reads:
        events += parser.feed(read)
    events += parser.end()
    return events, parser.outcome


def failure(outcome: Outcome | None) -> HeadwaterError:
    assert isinstance(outcome, HeadwaterError)
    return outcome


def test_whole_and_byte_by_byte() -> None:
    bytewise = [bytes([byte]) for byte in RECORDED]
    for reads in ([RECORDED], bytewise):
        assert parse(*reads) == (EXPECTED, Finish("tool-calls", USAGE))


def test_line_ends_and_a_bom() -> None:
    crlf = RECORDED.replace(b"\n", b"\r\n")
    assert parse(b"\xef\xbb\xbf" + crlf) == (EXPECTED, Finish("tool-calls", USAGE))


def test_cut_at_every_byte_every_whole_event_then_one_error() -> None:
    """What was whole before the cut is there, in order; then one end, which tells the cut."""
    blocks = RECORDED.split(b"\n\n")[:-1]
    ends = [len(b"\n\n".join(blocks[: n + 1])) for n in range(len(blocks))]  # without blank lines
    brings = [0, 0, 0, 1, 1, 1, 0, 1, 1, 2, 1, 0, 0, 0]  # events of each block
    assert sum(brings) == len(EXPECTED) - 2  # the calls' ends come with the end of the answer
    finished = ends[11]
    for cut in range(len(RECORDED)):
        events, outcome = parse(RECORDED[:cut])
        whole = sum(number for end, number in zip(ends, brings, strict=True) if end <= cut)
        if cut < finished:
            assert events == EXPECTED[:whole], cut
            assert failure(outcome).code == ("truncated" if cut >= ends[0] else "upstream_error")
            assert failure(outcome).retryable
        else:  # the finish had come: what was cut off is usage or the end marker
            assert events == EXPECTED, cut
            assert outcome == Finish("tool-calls", USAGE if cut >= ends[12] else None)


@pytest.mark.parametrize(
    ("stream", "events", "outcome"),
    [
        pytest.param(
            sse(delta(content="a"), {"choices": None}, {"choices": []}) + STOP,
            [TextDelta("a")],
            Finish("stop"),
            id="no choices: never indexed",
        ),
        pytest.param(
            b'data:{"choices":[{"delta":{"content":"a"}}]}\n\ndata:[DONE]\n\n',
            [TextDelta("a")],
            Finish("stop"),
            id="data: without a space, [DONE] without a finish",
        ),
        pytest.param(
            sse(delta(content="a"), delta("length"), DONE, delta(content="late")),
            [TextDelta("a")],
            Finish("length"),
            id="data after the end is nobody's",
        ),
        pytest.param(
            sse(delta(content="a"))
            + b'data: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}',
            [TextDelta("a"), TextDelta("b")],
            Finish("stop"),
            id="the last event without its blank line",
        ),
        pytest.param(
            sse(delta(content="a"), delta("content_filter"), DONE),
            [TextDelta("a")],
            Finish("content-filter"),
            id="a content filter is an end, not an error",
        ),
        pytest.param(
            sse(delta(refusal="No."), delta(reasoning="r"), delta("stop"), DONE),
            [RefusalDelta("No."), ReasoningDelta("r")],
            Finish("stop"),
            id="refusal; reasoning by its other name",
        ),
        pytest.param(
            sse({"object": "x", "unknown": {"deep": [1]}}, delta(content="a", new=1)) + STOP,
            [TextDelta("a")],
            Finish("stop"),
            id="unknown members",
        ),
        pytest.param(
            sse(
                tool(None, id="c", function={"name": "f", "arguments": "{}"}),
                tool(None, id="d", function={"name": "g", "arguments": "[]"}),
                delta("stop"),
                DONE,
            ),
            [
                ToolCallStart("c", "f"),
                ToolCallDelta("c", "{}"),
                ToolCallStart("d", "g"),
                ToolCallDelta("d", "[]"),
                ToolCallEnd("c"),
                ToolCallEnd("d"),
            ],
            Finish("stop"),
            id="whole calls without an index",
        ),
        pytest.param(
            b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n'
            b'data: {"choices":[{"delta":{"content":"\\ude00!"}}]}\n\n' + STOP,
            [TextDelta("😀!")],
            Finish("stop"),
            id="a character cut between its surrogates",
        ),
        pytest.param(
            b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n' + STOP,
            [TextDelta("a"), TextDelta("�")],
            Finish("stop"),
            id="a surrogate without a partner",
        ),
        pytest.param(
            b'data: {"choices":[{"delta":{"content":"a\xffb"}}]}\n\n' + STOP,
            [TextDelta("a�b")],
            Finish("stop"),
            id="invalid UTF-8",
        ),
        pytest.param(
            sse(
                {"choices": [], "prompt_filter_results": [{"content_filter_results": {}}]},
                {
                    "choices": [
                        {"index": 0, "content_filter_offsets": {"start": 0}, "finish_reason": None}
                    ]
                },
                delta(content="a"),
                delta("content_filter"),
                DONE,
            ),
            [TextDelta("a")],
            Finish("content-filter"),
            id="Azure: preamble, a choice without delta, the filter is an end",
        ),
        pytest.param(
            sse(
                delta(reasoning="r"),
                {
                    **delta("stop"),
                    "x_groq": {"id": "req", "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
                },
                DONE,
            ),
            [ReasoningDelta("r")],
            Finish("stop", Usage(3, 4)),
            id="Groq: usage beside",
        ),
        pytest.param(
            sse(
                delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
                delta(content=[{"type": "text", "text": "a"}]),
                {**delta("model_length"), "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
                DONE,
            ),
            [ReasoningDelta("hm"), TextDelta("a")],
            Finish("length", Usage(3, 4)),
            id="Mistral: content in parts, usage unasked",
        ),
        pytest.param(
            sse(
                b": OPENROUTER PROCESSING\n\n",
                delta(
                    content="a",
                    annotations=[
                        {
                            "type": "url_citation",
                            "url_citation": {"url": "https://a.example", "title": "A"},
                        }
                    ],
                ),
                delta(annotations=[{"type": "file_citation"}, None, {"url_citation": {"url": 7}}]),
                {**delta("stop"), "native_finish_reason": "STOP", "provider": "x"},
                DONE,
            ),
            [TextDelta("a"), Citation("https://a.example", "A")],
            Finish("stop"),
            id="OpenRouter: comments, pages",
        ),
        pytest.param(
            sse(
                tool(0, id="c", function={"name": "f", "arguments": {"a": 1}}),
                tool(0, id="d", function={"name": "g", "arguments": "{}"}),
                delta("tool_calls"),
                DONE,
            ),
            [
                ToolCallStart("c", "f"),
                ToolCallDelta("c", '{"a":1}'),
                ToolCallEnd("c"),
                ToolCallStart("d", "g"),
                ToolCallDelta("d", "{}"),
                ToolCallEnd("d"),
            ],
            Finish("tool-calls"),
            id="vLLM and Ollama: every call as number 0, arguments as an object",
        ),
        pytest.param(
            sse(
                tool(0, id="c", function={"name": "f", "arguments": "{"}),
                tool(0, id="c", function={"name": "f", "arguments": "}"}),
                delta("tool_calls"),
                DONE,
            ),
            [
                ToolCallStart("c", "f"),
                ToolCallDelta("c", "{"),
                ToolCallDelta("c", "}"),
                ToolCallEnd("c"),
            ],
            Finish("tool-calls"),
            id="vLLM: id and name in every fragment",
        ),
        pytest.param(
            b": keep-alive\n\n"
            + sse(
                delta(reasoning_content="r", content=None),
                delta(reasoning_content=None, content="a"),
                {
                    **delta("stop"),
                    "usage": {
                        "prompt_tokens": 9,
                        "completion_tokens": 1,
                        "prompt_cache_hit_tokens": 4,
                    },
                },
                DONE,
            ),
            [ReasoningDelta("r"), TextDelta("a")],
            Finish("stop", Usage(9, 1, cached_tokens=4)),
            id="DeepSeek: keep-alive, its name for what the cache had",
        ),
        pytest.param(
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c\\ud83d","function":{"name":"f\\ud83d","arguments":"{}"}}]}}]}\n\n'
            + STOP,
            [
                ToolCallStart("c�", "f�"),
                ToolCallDelta("c�", "{}"),
                ToolCallEnd("c�"),
            ],
            Finish("stop"),
            id="half a character in a name",
        ),
        pytest.param(
            sse(delta(content="x" * 1_000_000)) + STOP,
            [TextDelta("x" * 1_000_000)],
            Finish("stop"),
            id="a line of a megabyte",
        ),
    ],
)
def test_what_providers_really_send(stream: bytes, events: list[Event], outcome: Finish) -> None:
    assert parse(stream) == (events, outcome)
    assert parse(*[stream[i : i + 7] for i in range(0, len(stream), 7)]) == (events, outcome)


ERRORS = [
    ("openai", b'data: {"error":{"message":"boom","type":"server_error","code":null}}\n\n', "upstream_error", True),
    ("openai, then done", b'data: {"error":{"message":"boom"}}\n\ndata: [DONE]\n\n', "upstream_error", True),
    ("groq", b'event: error\ndata: {"error":{"message":"boom","status_code":400}}\n\n', "invalid_request", False),
    ("gemini", b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"boom"}}\n\n', "upstream_error", True),
    ("openrouter", b'data: {"error":{"code":429,"message":"boom"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}\n\n', "rate_limited", True),
    ("older vllm", b'data: {"object":"error","message":"boom","code":400}\n\n', "invalid_request", False),
    ("a string", b'data: {"error":"boom"}\n\n', "upstream_error", True),
    ("rate limit by type", b'data: {"error":{"message":"boom","type":"rate_limit_error"}}\n\n', "rate_limited", True),
    ("the key", b'data: {"error":{"message":"Incorrect API key sk-abcdefghijkl","code":401}}\n\n', "upstream_error", False),
    ("finish_reason error", b'data: {"choices":[{"delta":{},"finish_reason":"error"}]}\n\n', "upstream_error", True),
    ("malformed", b'data: {"choices":[{"delta":{"content":"boo\n\n', "upstream_error", True),
    ("not an object", b"data: 7\n\n", "upstream_error", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "code", "retryable"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
@pytest.mark.parametrize("before", [[], [TextDelta("kept")]], ids=["first", "after text"])
def test_an_error_inside_a_stream_latches(
    message: bytes, code: str, retryable: bool, before: list[Event]
) -> None:
    said = sse(delta(content="kept")) if before else b""
    events, outcome = parse(said + message + sse(delta(content="no more")) + STOP)
    assert events == before
    error = failure(outcome)
    assert (error.code, error.retryable) == (code, retryable)
    assert "sk-" not in error.message


@pytest.mark.parametrize(
    ("body", "content_type", "code", "says"),
    [
        (b"", "text/event-stream", "upstream_error", "answered nothing"),
        (b"\n\n: hi\n\n", "text/event-stream", "upstream_error", "answered nothing"),
        (b"<html>captcha</html>", "text/html", "upstream_error", "web page"),
        (b'{"error":{"message":"quota","code":"insufficient_quota"}}', "application/json", "rate_limited", "quota"),
        (b"{broken", "application/json", "upstream_error", "not JSON"),
    ],
)  # fmt: skip
def test_200_that_is_no_stream(body: bytes, content_type: str, code: str, says: str) -> None:
    events, outcome = parse(body, content_type=content_type)
    assert events == []
    assert failure(outcome).code == code
    assert says in failure(outcome).message


def test_an_upstream_that_ignored_stream_true() -> None:
    body = {
        "choices": [
            {"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    answer = parse(json.dumps(body).encode(), content_type="application/json")
    assert answer == ([TextDelta("whole")], Finish("stop", Usage(1, 2)))


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "retryable", "retry_after"),
    [
        (301, {"location": "http://169.254.169.254/"}, b"", "upstream_error", False, None),
        (400, {}, b'{"error":{"message":"context too long"}}', "invalid_request", False, None),
        (401, {}, b'{"error":{"message":"sk-abc"}}', "upstream_error", False, None),
        (403, {}, b"", "upstream_error", False, None),
        (404, {}, b'{"error":{"message":"no such model"}}', "model_not_found", False, None),
        (413, {}, b"", "too_large", False, None),
        (422, {}, b"[]", "invalid_request", False, None),
        (429, {"retry-after": "7"}, b"{}", "rate_limited", True, 7),
        (429, {"retry-after-ms": "1500", "retry-after": "9"}, b"", "rate_limited", True, 1.5),
        (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", "rate_limited", True, 0),
        (429, {"retry-after": "1e999"}, b"", "rate_limited", True, None),
        (429, {"retry-after": "86400"}, b"", "rate_limited", True, 120),
        (500, {}, b"<html>", "upstream_error", True, None),
        (503, {"retry-after": "2"}, b"", "upstream_error", True, 2),
        (504, {}, b"", "upstream_timeout", True, None),
        (529, {}, b'{"error":{"message":"overloaded"}}', "upstream_error", True, None),
    ],
)
def test_a_status_before_the_stream(
    status: int,
    headers: dict[str, str],
    body: bytes,
    code: str,
    retryable: bool,
    retry_after: float | None,
) -> None:
    error = ChatCompletions().failure("acme", status, headers, body)
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, retry_after)
    assert "sk-" not in error.message


def test_what_is_asked() -> None:
    asked = GenerationRequest(
        messages=[{"role": "user", "content": "hi"}],
        options={
            "temperature": 0.5,
            "x_vendor": {"a": 1},
            "stream_options": {"include_usage": False},
        },
        stream=False,
    )
    request = ChatCompletions().request("https://a.example/v1", "k", asked, "m")
    assert request.url == "https://a.example/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer k"
    assert json.loads(request.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "x_vendor": {"a": 1},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
