"""Django's views under the servers that people run it with, WSGI and ASGI."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from headwater.sse import Decoder
from headwater.testing import DONE, MODELS, STALL, Answer, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.helpers.arrivals import assert_one_by_one, request, token_times
from tests.helpers.servers import Server, gunicorn, uvicorn, waitress
from tests.server.serving import Reader, ask, ids
from tests.server.wires import outcome, text_of

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
TOKENS = [f"token-{number}, " for number in range(6)] + ["naïve ", "天空 ", "🌊", "."]
BOUND_S = 10.0
STARTED, LEFT = threading.Event(), threading.Event()
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=0.1),
    "limited": reply(429, {}, [("Retry-After", "30")]),
    "broken": Answer([chunk({"content": "a"}), 0.1]),
    "stall": Answer([chunk({"content": "a"}), STALL]),
    "gated": Answer([STARTED, chunk({"content": "a"}), LEFT, chunk({"content": "b"}), DONE]),
}
HOSTS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "gthread": lambda **kw: gunicorn("django_routes:wsgi", "--threads", "8", **kw),
    "gevent": lambda **kw: gunicorn("django_routes:wsgi", "-k", "gevent", **kw),
    "waitress": lambda **kw: waitress("django_routes:wsgi", "--threads=8", **kw),
    "uvicorn": lambda **kw: uvicorn("django_routes:asgi", **kw),
}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as running:
        yield running


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[tuple[str, int]]:
    environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
    with HOSTS[request.param](cwd=HERE, environ=environ) as server:
        yield request.param, server.port


@pytest.fixture
def port(host: tuple[str, int]) -> int:
    return host[1]


@pytest.fixture(params=["/stream", "/async"])
def path(request: pytest.FixtureRequest, host: tuple[str, int]) -> str:
    if request.param == "/async" and host[0] != "uvicorn":
        pytest.skip("a coroutine under WSGI is run in a loop of its own by Django")
    return str(request.param)


def test_tokens_come_one_by_one_whatever_middleware_is_there(
    port: int, path: str, upstream: Upstream
) -> None:
    response = request(port, path, {"prompt": "tokens"}, {"Accept-Encoding": "gzip"})
    assert response.head.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-encoding" not in response.head.headers
    decoder, arrived = Decoder(), []
    for part in response:
        now = time.monotonic()
        arrived += [now for message in decoder.feed(part) if b'"token"' in message.data]
    sent = token_times(upstream)
    assert_one_by_one(arrived, sent)


def test_errors_are_statuses_or_in_the_stream(port: int, path: str) -> None:
    limited = ask(port, "/openai", {"prompt": "limited"})
    assert (limited.status, limited.headers["retry-after"]) == (429, "30")
    body = ask(port, path, {"prompt": "broken"}).body
    assert (text_of("plain", body), outcome("plain", body)) == ("a", "error")
    assert ask(port, path, {"prompt": {}}).status == 400


def test_a_repeated_post_gets_the_stream_of_the_first(
    port: int, path: str, upstream: Upstream
) -> None:
    before, key = len(upstream.posts), {"Idempotency-Key": f"key-{port}"}
    first, again = (ask(port, path, {"prompt": "tokens"}, key) for _ in range(2))
    assert first.body == again.body
    assert len(upstream.posts) == before + 1
    assert ask(port, path, {"prompt": "broken"}, key).status == 409


def test_a_post_with_a_position_gets_the_rest_and_begins_nothing(
    port: int, path: str, upstream: Upstream
) -> None:
    body = ask(port, path, {"prompt": "tokens"}).body
    before = len(upstream.posts)
    position = {"Last-Event-ID": ids(body)[2]}
    rest = ask(port, path, {"prompt": "tokens"}, position).body
    assert rest
    assert body.endswith(rest)
    lost = ask(port, path, {"prompt": "no such question"}, position).body
    assert b"ask again without it" in lost
    assert len(upstream.posts) == before


def test_a_reader_resumes_and_stops(port: int, path: str, upstream: Upstream) -> None:
    body = ask(port, path, {"prompt": "tokens"})
    stream = f"/ai/v1/streams/{body.headers['headwater-stream']}"
    position = ids(body.body)[3]
    rest = ask(port, f"{stream}?wire=plain", headers={"Last-Event-ID": position}).body
    assert body.body.endswith(rest)
    assert rest.count(b'"token"') == body.body.count(b'"token"') - 4
    state = ask(port, stream, headers={"Accept": "application/json"}).json
    assert (state["text"], state["status"]) == ("".join(TOKENS), "done")
    assert ask(port, stream, headers={"Last-Event-ID": ids(body.body)[-1]}).status == 204
    reader = Reader(request(port, path, {"prompt": "stall"}, timeout_s=BOUND_S))
    reader.until(b'"token"')
    assert ask(port, f"/ai/v1/streams/{reader.stream}", method="DELETE").status == 204
    assert outcome("plain", reader.rest()) == "done"
    assert ask(port, "/ai/v1/streams/none", method="DELETE").status == 404
    assert ask(port, "/ai/v1/streams/none", method="PUT").status == 405


def test_the_body_of_an_sdk_is_answered_as_it_asks(port: int) -> None:
    body = {"messages": [{"role": "user", "content": "tokens"}]}
    whole = ask(port, "/body/openai", body)
    assert whole.json["choices"][0]["message"]["content"] == "".join(TOKENS)
    assert whole.headers["headwater-stream"]
    assert text_of("openai", ask(port, "/body/openai", body | {"stream": True}).body) == (
        "".join(TOKENS)
    )
    assert ask(port, "/body/anthropic", {"messages": 5}).status == 400


def test_who_leaves_frees_the_provider(port: int, upstream: Upstream) -> None:
    reader = Reader(request(port, "/cancel", {"prompt": "stall"}, timeout_s=BOUND_S))
    reader.until(b'"token"')
    post = upstream.posts[-1]
    reader.leave()
    upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)


def test_a_response_that_middleware_replaces_frees_the_provider(
    port: int, upstream: Upstream
) -> None:
    assert ask(port, "/openai?replaced", {"prompt": "stall"}).status == 418
    post = upstream.posts[-1]
    upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)
    assert post.hung_up_at is not None


def test_who_leaves_cuts_nobody_else_on_greenlets_of_an_app_that_is_older(
    upstream: Upstream,
) -> None:
    """With `--preload` the app is imported before gevent has patched threads."""
    flags = ["-k", "gevent", "--preload"]
    environ = {"HEADWATER_SERVER__UPSTREAM": upstream.url}
    with gunicorn("django_routes:wsgi", *flags, cwd=HERE, environ=environ) as server:
        before = len(upstream.posts)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, server.port, "/openai", {"prompt": "gated"})
            upstream.wait(lambda: len(upstream.posts) > before, BOUND_S)
            other = Reader(request(server.port, "/cancel", {"prompt": "stall"}, timeout_s=BOUND_S))
            other.until(b'"token"')
            STARTED.set()  # the response of the first request is made after another has begun
            post = upstream.posts[-1]
            other.leave()
            upstream.wait(lambda: post.hung_up_at is not None, BOUND_S)
            time.sleep(0.5)  # as long as it may take to look at the wrong socket
            LEFT.set()
            assert text_of("openai", first.result().body) == "ab"
