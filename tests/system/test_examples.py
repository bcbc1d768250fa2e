"""Each example that serves, started as its README says: read, cut, resumed, stopped."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from headwater.adapters.heads import PLAYGROUND, SCRIPTS
from headwater.sse import Decoder
from headwater.testing import MODELS, STALL, Answer, FaultyUpstream, Request, chat, chunk
from tests.helpers.arrivals import assert_one_by_one, request, token_times
from tests.helpers.examples import example
from tests.helpers.nginx import free_port
from tests.helpers.polling import eventually
from tests.server.serving import Reader, ask, data_of, frames, ids

pytestmark = pytest.mark.system

TOKENS = [f"token-{number}, " for number in range(8)] + ["天空 ", "🌊"]
ANSWERS = {"tokens": chat(TOKENS, gap_s=0.1), "stall": Answer([chunk({"content": "a"}), STALL])}


class Served(NamedTuple):
    """Where an example answers a prompt in the plain wire, and where its streams are."""

    port: int
    post: str
    streams: str
    upstream: FaultyUpstream


#: By the folder: where a prompt goes, and where Headwater's routes are.
ROUTES = {
    "flask_plain": ("/stream", "/ai/v1/streams"),
    "flask_nginx": ("/stream", "/ai/v1/streams"),
    "django_plain": ("/stream", "/ai/v1/streams"),
    "save_to_database": ("/chats/7", "/ai/v1/streams"),
}


def answer(asked: Request) -> Answer:
    return MODELS if asked.method == "GET" else ANSWERS[asked.json["messages"][-1]["content"]]


@pytest.fixture(scope="module", params=ROUTES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with FaultyUpstream(answer) as upstream:
        environ = {
            "HEADWATER_SERVER__UPSTREAM": upstream.url,
            "DATA": str(tmp_path_factory.mktemp("data")),  # where an example keeps files
        }
        with example(request.param, environ) as server:
            yield Served(server.port, *ROUTES[request.param], upstream)


def test_tokens_come_one_by_one(served: Served) -> None:
    response = request(served.port, served.post, {"prompt": "tokens"})
    decoder, arrived = Decoder(), []
    for part in response:
        now = time.monotonic()
        arrived += [now for message in decoder.feed(part) if b'"token"' in message.data]
    sent = token_times(served.upstream)
    assert_one_by_one(arrived, sent)


def test_what_a_cut_took_is_read_from_where_it_was(served: Served) -> None:
    reader = Reader(request(served.port, served.post, {"prompt": "tokens"}))
    before = reader.until(b'"token"', 3)
    before = before[: before.rindex(b"\n\n") + 2]
    reader.leave()
    position = ids(before)[-1]
    path = f"{served.streams}/{reader.stream}?wire=plain"
    after = ask(served.port, path, headers={"Last-Event-ID": position})
    assert after.status == 200
    whole = ask(served.port, path).body
    assert before + after.body == whole
    assert data_of(frames(whole)[-1]) == b"[DONE]"


def test_the_browser_s_client_is_beside_the_streams(served: Served) -> None:
    folder = served.streams.removesuffix("/v1/streams")
    for name in SCRIPTS:
        script = ask(served.port, f"{folder}/{name}")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.body == (PLAYGROUND / name).read_bytes()
    assert ask(served.port, f"{folder}/index.html").status == 404


def test_a_stop_frees_the_upstream(served: Served) -> None:
    reader = Reader(request(served.port, served.post, {"prompt": "stall"}))
    reader.until(b'"token"')
    asked = served.upstream.posts[-1]
    stopped = ask(served.port, f"{served.streams}/{reader.stream}", method="DELETE")
    assert stopped.status == 204
    eventually(lambda: asked.freed_at is not None, "the upstream's freeing")
    assert data_of(frames(reader.rest())[-1]) == b"[DONE]"


def test_ending_the_command_ends_nginx_and_the_app() -> None:
    app = free_port()
    with example("flask_nginx", {"APP_PORT": str(app)}) as server:
        for port in (server.port, app):
            assert ask(port, "/").status == 200
        # A shell may stand before the command, and ends when that does.
        os.kill(next(iter(server.children()), server.process.pid), signal.SIGTERM)
        server.process.wait(30)
        for port in (server.port, app):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
