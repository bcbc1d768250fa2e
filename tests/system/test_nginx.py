from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.cli.proxy_config import configuration
from headwater.cli.proxy_config.site import site
from headwater.testing import CUT, STALL, Answer, Request, chat, chunk
from headwater.testing import FaultyUpstream as Upstream
from tests.helpers.arrivals import Response, assert_one_by_one, events, request, status, token_times
from tests.helpers.nginx import nginx, write
from tests.helpers.processes import HEADWATER, headwater_serve

pytestmark = pytest.mark.system

TOKENS = [f"token-{number} " for number in range(20)]
GAP_S = 0.1


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(chat(TOKENS, gap_s=GAP_S)) as running:
        yield running


@pytest.fixture
def headwater(upstream: Upstream, tmp_path: Path) -> Iterator[int]:
    # Whoever comes through a proxy is refused unless the server is told otherwise.
    environ = {"HEADWATER_AUTH__ANONYMOUS": "true"}
    with headwater_serve("--upstream", upstream.url, cwd=tmp_path, environ=environ) as port:
        yield port


def config(**options: str) -> str:
    return configuration("nginx", site(server_name="_", **options))


def in_front_of(port: int, path: str = "/") -> Callable[[str], str]:
    return lambda listen: config(upstream=f"http://127.0.0.1:{port}", path=path, listen=listen)


def held_back(port: int) -> Callable[[str], str]:
    """Undo what makes our configuration stream, as in many a configuration found in the wild."""

    def make(listen: str) -> str:
        text = in_front_of(port)(listen)
        for ours, theirs in (
            ("proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering;"),
            ("gzip off;", "gzip on; gzip_types text/event-stream; gzip_proxied any;"),
        ):
            assert ours in text
            text = text.replace(ours, theirs)
        return text

    return make


def tokens(response: Response) -> list[tuple[float, str]]:
    assert response.head.status == 200, response.head
    return [(at, data["token"]) for at, data in events(response) if "token" in data]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_tokens_arrive_one_by_one(
    headwater: int, upstream: Upstream, tmp_path: Path, encoding: str
) -> None:
    with nginx(tmp_path, in_front_of(headwater)) as port:
        response = request(port, "/stream", {"prompt": "hi"}, {"Accept-Encoding": encoding})
        arrived = tokens(response)
    assert "".join(text for _, text in arrived) == "".join(TOKENS)
    assert_one_by_one([at for at, _ in arrived], token_times(upstream))
    assert "content-encoding" not in response.head.headers
    # For a proxy that stands before this one.
    assert response.head.headers["x-accel-buffering"] == "no"


def test_a_wrong_configuration_is_told_from_a_right_one(
    headwater: int, upstream: Upstream, tmp_path: Path
) -> None:
    with nginx(tmp_path, held_back(headwater)) as port:
        response = request(port, "/stream", {"prompt": "hi"}, {"Accept-Encoding": "gzip"})
        arrived = tokens(response)
    assert response.head.headers["content-encoding"] == "gzip"
    assert "".join(text for _, text in arrived) == "".join(TOKENS)
    with pytest.raises(AssertionError, match=r"after the last|lumps"):
        assert_one_by_one([at for at, _ in arrived], token_times(upstream))


def test_below_a_path(headwater: int, upstream: Upstream, tmp_path: Path) -> None:
    with nginx(tmp_path, in_front_of(headwater, "/ai")) as port:
        arrived = tokens(request(port, "/ai/stream", {"prompt": "hi"}))
        assert status(port, "/stream", {"prompt": "hi"}) == 404
    assert len(arrived) == len(TOKENS)
    assert len(upstream.posts) == 1


def test_a_stream_is_resumed_through_the_proxy(headwater: int, tmp_path: Path) -> None:
    with nginx(tmp_path, in_front_of(headwater)) as port:
        first = request(port, "/v1/streams", {"prompt": "hi"})
        seen = next(data for _, data in events(first) if data["type"] == "text-delta")
        first.close()
        path = f"/v1/streams/{first.head.headers['headwater-stream']}"
        rest = [data for _, data in events(request(port, path, headers={"Last-Event-ID": "1-2"}))]
    texts = [data["text"] for data in rest if data["type"] == "text-delta"]
    assert seen["text"] + "".join(texts) == "".join(TOKENS)
    assert rest[-1]["type"] == "stream-end"


def test_a_reader_who_leaves_frees_the_upstream(tmp_path: Path) -> None:
    environ = {"HEADWATER_AUTH__ANONYMOUS": "true"}
    with (
        Upstream(Answer([chunk({"content": "a"}), STALL])) as upstream,
        headwater_serve("--upstream", upstream.url, cwd=tmp_path, environ=environ) as served,
        nginx(tmp_path, in_front_of(served)) as port,
    ):
        headers = {"Headwater-On-Disconnect": "cancel"}
        response = request(port, "/stream", {"prompt": "hi"}, headers)
        next(events(response))
        response.close()
        upstream.wait(lambda: upstream.posts[0].hung_up_at is not None)


def test_whoever_comes_through_a_proxy_wants_a_key(upstream: Upstream, tmp_path: Path) -> None:
    with (
        headwater_serve("--upstream", upstream.url, cwd=tmp_path) as served,
        nginx(tmp_path, in_front_of(served)) as port,
    ):
        assert status(port, "/stream", {"prompt": "hi"}) == 401
    assert upstream.posts == []


def test_a_post_is_never_repeated(tmp_path: Path) -> None:
    seen: list[str] = []

    def cut(asked: Request) -> Answer:
        seen.append(asked.method)
        return Answer([CUT], framing="raw")

    with Upstream(cut) as one, Upstream(cut) as two:
        servers = "".join(f"server 127.0.0.1:{up.port} max_fails=0; " for up in (one, two))
        http = f"upstream two {{ {servers} }}"

        def make(listen: str) -> str:
            return config(upstream="http://two", path="/", listen=listen)

        with nginx(tmp_path, make, http) as port:
            assert status(port, "/stream", {"prompt": "hi"}) == 502
            assert seen == ["POST"]
            assert status(port, "/v1/models") == 502
    assert seen == ["POST", "GET", "GET"]


@pytest.mark.parametrize("path", ["/", "/ai", "/ai/"])
@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:8080"])
def test_nginx_accepts_what_the_command_prints(tmp_path: Path, path: str, listen: str) -> None:
    command = [HEADWATER, "proxy-config", "nginx", "--path", path, "--listen", listen]
    command += ["--server-name", "chat.example.com", "--upstream", "http://127.0.0.1:9000"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    checked = subprocess.run(
        [*write(tmp_path, printed), "-t"], capture_output=True, check=False, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
