"""What holds for every dialect: the same answer however it is cut, and one end, which tells."""

from __future__ import annotations

import json

import pytest

from headwater.errors import HeadwaterError
from headwater.events import Event, TextDelta, encode
from headwater.providers.base import Finish, Outcome, Parser
from headwater.sse.decoder import MAX_EVENT_BYTES
from tests.providers.recorded import ALL, Recorded, candidate, data, delta, line, named, said

every_dialect = pytest.mark.parametrize("recorded", ALL, ids=[r.name for r in ALL])


@pytest.fixture(autouse=True)
def nothing_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.providers.text.secrets.token_hex", lambda size: "0" * 2 * size)


def parser_of(recorded: Recorded, content_type: str | None = None) -> Parser:
    return recorded.dialect.parser("acme", content_type or recorded.content_type)


def parse(
    recorded: Recorded, *reads: bytes, content_type: str | None = None
) -> tuple[list[Event], Outcome | None]:
    parser = parser_of(recorded, content_type)
    events: list[Event] = []
    for read in reads:
        events += parser.feed(read)
        if parser.closed:
            break
    if not parser.closed:
        events += parser.end()
    assert [encode(event) for event in events], events  # what the log cannot hold would fail there
    return events, parser.outcome


def failed(outcome: Outcome | None) -> HeadwaterError:
    assert isinstance(outcome, HeadwaterError), outcome
    return outcome


@every_dialect
@pytest.mark.parametrize("size", [1, 2, 7, 1000, None])
def test_however_it_is_cut_into_reads(recorded: Recorded, size: int | None) -> None:
    body = recorded.body
    size = size or len(body)
    reads = [body[at : at + size] for at in range(0, len(body), size)]
    assert parse(recorded, *reads) == (recorded.events, recorded.outcome)


@every_dialect
def test_each_message_brings_its_own_events_at_once(recorded: Recorded) -> None:
    """What one message brought is there with its last byte, not with the next message."""
    parser = parser_of(recorded)
    for number, (frame, (_, events)) in enumerate(
        zip(recorded.frames, recorded.steps, strict=True)
    ):
        brought = parser.feed(frame)
        if parser.closed:
            assert brought == events + recorded.closing
            assert number == len(recorded.steps) - 1
        else:
            assert brought == events
    if not parser.closed:
        assert parser.end() == recorded.closing
    assert parser.outcome == recorded.outcome


@every_dialect
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_line_ends_and_a_bom(recorded: Recorded, end: bytes) -> None:
    body = recorded.body.replace(b"\r\n", b"\n").replace(b"\n", end)
    mark = b"" if recorded.name == "ollama" else b"\xef\xbb\xbf"
    assert parse(recorded, mark + body) == (recorded.events, recorded.outcome)


@every_dialect
def test_cut_at_every_byte_every_whole_event_then_one_error(recorded: Recorded) -> None:
    body, frames = recorded.body, recorded.frames
    ends = [
        len(b"".join(frames[:n])) + len(frame.rstrip(b"\r\n")) for n, frame in enumerate(frames)
    ]
    for cut in range(len(body)):
        parser = parser_of(recorded)
        events = parser.feed(body[:cut]) + parser.end()
        if cut >= ends[recorded.told]:
            assert events == recorded.events, cut
            assert isinstance(parser.outcome, Finish)
            assert parser.outcome.reason == recorded.outcome.reason
            continue
        whole = [
            e for at, (_, es) in zip(ends, recorded.steps, strict=True) if at <= cut for e in es
        ]
        assert events == whole, cut
        code = "truncated" if cut >= ends[0] else "upstream_error"
        assert (failed(parser.outcome).code, failed(parser.outcome).retryable) == (code, True)
        assert parser.feed(body[cut:]) == [], "after its end nothing comes"


@every_dialect
def test_data_after_the_end_is_nobodys(recorded: Recorded) -> None:
    late = recorded.framed(recorded.steps[3][0])
    parser = parser_of(recorded)
    events = parser.feed(recorded.body)
    if parser.closed:
        events += parser.feed(late)
        assert (events, parser.outcome) == (recorded.events, recorded.outcome)


@every_dialect
def test_unknown_and_repeated_messages_change_nothing(recorded: Recorded) -> None:
    odd = recorded.framed({"type": "later.version", "delta": {"deep": [1]}, "index": None, "x": {}})
    first = recorded.frames[0] if recorded.name in ("openai", "responses", "anthropic") else b""
    body = first + odd.join([b"", *recorded.frames])
    assert parse(recorded, body) == (recorded.events, recorded.outcome)


#: One piece of text, spelt by the test, in each dialect.
TEXTS = {
    "openai": b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n',
    "responses": b'data: {"type":"response.output_text.delta","delta":"%s"}\n\n',
    "anthropic": b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}\n\n',
    "gemini": b'data: {"candidates":[{"content":{"parts":[{"text":"%s"}]}}]}\n\n',
    "ollama": b'{"message":{"content":"%s"},"done":false}\n',
}
STOPS = {
    "openai": data(delta("stop")),
    "responses": named({"type": "response.completed", "response": {}}),
    "anthropic": named({"type": "message_stop"}),
    "gemini": data(candidate(finishReason="STOP")),
    "ollama": line({**said(done=True), "done_reason": "stop"}),
}


@every_dialect
@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ([rb"\ud83d", rb"\ude00!"], ["😀!"]),
        ([rb"a\ud83d", rb"\ude00"], ["a", "😀"]),
        ([rb"a\ud83d"], ["a", "�"]),
        ([rb"\ude00b"], ["�b"]),
        ([b"a\xffb"], ["a�b"]),
        ([b"x" * 1_000_000], ["x" * 1_000_000]),
        ([rb"a b"], ["a b"]),
    ],
    ids=["halves", "text before", "no partner", "second half alone", "not UTF-8", "1 MB", "U+2028"],
)
def test_text_as_providers_cut_it(
    recorded: Recorded, pieces: list[bytes], texts: list[str]
) -> None:
    body = b"".join(TEXTS[recorded.name] % piece for piece in pieces) + STOPS[recorded.name]
    events, outcome = parse(recorded, body)
    assert events == [TextDelta(text) for text in texts]
    assert isinstance(outcome, Finish)
    assert outcome.reason == "stop"


@every_dialect
@pytest.mark.parametrize(
    "bad",
    [b"{oops", b"null", b"7", b'"text"', b"[]", b'{"a":' + b"[" * 100_000, b'{"candidates": [7]}'],
)
def test_what_is_no_message_is_one_error(recorded: Recorded, bad: bytes) -> None:
    framed = bad + b"\n" if recorded.name == "ollama" else b"data: " + bad + b"\n\n"
    before = TEXTS[recorded.name] % b"kept"
    events, outcome = parse(recorded, before + framed + STOPS[recorded.name])
    assert events[0] == TextDelta("kept")
    if bad == b'{"candidates": [7]}' and recorded.name != "gemini":
        assert isinstance(outcome, Finish)
    else:
        assert failed(outcome).code == "upstream_error"
        assert len(events) == 1


@every_dialect
def test_a_line_without_end_is_one_error(recorded: Recorded) -> None:
    parser = parser_of(recorded)
    for _ in range(MAX_EVENT_BYTES // 1_000_000 + 2):
        parser.feed(b"x" * 1_000_000)
    assert parser.closed
    assert "endless" in failed(parser.outcome).message


@every_dialect
@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"", None, "answered nothing"),
        (b"\n\n\n", None, "answered nothing"),
        (b"<html>captcha</html>", "text/html", "web page"),
        (b"", "text/html", "web page"),
        (b"{broken", "application/json", "not JSON"),
    ],
)
def test_200_that_is_no_answer(
    recorded: Recorded, body: bytes, content_type: str | None, says: str
) -> None:
    parser = parser_of(recorded, content_type)
    assert parser.feed(body) + parser.end() == []
    if recorded.name == "ollama" and content_type == "application/json":
        says = "answered nothing"  # a line that was cut
    assert says in failed(parser.outcome).message


@every_dialect
@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "retryable", "retry_after"),
    [
        (302, {"location": "http://169.254.169.254/"}, b"", "upstream_error", False, None),
        (400, {}, b'{"error":{"message":"context too long"}}', "invalid_request", False, None),
        (401, {}, b'{"error":{"message":"sk-abcdefgh"}}', "upstream_error", False, None),
        (402, {}, b"", "upstream_error", False, None),
        (403, {}, b"", "upstream_error", False, None),
        (404, {}, b'{"error":"model not found"}', "model_not_found", False, None),
        (413, {}, b"", "too_large", False, None),
        (429, {"retry-after": "7"}, b"{}", "rate_limited", True, 7),
        (429, {"retry-after-ms": "1500", "retry-after": "9"}, b"", "rate_limited", True, 1.5),
        (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", "rate_limited", True, 0),
        (500, {}, b"<html>", "upstream_error", True, None),
        (503, {"retry-after": "2"}, b"", "upstream_error", True, 2),
        (504, {}, b"", "upstream_timeout", True, None),
        (529, {}, b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "upstream_error", True, None),
    ],
)  # fmt: skip
def test_a_status_before_the_stream(
    recorded: Recorded,
    status: int,
    headers: dict[str, str],
    body: bytes,
    code: str,
    retryable: bool,
    retry_after: float | None,
) -> None:
    error = recorded.dialect.failure("acme", status, headers, body)
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, retry_after)
    assert "sk-" not in error.message
    assert error.status != 401


#: Every shape of error inside a stream: dialect, name, frame, code, retryable.
ERRORS = [
    ("openai", "OpenAI", data({"error": {"message": "boom", "type": "server_error", "code": None}}), "upstream_error", True),
    ("openai", "vLLM, then [DONE]", data({"error": {"message": "boom", "code": 500}}) + b"data: [DONE]\n\n", "upstream_error", True),
    ("openai", "Groq", b'event: error\ndata: {"error":{"message":"boom","status_code":400}}\n\n', "invalid_request", False),
    ("openai", "Groq, beside", data({"x_groq": {"id": "r", "error": "over_capacity"}, "choices": []}), "upstream_error", True),
    ("openai", "OpenRouter, finish null", data({"error": {"code": 502, "message": "x"}, "choices": [{"delta": {"content": ""}, "finish_reason": None}]}), "upstream_error", True),
    ("openai", "OpenRouter, finish error", data({"error": {"code": 429, "message": "x"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}), "rate_limited", True),
    ("openai", "DeepSeek without room", data(delta("insufficient_system_resource")), "upstream_error", True),
    ("openai", "vLLM gave up", data(delta("abort")), "upstream_error", True),
    ("openai", "our key", data({"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}}), "upstream_error", False),
    ("responses", "error, then failed", named({"type": "error", "code": "server_error", "message": "x", "param": None}) + named({"type": "response.failed", "response": {}}), "upstream_error", True),
    ("responses", "failed alone", named({"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}}}), "rate_limited", True),
    ("responses", "invalid prompt", named({"type": "response.failed", "response": {"error": {"code": "invalid_prompt", "message": "x"}}}), "invalid_request", False),
    ("responses", "nested", named({"type": "error", "error": {"type": "invalid_request_error", "message": "x"}}), "invalid_request", False),
    ("responses", "without a type", data({"error": {"message": "x"}}), "upstream_error", True),
    ("anthropic", "overloaded", named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "upstream_error", True),
    ("anthropic", "rate limit", named({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}), "rate_limited", True),
    ("anthropic", "key", named({"type": "error", "error": {"type": "authentication_error", "message": "x"}}), "upstream_error", False),
    ("anthropic", "invalid", named({"type": "error", "error": {"type": "invalid_request_error", "message": "x"}}), "invalid_request", False),
    ("anthropic", "timeout", named({"type": "error", "error": {"type": "timeout_error", "message": "x"}}), "upstream_timeout", True),
    ("anthropic", "a proxy's", data({"error": {"message": "x"}}), "upstream_error", True),
    ("gemini", "unavailable", data({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}), "upstream_error", True),
    ("gemini", "exhausted", data({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}), "rate_limited", True),
    ("gemini", "in a list", data([{"error": {"code": 503, "message": "x"}}]), "upstream_error", True),
    ("gemini", "a call that is none", data(candidate(finishReason="MALFORMED_FUNCTION_CALL")), "upstream_error", True),
    ("gemini", "deadline", data({"error": {"code": 504, "status": "DEADLINE_EXCEEDED"}}), "upstream_timeout", True),
    ("ollama", "a line", line({"error": "an error was encountered while running the model"}), "upstream_error", True),
    ("ollama", "an object", line({"error": {"message": "x", "code": 400}}), "invalid_request", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "frame", "code", "retryable"),
    [(row[0], *row[2:]) for row in ERRORS],
    ids=[f"{row[0]}: {row[1]}" for row in ERRORS],
)
@pytest.mark.parametrize("before", [False, True], ids=["first", "after text"])
def test_an_error_inside_a_stream_latches(
    name: str, frame: bytes, code: str, retryable: bool, before: bool
) -> None:
    recorded = next(r for r in ALL if r.name == name)
    text = TEXTS[name] % b"kept" if before else b""
    parser = parser_of(recorded)
    events = parser.feed(text + frame + TEXTS[name] % b"no more" + STOPS[name])
    events += parser.end()
    assert events == ([TextDelta("kept")] if before else [])
    error = failed(parser.outcome)
    assert (error.code, error.retryable) == (code, retryable)


WHOLE = {
    "responses": {
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "whole"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "whole"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "whole"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
    },
    "ollama": {
        "message": {"content": "whole"},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 1,
        "eval_count": 2,
    },
    "openai": {
        "choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    },
}


@every_dialect
def test_an_upstream_that_ignored_stream_true(recorded: Recorded) -> None:
    body = json.dumps(WHOLE[recorded.name]).encode()
    events, outcome = parse(recorded, body, content_type="application/json")
    assert events == [TextDelta("whole")]
    assert isinstance(outcome, Finish)
    assert (outcome.reason, outcome.usage and outcome.usage.output_tokens) == ("stop", 2)


@every_dialect
def test_a_json_error_with_status_200(recorded: Recorded) -> None:
    parser = parser_of(recorded, "application/json")
    body = b'{"type":"error","error":{"message":"quota","code":"insufficient_quota"}}'
    assert parser.feed(body) + parser.end() == []
    assert failed(parser.outcome).code == "rate_limited"
    assert "quota" in failed(parser.outcome).message
