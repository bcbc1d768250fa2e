"""Faults 1 to 13: what an upstream does instead of beginning to answer."""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme

from headwater.testing import Answer, FaultyUpstream, chat, gzipped, limited, reply
from headwater.testing.upstream import Reach
from tests.helpers.arrivals import assert_one_by_one, events, request
from tests.server.serving import Served, ask, serving
from tests.server.wires import PATHS, is_error, outcome, text_of
from tests.server.world import WIRES, World, world

pytestmark = pytest.mark.system

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
SECRET = "sk-secret-0123456789"
TOKENS = [f"token-{number} " for number in range(10)]


def told(served: Served, status: int, code: str) -> None:
    """Every wire tells this failure in its own way, once."""
    for wire in WIRES:
        answer = ask(served.port, PATHS[wire], {**ASKED, "stream": True})
        if wire == "openai":
            assert (answer.status, answer.error["code"]) == (status, code)
        else:
            assert answer.status == 200
            assert outcome(wire, answer.body) == is_error(wire, code)


def refused(w: World, answer: Answer, wire: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and error of a request that was sent to the upstream exactly once."""
    prompt = w.plan(answer)
    reader = w.post(wire, prompt)
    body = reader.rest()
    assert w.asked(prompt).json["model"] == "test-model"
    error = json.loads(body)["error"] if wire == "openai" else w.state(reader.stream)["error"]
    return reader.head.status, reader.head.headers, error


@pytest.mark.parametrize(
    ("reach", "status", "code"),
    [("refuse", 502, "upstream_error"), ("hang", 504, "upstream_timeout")],
)
def test_fault_01_an_upstream_that_is_not_reached(
    reach: Reach, status: int, code: str, tmp_path: Path
) -> None:
    config = "[timeouts]\nconnect_s = 0.3"
    with (
        FaultyUpstream(reach=reach) as upstream,
        serving("--upstream", upstream.url, cwd=tmp_path, config=config) as served,
    ):
        began = time.monotonic()
        told(served, status, code)
        assert time.monotonic() - began < 10


def test_fault_01_a_name_that_is_not_there(tmp_path: Path) -> None:
    with serving("--upstream", "http://no-such-host.invalid/v1", cwd=tmp_path) as served:
        told(served, 502, "upstream_error")


def contexts() -> dict[str, ssl.SSLContext | None]:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(own)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return {"unknown authority": own, "no certificate": bare, "no TLS": None}


@pytest.mark.parametrize("fault", list(contexts()))
def test_fault_02_tls_that_fails_is_never_gone_round(fault: str, tmp_path: Path) -> None:
    with FaultyUpstream(tls=contexts()[fault]) as upstream:
        url = upstream.url.replace("http://", "https://")
        environ = {"HEADWATER_UPSTREAM_API_KEY": SECRET}
        with serving("--upstream", url, cwd=tmp_path, environ=environ) as served:
            told(served, 502, "upstream_error")
        assert upstream.requests == []  # neither prompt nor key has left


@pytest.mark.parametrize("status", [401, 403])
def test_fault_03_a_refused_key_is_our_502_and_nobody_sees_it(status: int, tmp_path: Path) -> None:
    said = {"error": {"message": f"Incorrect API key provided: {SECRET}.", "code": None}}
    with world(tmp_path, HEADWATER_UPSTREAM_API_KEY=SECRET) as w:
        for wire in WIRES:
            got, _, error = refused(w, reply(status, said), wire)
            assert got == (502 if wire == "openai" else 200)
            assert error["code"] == "upstream_error"
            assert SECRET not in json.dumps(error)
        assert SECRET not in w.served.output


Form = Literal["seconds", "date", "milliseconds"]


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
@pytest.mark.parametrize(("seconds", "low", "high"), [(7, 5, 7), (86_400, 120, 120)])
def test_fault_04_a_429_is_forwarded_with_its_wait(
    w: World, form: Form, seconds: int, low: int, high: int
) -> None:
    status, headers, error = refused(w, limited(seconds, form), "openai")
    assert (status, error["code"]) == (429, "rate_limited")
    assert low <= int(headers["retry-after"]) <= high


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_fault_05_a_failing_upstream_is_told_as_what_may_be_tried_again(
    w: World, status: int
) -> None:
    reader = w.whole("native", reply(status, {"error": {"message": "overloaded"}}))
    assert outcome("native", reader.body) == "upstream_error"
    assert b'"retryable":true' in reader.body


def test_fault_06_a_context_too_long_is_forwarded_in_its_own_words(w: World) -> None:
    said = "This model's maximum context length is 8192 tokens."
    status, _, error = refused(w, reply(400, {"error": {"message": said}}), "openai")
    assert (status, error["code"]) == (400, "invalid_request")
    assert said in error["message"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_07_a_redirect_is_never_followed(w: World, status: int) -> None:
    with FaultyUpstream() as elsewhere:
        answer = reply(status, {}, [("Location", f"{elsewhere.url}/chat/completions")])
        got, _, error = refused(w, answer, "openai")
        assert (got, error["code"]) == (502, "upstream_error")
        assert str(elsewhere.port) not in error["message"]
        assert elsewhere.connections == 0


HTML = Answer(
    [b"<html><title>Just a moment...</title>", b"<p>captcha " * 1000],
    headers=[("Content-Type", "text/html; charset=UTF-8")],
)


def test_fault_09_a_page_instead_of_a_stream_is_shown_to_nobody(w: World) -> None:
    for wire in WIRES:
        reader = w.whole(wire, HTML)
        assert b"captcha" not in reader.body
        assert b"Just a moment" not in reader.body


@pytest.mark.parametrize("switched_on", [False, True])
def test_fault_09_an_excerpt_of_the_page_is_in_the_log(tmp_path: Path, switched_on: bool) -> None:
    config = "[server]\nlog_upstream_errors = true\n" if switched_on else ""
    with world(tmp_path, config) as w:
        w.whole("native", HTML)
        w.served.line("Just a moment" if switched_on else r"HTTP 200: \d+ bytes", timeout_s=5)
        assert ("Just a moment" in w.served.output) == switched_on
        assert len(w.served.output) < 5000


def test_fault_11_gzip_though_identity_was_asked_comes_token_by_token(w: World) -> None:
    prompt = w.plan(gzipped(chat(TOKENS, gap_s=0.1)))
    response = request(w.port, PATHS["plain"], {"prompt": prompt})
    arrived = [(at, data["token"]) for at, data in events(response)]
    assert "".join(token for _, token in arrived) == "".join(TOKENS)
    post = w.asked(prompt)
    assert post.headers["accept-encoding"] == "identity"
    # A reader may have the last token before it is noted that it was sent.
    w.upstream.wait(lambda: post.ended_at is not None)
    # Every other write is a pause: the first is the role, the last two the finish and [DONE].
    assert_one_by_one([at for at, _ in arrived], [at for at, _ in post.sent[1 : len(TOKENS) + 1]])


def test_fault_11_a_bomb_is_not_let_off(w: World) -> None:
    """A hundred megabytes of comments in a hundred kilobytes."""
    reader = w.whole("native", gzipped(Answer([b": " + b"x" * 1_000_000 + b"\n\n"] * 100)))
    assert outcome("native", reader.body) == "upstream_error"
    assert text_of("native", w.whole("native", chat(["still here"])).body) == "still here"
