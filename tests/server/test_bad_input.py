"""What a server answers to whoever asks wrongly, or may not ask. A real server, real bytes."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import STALL, Answer, chunk
from headwater.testing import FaultyUpstream as Upstream
from headwater.testing import chat as chat_answer
from tests.server.serving import Answer as Answered
from tests.server.serving import Served, ask, ids, raw, serving
from tests.server.wires import PATHS, body_of

pytestmark = pytest.mark.system

GENERATING = ["/stream", "/v1/streams", "/v1/chat/completions"]
every_path = pytest.mark.parametrize("path", GENERATING)
MIB = 1024 * 1024
USER = [{"role": "user", "content": "hi"}]
SECRET = "sk-hidden-0123456789abcdef"

CONFIG = """
[providers.acme]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "ACME_API_KEY"
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    def answer(request: Any) -> Answer:
        if request.method == "GET":
            return Answer([b'{"data": [{"id": "test-model"}]}'], 200, (), "length")
        if "stall" in request.body.decode():
            return Answer([chunk({"content": "a"}), STALL])
        return chat_answer(["Wa", "ter"])

    with Upstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    environ = {"HEADWATER_UPSTREAM_API_KEY": SECRET}
    with serving(
        "--upstream",
        upstream.url,
        cwd=tmp_path_factory.mktemp("server"),
        config=CONFIG + '[providers.upstream]\nmembers = ["x", "x-unknown"]\n',
        environ=environ,
    ) as served:
        yield served
    assert "Traceback" not in served.output
    assert SECRET not in served.output
    lines = [line for line in served.output.splitlines() if "Invalid HTTP request" not in line]
    assert len(lines) < 10, served.output  # nobody's mistake fills our log


@pytest.fixture(scope="module")
def ended(server: Served) -> str:
    """A stream that has ended: start, two tokens, end."""
    answer = ask(server.port, "/v1/streams", {"prompt": "hi"})
    assert ids(answer.body) == ["1-1", "1-2", "1-3", "1-4"]
    return answer.headers["headwater-stream"]


def refused(
    port: int,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    *,
    status: int = 400,
    code: str = "invalid_request",
    method: str | None = None,
) -> dict[str, Any]:
    answer = ask(port, path, body, headers, method=method)
    assert (answer.status, answer.error["code"]) == (status, code), answer
    assert answer.error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    for secret in (b"Traceback", b"site-packages", SECRET.encode()):
        assert secret not in answer.body
    assert len(answer.body) < 2000
    return answer.error


# bodies


def nested(levels: int, begin: str = "[", end: str = "]") -> bytes:
    return b'{"prompt": "hi", "x": %b%b}' % (begin.encode() * levels, end.encode() * levels)


@every_path
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b"null",
        b"[]",
        b'"prompt"',
        b"1",
        b'{"prompt": "hi"} x',
        b'{"prompt": "hi",}',
        b"{'prompt': 'hi'}",
        b'{"prompt": "hi"',
        b'{prompt: "hi"}',
        b'{"prompt": "h\x00i"}',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\\ud83d"}',
        b'{"prompt": "\\x41"}',
        b'\xef\xbb\xbf{"prompt": "hi"}',
        b'{"prompt": "hi", "temperature": NaN}',
        b'{"prompt": "hi", "temperature": Infinity}',
        b'{"prompt": "hi", "temperature": 1e999}',
        b'{"prompt": "hi", "temperature": -}',
        b'{"prompt": "hi", "seed": 01}',
        b"prompt=hi",
        b"\x00",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        nested(100_000),
        nested(100_000, '{"a":', "0}"),
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_a_json_object(
    server: Served, upstream: Upstream, path: str, body: bytes
) -> None:
    before = len(upstream.posts)
    refused(server.port, path, body)
    assert len(upstream.posts) == before


@pytest.mark.parametrize("wire", PATHS)
def test_nesting_has_one_limit_everywhere(server: Served, upstream: Upstream, wire: str) -> None:
    """128 levels, the body's own included, whatever the wire reads of them."""

    def answer(levels: int, begin: str, end: str) -> Answered:
        body = json.dumps(body_of(wire, "hi", x=0))
        inner = begin * (levels - 1) + end * (levels - 1)
        return ask(server.port, PATHS[wire], body.replace('"x": 0', f'"x": {inner}').encode())

    before = len(upstream.posts)
    for levels in (129, 500, *range(950, 1005, 5), 5000):
        for begin, end in (("[", "]"), ('{"a":[', "]}")):
            refusal = answer(levels, begin, end)
            assert refusal.status == 400, (levels, refusal)
            message = refusal.json["error"]["message"]
            assert message == "The body is nested too deeply: 128 levels are the most."
    assert len(upstream.posts) == before
    for levels in (2, 127, 128):
        assert answer(levels, "[", "]").status == 200, levels


@every_path
def test_no_body_at_all(server: Served, path: str) -> None:
    refused(server.port, path, method="POST")


#: For each member what it must not be.
WRONG: dict[str, list[object]] = {
    "model": [5, True, [], {}],
    "stream": ["yes", 1, 0, [], {}],
    "temperature": ["hot", True, [], {}],
    "top_p": ["1", False, []],
    "frequency_penalty": ["1", {}],
    "presence_penalty": ["1", {}],
    "max_tokens": ["5", 1.5, True, 0, -1, []],
    "max_completion_tokens": ["5", 1.5, True, 0, -1, []],
    "seed": ["1", 1.5, True, []],
    "n": [True, False, 2, 0, -1, 1_000_000, 10**30, 1.5, "1", [1], {}],
    "base_url": ["http://169.254.169.254/latest", None, ""],
    "api_base": ["http://127.0.0.1:9", None],
    "api_key": ["sk-theirs", None],
    "messages": [
        "hi",
        {},
        [],
        5,
        ["hi"],
        [None],
        [[]],
        [{}],
        [{"role": "user"}],
        [{"content": "hi"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": {}}],
        [{"role": "alien", "content": "hi"}],
        [{"role": 5, "content": "hi"}],
        [{"role": ["user"], "content": "hi"}],
        [{"role": "user", "content": "hi"}] * 20_000,
    ],
}


@every_path
@pytest.mark.parametrize(
    ("member", "value"),
    [
        pytest.param(member, value, id=f"{member}={repr(value)[:50]}")
        for member, values in WRONG.items()
        for value in values
    ],
)
def test_members_of_the_wrong_type(
    server: Served, upstream: Upstream, path: str, member: str, value: object
) -> None:
    before = len(upstream.posts)
    error = refused(server.port, path, {"messages": USER, member: value})
    assert error["param"].startswith(member)
    assert member in error["message"]
    assert len(upstream.posts) == before


@pytest.mark.parametrize("path", ["/stream", "/v1/streams"])
@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "hi", "messages": USER},
        {"temperature": 1},
        {"prompt": None, "messages": None},
        {"prompt": 5},
        {"prompt": True},
        {"prompt": []},
        {"prompt": ["hi"]},
        {"prompt": {"text": "hi"}},
    ],
)
def test_exactly_one_of_prompt_and_messages(server: Served, path: str, body: object) -> None:
    assert refused(server.port, path, body)["param"] == "prompt"


def test_chat_completions_wants_messages(server: Served) -> None:
    path = "/v1/chat/completions"
    bodies: list[dict[str, Any]] = [{"prompt": "hi"}, {"messages": None}, {"model": "test-model"}]
    for body in bodies:
        assert refused(server.port, path, body)["param"] == "messages"
    wrong: list[Any] = [5, [], "yes"]
    for value in wrong:
        error = refused(server.port, path, {"messages": USER, "stream_options": value})
        assert error["param"] == "stream_options"


@every_path
@pytest.mark.parametrize(
    "members",
    [
        {"n": 1},
        {"n": None},
        {"temperature": 1, "top_p": 0.5, "max_tokens": 5, "seed": 7, "stop": ["x"]},
        {"user": "me", "stream": True},
        {"temperature": None, "stream": None, "model": None},
        {"x-unknown": {"a": [1, None, 1e300]}},
    ],
)
def test_what_is_right_passes(
    server: Served, upstream: Upstream, path: str, members: dict[str, Any]
) -> None:
    """Members that the operator allows go on, too."""
    answer = ask(server.port, path, {"messages": USER, **members})
    assert answer.status == 200
    sent = upstream.posts[-1].json
    for name, value in members.items():
        if name not in ("stream", "model", "n"):
            assert sent[name] == value
    assert sent["stream"] is True
    assert sent["model"] == "test-model"


@every_path
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_curl_d_works_whatever_its_content_type(server: Served, path: str, kind: str) -> None:
    answer = ask(server.port, path, {"messages": USER}, {"Content-Type": kind})
    assert answer.status == 200


# size


@every_path
def test_a_body_that_is_too_large_by_its_length(
    server: Served, upstream: Upstream, path: str
) -> None:
    before = len(upstream.posts)
    body = b'{"prompt": "' + b"a" * (10 * MIB + 1 - 14) + b'"}'
    assert len(body) == 10 * MIB + 1
    error = refused(server.port, path, body, status=413, code="too_large")
    assert "max_body_bytes" in error["message"]
    # The length alone is enough: nothing is waited for.
    head = {"Content-Length": str(1 << 40), "Expect": "100-continue"}
    assert ask(server.port, path, b"{", head).status == 413
    assert len(upstream.posts) == before


@every_path
def test_a_body_that_is_too_large_in_chunks(server: Served, path: str) -> None:
    chunk_ = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    body = chunk_ * (10 * MIB // 0x10000) + b"1\r\na\r\n" + b"0\r\n\r\n"
    headers = {"Transfer-Encoding": "chunked"}
    refused(server.port, path, body, headers, status=413, code="too_large")


@every_path
def test_a_body_as_large_as_it_may_be(server: Served, path: str) -> None:
    begin, end = b'{"messages": [{"role": "user", "content": "hi"}], "x": "', b'"}'
    body = begin + b"a" * (10 * MIB - len(begin) - len(end)) + end
    assert ask(server.port, path, body).status == 200


@every_path
def test_a_body_that_never_comes_whole(server: Served, upstream: Upstream, path: str) -> None:
    before = len(upstream.posts)
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        sock.sendall(head.encode() + b'{"prompt": "hi"')
    ask(server.port, "/healthz")
    assert len(upstream.posts) == before


def test_limits_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    config = "[server]\nmax_body_bytes = 40"
    with serving("--upstream", upstream.url, cwd=tmp_path, config=config) as served:
        assert ask(served.port, "/stream", b'{"prompt": "%b"}' % (b"a" * 26)).status == 200
        refused(
            served.port,
            "/stream",
            b'{"prompt": "%b"}' % (b"a" * 27),
            status=413,
            code="too_large",
        )


# heads


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 70_000, 431, id="one header"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n" + b"X: aaaaaaaaaaaa\r\n" * 6000, 431, id="many"),
        pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 431, id="the path"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nno colon", 400, id="no header"),
        pytest.param(b"hello", 400, id="no HTTP"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\x00b", 400, id="NUL"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nContent-Length: -1", 400, id="length"),
        pytest.param(
            b"POST /stream HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
            400,
            id="smuggling",
        ),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\nX: b\r c", 400, id="CR in a value"),
    ],
)
def test_heads_that_are_refused(server: Served, head: bytes, status: int) -> None:
    answer = raw(server.port, head + b"\r\n\r\n")
    assert answer.status == status
    assert answer.error["code"] == "invalid_request"


def test_large_headers_below_the_bound_pass(server: Served) -> None:
    headers = {f"X-{number}": "a" * 1000 for number in range(50)}
    assert ask(server.port, "/healthz", headers=headers).status == 200


# what is not there


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "not_found"),
        ("GET", "/v1/none", 404, "not_found"),
        ("POST", "/v1", 404, "not_found"),
        ("GET", "/v1/streams/none/more", 404, "not_found"),
        ("GET", "/%00", 404, "not_found"),
        ("GET", "/../../etc/passwd", 404, "not_found"),
        ("GET", "/assets/none.js", 404, "not_found"),
        ("GET", "/assets/", 404, "not_found"),
        ("GET", "/assets/../../settings/schema.py", 404, "not_found"),
        ("GET", "/assets/%2e%2e/%2e%2e/settings/schema.py", 404, "not_found"),
        ("GET", "/v1/streams/none", 404, "not_found"),
        ("GET", "/v1/streams/%0d%0aX-Evil:%201", 404, "not_found"),
        ("GET", "/v1/streams/" + "a" * 10_000, 404, "not_found"),
        ("DELETE", "/v1/streams/none", 404, "not_found"),
    ],
)
def test_what_is_not_there(server: Served, method: str, path: str, status: int, code: str) -> None:
    refused(server.port, path, status=status, code=code, method=method)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/stream"),
        ("PUT", "/stream"),
        ("DELETE", "/v1/streams"),
        ("PATCH", "/v1/streams"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/streams/some"),
        ("POST", "/healthz"),
        ("POST", "/v1/models"),
        ("POST", "/"),
        ("POST", "/assets/a.js"),
        ("BREW", "/stream"),
    ],
)
def test_the_wrong_method(server: Served, method: str, path: str) -> None:
    answer = ask(server.port, path, method=method)
    if method == "BREW" and answer.status == 400:  # the HTTP parser may not know it either
        return
    assert answer.status == 405
    assert answer.error["code"] == "invalid_request"
    assert answer.headers.get("allow"), "RFC 9110, 15.5.6: a 405 names what is allowed"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/v1/models", "/v1/streams", "/none"])
def test_every_answer_has_a_request_id(server: Served, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE"):
        answer = ask(server.port, path, method=method)
        assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["x-request-id"]), method


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-DEF_1.2", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        ("<script>", False),
        ("a\tb", False),
        ("ä", False),
        ("", False),
    ],
)
def test_a_request_id_of_the_callers(server: Served, ended: str, given: str, kept: bool) -> None:
    headers = {"X-Request-Id": given}
    for path in ("/healthz", "/none", f"/v1/streams/{ended}", f"/v1/streams/{ended}?after=1-4"):
        answer = ask(server.port, path, headers=headers)
        assert (answer.headers["x-request-id"] == given) == kept
        if answer.status == 404:
            assert answer.error["request_id"] == answer.headers["x-request-id"]


# models


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without an upstream and without any key."""
    cwd = tmp_path_factory.mktemp("bare")
    environ = {"XDG_CACHE_HOME": str(cwd), "HEADWATER_CACHE": str(cwd)}
    with serving(cwd=cwd, config=CONFIG, environ=environ) as served:
        yield served


@every_path
@pytest.mark.parametrize(
    ("name", "nearest"), [("deepseek-chatt", "deepseek-chat"), ("no such thing", "smollm2-135m")]
)
def test_an_unknown_model_names_the_nearest(
    bare: Served, path: str, name: str, nearest: str
) -> None:
    body = {"messages": USER, "model": name}
    error = refused(bare.port, path, body, status=404, code="model_not_found")
    assert error["param"] == "model"
    assert nearest in error["message"] or name == "no such thing"
    assert re.search(r"nearest are \S+", error["message"])


@every_path
@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("acme/anything", "ACME_API_KEY"),
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("deepseek-flash", "DEEPSEEK_API_KEY"),
    ],
)
def test_a_provider_without_a_key_names_the_variable(
    bare: Served, path: str, name: str, variable: str
) -> None:
    body = {"messages": USER, "model": name}
    error = refused(bare.port, path, body, status=503, code="provider_not_configured")
    assert variable in error["message"]


@every_path
def test_no_model_at_all_names_both_remedies(bare: Served, path: str) -> None:
    answer = ask(bare.port, path, {"messages": USER})
    if answer.status == 200:
        pytest.skip("the embedded model is here")
    error = refused(bare.port, path, {"messages": USER}, status=503, code="provider_not_configured")
    assert "models pull" in error["message"]
    assert "_API_KEY" in error["message"]


@every_path
@pytest.mark.parametrize("name", ["", "a" * 256, "a/b/c", "\u2028", "../../x", "x\r\nX: 1"])
def test_odd_model_names(bare: Served, path: str, name: str) -> None:
    body = {"messages": USER, "model": name}
    refused(bare.port, path, body, status=404, code="model_not_found")


# controls


@every_path
@pytest.mark.parametrize(
    "value",
    [
        "maybe",
        "",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e9",
        "86401",
        "0x10",
        "5s",
        "cancel, continue",
        "é",
    ],
)
def test_headwater_on_disconnect_garbage(
    server: Served, upstream: Upstream, path: str, value: str
) -> None:
    before = len(upstream.posts)
    headers = {"Headwater-On-Disconnect": value}
    error = refused(server.port, path, {"messages": USER}, headers)
    assert error["param"] == "Headwater-On-Disconnect"
    assert len(upstream.posts) == before


@every_path
@pytest.mark.parametrize("value", ["cancel", "continue", "0", "5", "0.5", "86400"])
def test_headwater_on_disconnect(server: Served, path: str, value: str) -> None:
    headers = {"Headwater-On-Disconnect": value}
    assert ask(server.port, path, {"messages": USER}, headers).status == 200


@pytest.mark.parametrize("wire", ["xml", "", "NATIVE", "native,plain", "a" * 5000, "%0d%0a"])
def test_a_wire_that_is_not_there(server: Served, ended: str, wire: str) -> None:
    error = refused(server.port, f"/v1/streams/{ended}?wire={wire}")
    assert error["param"] == "wire"
    assert "native" in error["message"]


POSITIONS = [
    ("garbage", 400, "invalid_request"),
    ("1", 400, "invalid_request"),
    ("1-", 400, "invalid_request"),
    ("-1", 400, "invalid_request"),
    ("1-2-3", 400, "invalid_request"),
    ("-1-2", 400, "invalid_request"),
    ("1--2", 400, "invalid_request"),
    ("+1-2", 400, "invalid_request"),
    ("1.0-2", 400, "invalid_request"),
    ("1e0-2", 400, "invalid_request"),
    ("0x1-2", 400, "invalid_request"),
    ("1-2 1-3", 400, "invalid_request"),
    ("null", 400, "invalid_request"),
    ("*", 400, "invalid_request"),
    ("$", 400, "invalid_request"),
    ("1-" + "9" * 20, 400, "invalid_request"),
    ("9" * 60_000 + "-1", 400, "invalid_request"),
    ("1-" + "9" * 19, 409, "position_lost"),
    ("9" * 19 + "-1", 409, "position_lost"),
    ("1-5", 409, "position_lost"),
    ("2-1", 409, "position_lost"),
    ("2-4", 409, "position_lost"),
    ("1-0", 409, "position_lost"),
    ("0-1", 409, "position_lost"),
    ("0-4", 409, "position_lost"),
    ("0-0", 409, "position_lost"),
]


@pytest.mark.parametrize("by", ["header", "query"])
@pytest.mark.parametrize(
    ("position", "status", "code"), POSITIONS, ids=lambda value: repr(value)[:24]
)
def test_positions_that_are_not_in_the_log(
    server: Served, ended: str, by: str, position: str, status: int, code: str
) -> None:
    """Never a silent jump to a place that the client did not name."""
    path, headers = f"/v1/streams/{ended}", {}
    if by == "header":
        headers["Last-Event-ID"] = position
    else:
        path += f"?after={position.replace('+', '%2B').replace(' ', '%20')}"
    for wire in ("native", "plain", "openai"):
        query = f"{'&' if '?' in path else '?'}wire={wire}"
        refused(server.port, path + query, headers=headers, status=status, code=code)


@pytest.mark.parametrize("bytes_", [b"1-2\x00", b"1-2\rX: 1", b"1\x00-2", b"\x011-2", b"1-2\xff"])
def test_a_last_event_id_with_bytes_that_no_position_has(
    server: Served, ended: str, bytes_: bytes
) -> None:
    head = b"GET /v1/streams/%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = raw(server.port, head % ended.encode() + b"Last-Event-ID: " + bytes_ + b"\r\n\r\n")
    assert answer.status == 400
    assert answer.error["code"] == "invalid_request"


@pytest.mark.parametrize(
    "text", ["1-2%0d%0aX:%201", "1-2%00", "1-2%0A", "%D9%A1-2", "1-2%E2%80%A8"]
)
def test_a_position_in_the_query_with_characters_that_no_position_has(
    server: Served, ended: str, text: str
) -> None:
    refused(server.port, f"/v1/streams/{ended}?after={text}")


def test_a_position_of_another_stream(server: Served, ended: str) -> None:
    """It is valid where the log has it and lost where not; the stream is the path's."""
    other = ask(server.port, "/v1/streams", {"prompt": "hi"})
    answer = ask(server.port, f"/v1/streams/{ended}", headers={"Last-Event-ID": "1-3"})
    assert ids(answer.body) == ["1-4"]
    assert other.headers["headwater-stream"].encode() not in answer.body


def test_at_the_end_there_is_no_content(server: Served, ended: str) -> None:
    for wire in ("native", "plain", "openai"):
        for headers, query in (({"Last-Event-ID": "1-4"}, ""), ({}, "&after=1-4")):
            path = f"/v1/streams/{ended}?wire={wire}{query}"
            answer = ask(server.port, path, headers=headers)
            assert (answer.status, answer.body) == (204, b"")
            assert answer.headers["headwater-stream"] == ended


# who may ask


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/v1/streams", "/stream", "/none"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "[::2]", ""],
)
def test_a_host_that_is_not_ours(server: Served, path: str, host: str) -> None:
    """A page that rebinds its own name to 127.0.0.1."""
    body = {"messages": USER} if path == "/stream" else None
    error = refused(server.port, path, body, {"Host": host}, status=403, code="forbidden")
    assert "allowed_hosts" in error["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]", "[::1]:80"])
def test_hosts_that_always_pass(server: Served, host: str) -> None:
    assert ask(server.port, "/v1/models", headers={"Host": host}).status == 200


CROSS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "CROSS-SITE"},
    {"Sec-Fetch-Site": "garbage"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://127.0.0.1@evil.example"},
    {"Origin": "\xff"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://127.0.0.1"},  # another port of this machine
    {"Origin": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("headers", CROSS, ids=repr)
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_page_of_another_site(
    server: Served, upstream: Upstream, headers: dict[str, str], kind: str
) -> None:
    before = len(upstream.posts)
    headers = {**headers, "Content-Type": kind}
    for method, path in (
        ("POST", "/stream"),
        ("POST", "/v1/streams"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/streams"),
        ("GET", "/v1/streams/none"),
        ("DELETE", "/v1/streams/none"),
        ("GET", "/v1/models"),
    ):
        body = {"messages": USER} if method == "POST" else None
        refused(server.port, path, body, headers, status=403, code="forbidden", method=method)
    assert len(upstream.posts) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Origin": "http://127.0.0.1:PORT"},
        {},
    ],
)
def test_our_own_page(server: Served, headers: dict[str, str]) -> None:
    headers = {name: value.replace("PORT", str(server.port)) for name, value in headers.items()}
    assert ask(server.port, "/stream", {"prompt": "hi"}, headers).status == 200


def test_cors_and_allowed_hosts(upstream: Upstream, tmp_path: Path) -> None:
    config = """
        [server]
        cors_origins = ["https://app.example.com"]
        allowed_hosts = ["headwater.example.com"]
    """
    with serving("--upstream", upstream.url, cwd=tmp_path, config=config) as served:
        host = {"Host": "headwater.example.com"}
        ours = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site", **host}
        preflight = {
            "Access-Control-Request-Method": "DELETE",
            "Access-Control-Request-Headers": "last-event-id,idempotency-key,"
            "headwater-on-disconnect,content-type,authorization",
        }
        answer = ask(served.port, "/v1/streams/x", headers={**ours, **preflight}, method="OPTIONS")
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert "x-request-id" in answer.headers
        for path, body in (("/stream", {"prompt": "hi"}), ("/stream", {}), ("/none", None)):
            answer = ask(served.port, path, body, ours)
            assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
            exposed = answer.headers["access-control-expose-headers"].lower()
            assert set(exposed.split(", ")) >= {"headwater-stream", "x-request-id", "retry-after"}
            assert "access-control-allow-credentials" not in answer.headers
        theirs = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", **host}
        answer = ask(served.port, "/stream", {"prompt": "hi"}, theirs)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
        assert ask(served.port, "/v1/models", headers=host).status == 200
        assert ask(served.port, "/v1/models", headers={"Host": "other.example"}).status == 403


PROXIED = [
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-Host": "example.com"},
    {"X-Forwarded-Proto": "https"},
    {"X-Real-IP": "203.0.113.9"},
    {"Forwarded": "for=203.0.113.9"},
    {"x-forwarded-for": ""},
    {"X-Forwarded-Port": "443"},
]


@pytest.mark.parametrize("headers", PROXIED, ids=repr)
def test_whoever_comes_through_a_proxy_wants_a_key(
    server: Served, upstream: Upstream, ended: str, headers: dict[str, str]
) -> None:
    before = len(upstream.posts)
    refusal: Any = {"status": 401, "code": "unauthorized", "headers": headers}
    for path in GENERATING:
        error = refused(server.port, path, {"messages": USER}, **refusal)
        assert "auth.keys" in error["message"]
    refused(server.port, f"/v1/streams/{ended}", **refusal)
    refused(server.port, f"/v1/streams/{ended}", method="DELETE", **refusal)
    refused(server.port, "/v1/streams", **refusal)
    refused(server.port, "/v1/models", **refusal)
    assert ask(server.port, "/healthz", headers=headers).status == 200
    assert len(upstream.posts) == before


def test_credentials_are_ignored_and_never_forwarded_without_keys(
    server: Served, upstream: Upstream
) -> None:
    headers = {"Authorization": "Bearer theirs", "x-api-key": "theirs", "Cookie": "a=theirs"}
    assert ask(server.port, "/stream", {"prompt": "hi"}, headers).status == 200
    sent = upstream.posts[-1].headers
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert "theirs" not in str(sent)


# keys

ALICE, BOB = "alice-key-1", "bob-key-2"


@pytest.fixture(scope="module")
def keyed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = f"""
        [auth.keys]
        alice = "env:ALICE_KEY"
        bob = "sha256:{hashlib.sha256(BOB.encode()).hexdigest()}"
    """
    with serving(
        "--upstream",
        upstream.url,
        cwd=tmp_path_factory.mktemp("keyed"),
        config=config,
        environ={"ALICE_KEY": ALICE},
    ) as served:
        yield served
    assert ALICE not in served.output
    assert BOB not in served.output


RIGHT = [
    {"Authorization": f"Bearer {ALICE}"},
    {"authorization": f"bearer {ALICE}"},
    {"AUTHORIZATION": f"BEARER  {ALICE}"},
    {"x-api-key": ALICE},
    {"X-Api-Key": BOB},
    {"Authorization": "Basic Zm9vOmJhcg==", "x-api-key": ALICE},
    {"Authorization": f"Bearer {BOB}", "X-Forwarded-For": "203.0.113.9"},
]
WRONG_KEYS = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer \xa0"},
    {"Authorization": ALICE},
    {"Authorization": f"Basic {ALICE}"},
    {"Authorization": f"Bearer {ALICE}x"},
    {"Authorization": f"Bearer {ALICE[:-1]}"},
    {"Authorization": f"Bearer {ALICE.upper()}"},
    {"Authorization": "Bearer env:ALICE_KEY"},
    {"Authorization": f"Bearer {hashlib.sha256(BOB.encode()).hexdigest()}"},
    {"Authorization": f"Bearer sha256:{hashlib.sha256(BOB.encode()).hexdigest()}"},
    {"Authorization": "Bearer \xe4\xf6\xfc"},
    {"x-api-key": ""},
    {"x-api-key": "alice"},
    {"Cookie": f"key={ALICE}"},
    {"X-Forwarded-User": "alice"},
]


@pytest.mark.parametrize("headers", RIGHT, ids=repr)
def test_keys(keyed: Served, headers: dict[str, str]) -> None:
    assert ask(keyed.port, "/stream", {"prompt": "hi"}, headers).status == 200
    assert ask(keyed.port, "/v1/streams", headers=headers).status == 200


@pytest.mark.parametrize("headers", WRONG_KEYS, ids=repr)
def test_no_key_no_answer(keyed: Served, upstream: Upstream, headers: dict[str, str]) -> None:
    before = len(upstream.posts)
    refusal: Any = {"status": 401, "code": "unauthorized", "headers": headers}

    def refusal_of(method: str, path: str, body: object) -> str:
        message: str = refused(keyed.port, path, body, method=method, **refusal)["message"]
        return message

    requests: list[tuple[str, str, object]] = [
        *(("POST", path, {"messages": USER}) for path in GENERATING),
        *(("POST", path, b"{") for path in GENERATING),  # nothing is learnt about the request
        *(("GET", path, None) for path in ("/v1/models", "/v1/streams", "/v1/streams/none")),
        ("DELETE", "/v1/streams/none", None),
    ]
    with ThreadPoolExecutor(len(requests)) as at_once:  # each waits for its own answer
        for message in at_once.map(lambda request: refusal_of(*request), requests):
            assert all(len(value) < 8 or value not in message for value in headers.values())
    assert len(upstream.posts) == before


@pytest.mark.parametrize(
    "path",
    ["/", *(f"/headwater{part}.js" for part in ("", "-tabs", "-element")), "/healthz", "/readyz"],
)
def test_what_stays_open_with_keys(keyed: Served, path: str) -> None:
    assert ask(keyed.port, path).status == 200


def test_anothers_stream_is_as_unknown_as_none(keyed: Served, upstream: Upstream) -> None:
    alice, bob = ({"x-api-key": key} for key in (ALICE, BOB))
    ended = ask(keyed.port, "/v1/streams", {"prompt": "hi"}, alice).headers["headwater-stream"]
    sock = socket.create_connection(("127.0.0.1", keyed.port), 10)
    body = json.dumps({"prompt": "stall"}).encode()
    head = f"POST /v1/streams HTTP/1.1\r\nHost: a\r\nx-api-key: {ALICE}\r\n"
    sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    with sock:
        upstream.wait(lambda: any(b"stall" in post.body for post in upstream.posts))
        listed = ask(keyed.port, "/v1/streams", headers=alice).json["data"]
        running = listed[0]["stream"]
        assert listed[0]["status"] == "running"
        assert ended in [entry["stream"] for entry in listed]
        none = "0" * 32
        for method, suffix, headers in (
            ("GET", "", {}),
            ("GET", "?wire=plain", {}),
            ("GET", "", {"Accept": "application/json"}),
            ("GET", "", {"Last-Event-ID": "1-1"}),
            ("GET", "", {"Last-Event-ID": "1-4"}),
            ("GET", "?after=1-99", {}),
            ("GET", "?after=garbage", {}),
            ("HEAD", "", {}),
            ("DELETE", "", {}),
        ):
            answers = [
                ask(
                    keyed.port,
                    f"/v1/streams/{it}{suffix}",
                    headers={**bob, **headers},
                    method=method,
                )
                for it in (running, ended, none)
            ]
            shown = [(a.status, re.sub(rb"req_\w+|[0-9a-f]{32}", b"", a.body)) for a in answers]
            assert len(set(shown)) == 1, (method, suffix, headers)
            assert shown[0][0] == 404, (method, suffix, headers)
            assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
        assert ask(keyed.port, "/v1/streams", headers=bob).json["data"] == [
            entry
            for entry in ask(keyed.port, "/v1/streams", headers=bob).json["data"]
            if entry["stream"] not in (running, ended)
        ]
        [entry] = [
            entry
            for entry in ask(keyed.port, "/v1/streams", headers=alice).json["data"]
            if entry["stream"] == running
        ]
        assert entry["status"] == "running"  # the stranger's DELETE stopped nothing
        stopped = ask(keyed.port, f"/v1/streams/{running}", headers=alice, method="DELETE")
        assert stopped.status == 204
        assert "x-request-id" in stopped.headers
