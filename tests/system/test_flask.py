"""The five lines of `examples/flask_plain` under the servers that people run Flask with."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from headwater.sse import Decoder
from headwater.testing import MODELS, STALL, Answer, Request, chat, chunk, reply
from headwater.testing import FaultyUpstream as Upstream
from tests.conftest import Figures
from tests.helpers.arrivals import Response, assert_one_by_one, request, token_times
from tests.helpers.polling import eventually
from tests.helpers.processes import headwater_serve
from tests.helpers.servers import Server, flask_run, gunicorn, waitress
from tests.server.serving import ask as whole_of
from tests.server.wires import text_of

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "flask_plain"
APP = "flask_routes:app"
TOKENS = [f"token-{number}, " for number in range(8)] + [
    "naïve ",
    "天空 ",
    "🌊",
    "\n\ndata: x",
    ".",
]
GAP_S = 0.1

#: What the upstream does, by what it is asked.
ANSWERS: dict[str, Answer] = {
    "tokens": chat(TOKENS, gap_s=GAP_S),
    "lump": chat(TOKENS),
    "cut": Answer([chunk({"content": "a"}), 0.1]),
    "broken": reply(500, {"error": {"message": "out of memory"}}),
    "stall": Answer([chunk({"content": "a"}), STALL]),
}

#: Ways to run it. All but "sync" hold many requests at once.
HOSTS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "gthread": lambda **kw: gunicorn(APP, "--threads", "8", **kw),
    "gevent": lambda **kw: gunicorn(APP, "-k", "gevent", **kw),
    "waitress": lambda **kw: waitress(APP, "--threads=8", **kw),
    "flask run": lambda **kw: flask_run(APP, **kw),
    "sync": lambda **kw: gunicorn(APP, "-k", "sync", **kw),
}

IDS = re.compile(rb"^id: (\S+)$", re.MULTILINE)


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as running:
        yield running


def environ(upstream: Upstream) -> dict[str, str]:
    return {"HEADWATER_SERVER__UPSTREAM": upstream.url}


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[tuple[str, Server]]:
    with HOSTS[request.param](cwd=HERE, environ=environ(upstream)) as server:
        yield request.param, server


@pytest.fixture
def name(host: tuple[str, Server]) -> str:
    return host[0]


@pytest.fixture
def port(host: tuple[str, Server]) -> int:
    return host[1].port


@pytest.fixture
def several(name: str) -> None:
    if name == "sync":
        pytest.skip("a sync worker answers one request at a time")


def ask(port: int, prompt: str, path: str = "/stream") -> Response:
    return request(port, path, {"prompt": prompt})


def whole(response: Response) -> bytes:
    assert response.head.status == 200, (response.head, b"".join(response))
    assert response.head.headers["content-type"] == "text/event-stream; charset=utf-8"
    return b"".join(response)


def refused(port: int, path: str, position: str | None = None, *, method: str | None = None) -> int:
    """The status of what has no stream to give."""
    headers = {"Last-Event-ID": position} if position else {}
    response = request(port, path, headers=headers, method=method)
    b"".join(response)
    return response.head.status


def begin(response: Response, tokens: int) -> tuple[bytes, Iterator[bytes]]:
    """Read until so many tokens are there; they, and the parts that follow."""
    parts, read = iter(response), b""
    while read.count(b'"token"') < tokens or not read.endswith(b"\n\n"):
        read += next(parts)
    return read, parts


def tokens(body: bytes) -> list[str]:
    datas = [message.data for message in Decoder().feed(body)]
    assert datas[-1] == b"[DONE]"
    return [json.loads(data)["token"] for data in datas[:-1]]


def after(body: bytes, position: str) -> bytes:
    """What the uncut response has behind the event with this id."""
    return body[body.index(b"\n\n", body.index(f"id: {position}\n".encode())) + 2 :]


def positions(body: bytes) -> list[str]:
    return [found.decode() for found in re.findall(rb"^id: (\S+)$", body, re.MULTILINE)]


def last_position(body: bytes) -> str:
    return positions(body)[-1]


@pytest.fixture(scope="module")
def reference(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `headwater serve` answers."""
    folder = tmp_path_factory.mktemp("serve")
    with headwater_serve("--upstream", upstream.url, cwd=folder) as port:
        return {prompt: whole(ask(port, prompt)) for prompt in ("tokens", "lump", "cut", "broken")}


@pytest.mark.parametrize("prompt", ["tokens", "lump", "cut", "broken"])
def test_the_bytes_are_those_of_the_server(
    port: int, reference: dict[str, bytes], prompt: str
) -> None:
    assert whole(ask(port, prompt)) == reference[prompt]


def test_tokens_come_one_by_one(port: int, upstream: Upstream) -> None:
    response = ask(port, "tokens")
    decoder, arrived = Decoder(), []
    for part in response:
        now = time.monotonic()
        arrived += [(now, message.data) for message in decoder.feed(part)]
    assert tokens(b"".join(b"data: %b\n\n" % data for _, data in arrived)) == TOKENS
    sent = token_times(upstream)
    assert_one_by_one([at for at, _ in arrived[:-1]], sent)
    assert response.head.headers["headwater-stream"]
    assert response.head.headers["x-accel-buffering"] == "no"


@pytest.mark.usefixtures("several")
def test_a_live_stream_is_resumed(
    port: int, upstream: Upstream, reference: dict[str, bytes]
) -> None:
    before = len(upstream.posts)
    first = ask(port, "tokens")
    read, _ = begin(first, 3)
    first.close()
    assert reference["tokens"].startswith(read)
    position = last_position(read)
    path = f"/ai/v1/streams/{first.head.headers['headwater-stream']}?wire=plain"
    resumed = whole(request(port, path, headers={"Last-Event-ID": position}))
    assert read + resumed == reference["tokens"]
    assert len(upstream.posts) == before + 1


def test_an_ended_stream_is_resumed(port: int, reference: dict[str, bytes]) -> None:
    first = ask(port, "lump")
    body = whole(first)
    path = f"/ai/v1/streams/{first.head.headers['headwater-stream']}?wire=plain"
    ids = positions(body)
    for position in (ids[0], ids[4], ids[-2]):
        resumed = whole(request(port, path, headers={"Last-Event-ID": position}))
        assert resumed == after(reference["lump"], position)
    assert whole(request(port, path)) == reference["lump"]
    assert refused(port, path, last_position(body)) == 204
    assert refused(port, path, "1-9999") == 409
    assert refused(port, path, "nonsense") == 400
    assert refused(port, "/ai/v1/streams/nope") == 404


def test_a_repeated_post_gets_the_stream_of_the_first(port: int, upstream: Upstream) -> None:
    before, key = len(upstream.posts), {"Idempotency-Key": f"key-{port}"}
    assert len({whole(request(port, "/stream", {"prompt": "lump"}, key)) for _ in range(3)}) == 1
    assert len(upstream.posts) == before + 1
    other = request(port, "/stream", {"prompt": "cut"}, key)
    other.close()
    assert other.head.status == 409


def test_a_post_with_a_position_gets_the_rest_and_begins_nothing(
    port: int, upstream: Upstream
) -> None:
    body = whole(request(port, "/stream", {"prompt": "lump"}))
    before = len(upstream.posts)
    position = {"Last-Event-ID": IDS.findall(body)[2].decode()}
    rest = whole(request(port, "/stream", {"prompt": "lump"}, position))
    assert rest
    assert body.endswith(rest)
    lost = whole(request(port, "/stream", {"prompt": "no such question"}, position))
    assert b"ask again without it" in lost
    assert len(upstream.posts) == before


@pytest.mark.usefixtures("several")
def test_delete_stops(port: int, name: str, upstream: Upstream, figures: Figures) -> None:
    response = ask(port, "stall")
    read, rest = begin(response, 1)
    asked = upstream.posts[-1]
    path = f"/ai/v1/streams/{response.head.headers['headwater-stream']}"
    stopped = time.monotonic()
    assert refused(port, path, method="DELETE") == 204
    assert b"".join([read, *rest]).endswith(b"data: [DONE]\n\n")
    upstream.wait(lambda: asked.hung_up_at is not None, 2)
    assert asked.hung_up_at is not None
    figures(f"{name}: DELETE to upstream freed", f"{asked.hung_up_at - stopped:.3f} s")
    assert refused(port, path, method="DELETE") == 204
    assert refused(port, "/ai/v1/streams/nope", method="DELETE") == 404


def test_a_reader_who_leaves_in_silence_is_noticed(
    port: int, name: str, upstream: Upstream, figures: Figures
) -> None:
    taken = []
    # The host looks every 0.2 s: one pause would measure where in that time it happens to end.
    for silence_s in (0.22, 0.27, 0.32, 0.37, 0.42):
        response = ask(port, "stall", "/cancel")
        _, parts = begin(response, 1)
        asked = upstream.posts[-1]
        time.sleep(silence_s)  # the silence itself; nothing is waited for
        held = asked.hung_up_at is None
        assert held, "it was freed while it was read"
        left = time.monotonic()
        parts.close()  # type: ignore[attr-defined]  # a generator, whose end closes the socket
        response.close()
        upstream.wait(lambda one=asked: one.hung_up_at is not None, 2)  # type: ignore[misc]
        assert asked.hung_up_at is not None
        taken.append(asked.hung_up_at - left)
    figures(
        f"{name}: silent reader gone to upstream freed, 5 times",
        f"{min(taken):.3f} to {max(taken):.3f} s",
    )


def test_a_generator_of_one_s_own(port: int) -> None:
    words = ["one ", "two ", "", "🌊 ", "\ud83d", "\ude00", " last"]
    response = request(port, "/own", {"words": words, "gap_s": 0.1})
    decoder, arrived = Decoder(), []
    for part in response:
        now = time.monotonic()
        arrived += [(now, message.data) for message in decoder.feed(part)]
    said = tokens(b"".join(b"data: %b\n\n" % data for _, data in arrived))
    assert "".join(said) == "one two 🌊 😀 last"
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(arrived)]
    assert sum(gap > 0.05 for gap in gaps) >= len(gaps) / 2, gaps


def test_a_generator_that_raises(port: int) -> None:
    body = b"".join(request(port, "/failing", {"words": ["a", "b"]}))
    datas = [message.data for message in Decoder().feed(body)]
    assert datas[:2] == [b'{"token": "a"}', b'{"token": "b"}']
    assert list(json.loads(datas[2])) == ["error"]
    assert datas[3:] == [b"[DONE]"]
    assert b"secret" not in body


def test_a_generator_is_closed_when_its_reader_leaves(
    port: int, name: str, tmp_path: Path, figures: Figures
) -> None:
    file = tmp_path / "closed"
    response = request(port, "/leaving", {"file": str(file)})
    _, parts = begin(response, 2)
    left = time.monotonic()
    parts.close()  # type: ignore[attr-defined]
    response.close()
    eventually(file.exists, "the generator is closed")
    figures(
        f"{name}: reader gone to generator closed, which yields every 0.1 s",
        f"{time.monotonic() - left:.3f} s",
    )


def test_a_generator_sees_the_request_that_it_answers(port: int) -> None:
    response = request(port, "/asked-about", {"prompt": "?"})
    assert tokens(whole(response)) == ["path: ", "/asked-about"]


def test_a_response_that_is_replaced_frees_the_provider(port: int, upstream: Upstream) -> None:
    """By a function of the app's own, which forgets to close it."""
    body = {"messages": [{"role": "user", "content": "stall"}], "stream": True}
    assert whole_of(port, "/body/openai?replaced", body).status == 418
    post = upstream.posts[-1]
    upstream.wait(lambda: post.hung_up_at is not None, 10)
    assert post.hung_up_at is not None


@pytest.mark.parametrize("prompt", [7, None, {"a": "b"}, [], ["a"], [{"role": "x"}]])
def test_a_wrong_prompt_is_a_status(port: int, prompt: object) -> None:
    response = request(port, "/stream", {"prompt": prompt})
    assert response.head.status == 400
    assert json.loads(b"".join(response))["error"]["code"] == "invalid_request"


def test_the_body_of_an_sdk_is_answered_as_it_asks(port: int) -> None:
    body = {"messages": [{"role": "user", "content": "lump"}]}
    whole = whole_of(port, "/body/openai", body)
    assert whole.json["choices"][0]["message"]["content"] == "".join(TOKENS)
    assert whole.headers["headwater-stream"]
    assert text_of("openai", whole_of(port, "/body/openai", body | {"stream": True}).body) == (
        "".join(TOKENS)
    )
    assert whole_of(port, "/body/anthropic", {"messages": 5}).status == 400


def side_by_side(port: int, readers: int) -> list[tuple[float, float, list[str]]]:
    """Ask at once; when the first and the last token came, and which they were."""

    def one(_: int) -> tuple[float, float, list[str]]:
        times, body = [], b""
        for part in ask(port, "tokens"):
            times.append(time.monotonic())
            body += part
        return times[0], times[-1], tokens(body)

    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(one, range(readers)))


def test_twenty_readers_side_by_side_on_gevent(upstream: Upstream, figures: Figures) -> None:
    with gunicorn(APP, "-k", "gevent", cwd=HERE, environ=environ(upstream)) as server:
        assert whole(ask(server.port, "lump"))  # it has started
        began = time.monotonic()
        answers = side_by_side(server.port, 20)
    assert all(said == TOKENS for _, _, said in answers)
    # Nobody waits until another has ended.
    assert max(first for first, _, _ in answers) < min(last for _, last, _ in answers)
    last = max(last for _, last, _ in answers) - began
    figures("gevent: 20 readers of an answer of 1.3 s", f"{last:.2f} s for all")
    assert last < 10 * len(TOKENS) * GAP_S


@pytest.mark.parametrize("flags", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_two_forked_workers(
    upstream: Upstream, reference: dict[str, bytes], kind: str, flags: list[str]
) -> None:
    command = ["-k", kind, "--workers", "2", "--threads", "8", *flags]
    with gunicorn(APP, *command, cwd=HERE, environ=environ(upstream)) as server:
        workers: set[str] = set()
        for _ in range(20):
            # Side by side, so that one worker does not get them all.
            with ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(lambda _: ask(server.port, "lump"), range(6)))
                bodies = list(pool.map(whole, answers))
            assert set(bodies) == {reference["lump"]}
            workers |= {answer.head.headers["worker"] for answer in answers}
            if len(workers) == 2:
                break
    assert len(workers) == 2


def test_the_example_is_what_it_says(upstream: Upstream, reference: dict[str, bytes]) -> None:
    with gunicorn("app:app", "--threads", "8", cwd=EXAMPLE, environ=environ(upstream)) as server:
        page = request(server.port, "/")
        assert page.head.status == 200
        assert b"getReader()" in b"".join(page)
        assert whole(ask(server.port, "lump")) == reference["lump"]
