"""Faults 41 and 52 to 57: what stands between a reader and the server."""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from headwater.cli.proxy_config import configuration
from headwater.cli.proxy_config.site import site
from headwater.testing import DONE, STALL, Answer, Fault, FaultyProxy, Gate, Step, chat, chunk
from tests.faults.watching import LEAVING
from tests.helpers.arrivals import Response, assert_one_by_one, events, request
from tests.helpers.nginx import nginx
from tests.helpers.processes import HEADWATER, environment
from tests.server.serving import Reader, ask, ids, raw, serving
from tests.server.wires import PATHS, outcome, text_of
from tests.server.world import WIRES, World, world

pytestmark = pytest.mark.system

TOKENS = [f"token-{number} " for number in range(15)]
GAP_S = 0.08
STEADY = chat(TOKENS, gap_s=GAP_S)


@pytest.fixture(scope="module")
def open_w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that answers whoever comes through a proxy, with a quick heartbeat."""
    config = "[server]\nheartbeat_s = 0.3\n[auth]\nanonymous = true"
    with world(tmp_path_factory.mktemp("proxied"), config) as running:
        yield running


def bare(target: int, directives: str = "") -> Callable[[str], str]:
    """An nginx as it is before anybody has thought of streams: HTTP/1.0, and it buffers."""
    return lambda listen: (
        f"server {{ listen {listen}; location / {{ {directives}\n"
        f"proxy_pass http://127.0.0.1:{target}; }} }}"
    )


GZIP = "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;"
MODERN = "proxy_http_version 1.1;"
DEAF = "proxy_ignore_headers X-Accel-Buffering;"


def rhythm(w: World, port: int, headers: dict[str, str] | None = None) -> Response:
    """Ask through a proxy; fails unless the tokens come in the rhythm in which they were sent."""
    prompt = w.plan(STEADY)
    response = request(port, PATHS["plain"], {"prompt": prompt}, headers)
    arrived = [(at, data["token"]) for at, data in events(response) if "token" in data]
    assert "".join(token for _, token in arrived) == "".join(TOKENS)
    sent = [at for at, data in w.asked(prompt).sent if b"token-" in data]
    assert_one_by_one([at for at, _ in arrived], sent)
    return response


def test_fault_52_nginx_with_gzip_on_lets_every_token_through(
    open_w: World, tmp_path: Path
) -> None:
    with nginx(tmp_path, bare(open_w.port, GZIP)) as port:
        rhythm(open_w, port, {"Accept-Encoding": "gzip"})


def test_fault_52_without_our_header_it_would_hold_everything(
    open_w: World, tmp_path: Path
) -> None:
    with (
        nginx(tmp_path, bare(open_w.port, GZIP + DEAF)) as port,
        pytest.raises(AssertionError, match=r"after the last|lumps"),
    ):
        rhythm(open_w, port, {"Accept-Encoding": "gzip"})


@pytest.mark.parametrize("path", ["/", "/headwater.js", "/healthz"])
def test_fault_52_what_is_no_stream_passes_a_bare_nginx_too(tmp_path: Path, path: str) -> None:
    with serving(cwd=tmp_path) as served, nginx(tmp_path, bare(served.port)) as port:
        expected = ask(served.port, path).body
        assert (
            raw(port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), timeout_s=2).body
            == expected
        )


@pytest.mark.parametrize("when", ["before the first token", "after it"])
def test_fault_53_heartbeats_keep_nginx_from_giving_up(
    open_w: World, tmp_path: Path, when: str
) -> None:
    """A silence of three times its `proxy_read_timeout`."""
    first: list[Step] = [chunk({"content": "a"})]
    rest: list[Step] = [chunk({"content": "b"}), chunk({}, "stop"), DONE]
    steps = [3.2, *first, *rest] if when.startswith("before") else [*first, 3.2, *rest]
    with nginx(tmp_path, bare(open_w.port, "proxy_read_timeout 1s;")) as port:
        body = {"prompt": open_w.plan(Answer(steps))}
        reader = Reader(request(port, PATHS["native"], body))
        assert outcome("native", reader.rest().replace(b": ping\n", b"")) == "stop"
        assert text_of("native", reader.body.replace(b": ping\n", b"")) == "ab"


def test_fault_53_without_heartbeats_it_would_give_up(w: World, tmp_path: Path) -> None:
    prompt = w.plan(Answer([chunk({"content": "a"}), STALL]))
    with nginx(tmp_path, bare(w.port, MODERN + "proxy_read_timeout 1s;")) as port:
        reader = Reader(request(port, PATHS["native"], {"prompt": prompt}, LEAVING))
        with pytest.raises(ConnectionError):
            reader.rest()


@pytest.mark.parametrize("wire", WIRES)
def test_fault_54_a_proxy_that_repeats_a_post_costs_no_second_generation_for_long(
    w: World, wire: str
) -> None:
    """Without an Idempotency-Key two POSTs are two streams: the one left alone is let go."""
    prompt = w.plan(Answer([chunk({"content": "a"}), 0.5, chunk({}, "stop"), DONE]))
    body = {"messages": [{"role": "user", "content": prompt}], "stream": True}
    with FaultyProxy(w.port, Fault(repeats=1)) as proxy:
        reader = Reader(request(proxy.port, PATHS[wire], body, LEAVING))
        assert outcome(wire, reader.rest()) in ("stop", "done")
        assert text_of(wire, reader.body) == "a"
    # The first may have been let go before the upstream was even asked.
    *alone, _ = [post for post in w.upstream.posts if prompt in post.body.decode()]
    assert len(alone) <= 1
    w.upstream.wait(lambda: all(post.hung_up_at for post in alone))
    newest = ask(w.port, "/v1/streams").json["data"][:2]
    assert [stream["status"] for stream in newest] == ["ended", "ended"]


CACHE = "proxy_cache_path cache keys_zone=all:1m;"
CACHED = """
proxy_http_version 1.1;
proxy_cache all; proxy_cache_valid any 10m; proxy_cache_methods GET HEAD POST;
proxy_cache_key $request_uri; add_header X-Cached $upstream_cache_status always;
"""


def test_fault_55_nothing_that_belongs_to_one_reader_is_cached(tmp_path: Path) -> None:
    """A proxy that caches all it may, by path alone: as if every key were the same."""
    config = '[auth.keys]\na = "env:A_KEY"\nb = "env:B_KEY"'
    with (
        world(tmp_path, config, A_KEY="a-key-1", B_KEY="b-key-2") as w,
        nginx(tmp_path, bare(w.port, CACHED), CACHE) as port,
    ):
        a, b = {"x-api-key": "a-key-1"}, {"x-api-key": "b-key-2"}
        gate = Gate()
        steps = [chunk({"content": "a"}), gate, chunk({}, "stop"), DONE]
        reader = Reader(request(port, PATHS["native"], {"prompt": w.plan(Answer(steps))}, a))
        reader.until(b'"a"')
        path = f"/v1/streams/{reader.stream}"
        state = {**a, "Accept": "application/json"}
        assert ask(port, path, headers=state).json["status"] == "running"
        assert ask(port, path, headers=b).status == 404
        gate.set()
        whole = reader.rest()
        for _ in range(2):
            assert ask(port, path, headers=state).json["status"] == "done"
            assert ask(port, path, headers=a).body == whole
            assert ask(port, path, headers=b).status == 404
            assert ask(port, path).status == 401
            assert len(ask(port, "/v1/streams", headers=a).json["data"]) == 1
            assert ask(port, "/v1/streams", headers=b).json["data"] == []
            for asked in ("/v1/models", "/healthz", "/readyz", path, "/none"):
                answer = ask(port, asked, headers=a)
                assert answer.headers["x-cached"] == "MISS", (asked, answer.headers)


@pytest.mark.parametrize("inner", ["as we print it", "as it was"])
def test_fault_56_two_proxies_behind_each_other(open_w: World, tmp_path: Path, inner: str) -> None:
    """The inner one obeys X-Accel-Buffering, and must hand it on: the outer one buffers too."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "outer").mkdir()

    def ours(listen: str) -> str:
        target = f"http://127.0.0.1:{open_w.port}"
        where = site(server_name="_", upstream=target, path="/", listen=listen)
        return configuration("nginx", where)

    make = ours if inner == "as we print it" else bare(open_w.port)
    with nginx(tmp_path / "inner", make) as near, nginx(tmp_path / "outer", bare(near)) as far:
        if inner == "as we print it":
            assert rhythm(open_w, far).head.status == 200
        else:
            with pytest.raises(AssertionError, match=r"after the last|lumps"):
                rhythm(open_w, far)


def resumed(proxy: FaultyProxy, reader: Reader) -> tuple[bytes, int]:
    """The whole response as a client that resumes has it, and how often it had to."""
    whole = b""
    for count in range(50):
        with contextlib.suppress(ConnectionError):
            reader.rest()
        whole += reader.body[: reader.body.rfind(b"\n\n") + 2] if b"\n\n" in reader.body else b""
        if b'"stream-end"' in whole:
            return whole, count
        reader = read_on(proxy, reader.stream, ids(whole)[-1:])
    raise AssertionError(f"not whole: {whole!r}")


def read_on(proxy: FaultyProxy, stream: str, known: list[str]) -> Reader:
    headers = {"Last-Event-ID": known[0]} if known else {}
    for _ in range(10):
        with contextlib.suppress(ConnectionError):
            return Reader(request(proxy.port, f"/v1/streams/{stream}", None, headers))
    raise AssertionError("no connection gets as far as its head")


def test_fault_57_a_proxy_that_caps_every_response(w: World) -> None:
    with FaultyProxy(w.port, Fault(lasts_s=0.4, how="close")) as proxy:
        body = {"prompt": w.plan(STEADY)}
        first = Reader(request(proxy.port, PATHS["native"], body))
        whole, times = resumed(proxy, first)
    assert times >= 2
    assert whole == w.get(first.stream, "native")
    assert text_of("native", whole) == "".join(TOKENS)


def test_fault_57_the_command_reads_on_through_it(w: World, tmp_path: Path) -> None:
    with FaultyProxy(w.port, Fault(lasts_s=0.6)) as proxy:
        command = [HEADWATER, "ask", w.plan(STEADY), "--server", proxy.url]
        done = subprocess.run(
            command, env=environment(), cwd=tmp_path, check=False, capture_output=True, timeout=60
        )
        assert len(proxy.links) >= 2
    assert (done.returncode, done.stdout.decode()) == (0, "".join(TOKENS) + "\n"), done.stderr


def test_fault_57_cut_at_any_byte_the_answer_comes_whole(w: World) -> None:
    """The first two connections are reset at a byte of chance; what is read is the uncut answer."""
    prompt = w.plan(chat(TOKENS[:5]))
    chance = random.Random(57)
    for _ in range(25):
        head = 900  # the first cut comes behind the head, or the client would not know the stream
        cuts = [Fault(after=head + chance.randrange(900)), Fault(after=chance.randrange(1200))]
        with FaultyProxy(w.port, cuts) as proxy:
            first = Reader(request(proxy.port, PATHS["native"], {"prompt": prompt}))
            whole, _ = resumed(proxy, first)
        assert whole == w.get(first.stream, "native")


def test_fault_57_a_proxy_that_goes_down_and_comes_back(w: World) -> None:
    gate = Gate()
    steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
    with FaultyProxy(w.port) as proxy:
        body = {"prompt": w.plan(Answer(steps))}
        reader = Reader(request(proxy.port, PATHS["native"], body))
        reader.until(b'"a"')
        proxy.down()
        with pytest.raises(ConnectionError):
            reader.rest()
        with pytest.raises(ConnectionRefusedError):
            request(proxy.port, "/healthz")
        proxy.up()
        gate.set()
        path = f"/v1/streams/{reader.stream}"
        again = Reader(request(proxy.port, path, None, {"Last-Event-ID": ids(reader.body)[-1]}))
        again.rest()
        assert reader.body + again.body == w.get(reader.stream, "native")


#: In a page: our client and the browser's EventSource read the same stream at once.
READ_BOTH = """
async (stream) => {
  const { resume } = await import("/headwater.js");
  window.own = ""; window.states = [];
  window.source = new EventSource(`/v1/streams/${stream}`);
  source.onmessage = () => {};
  (async () => {
    const reading = resume(stream, { onState: (state) => states.push(state) });
    for await (const event of reading) if (event.type === "text-delta") own += event.text;
    window.whole = true;
  })();
}
"""


def test_fault_41_eventsource_gives_up_on_a_502_and_our_client_does_not(
    open_w: World, tmp_path: Path
) -> None:
    gate = Gate()
    steps = [chunk({"content": "a"}), gate, chunk({"content": "b"}), chunk({}, "stop"), DONE]
    with (
        FaultyProxy(open_w.port) as link,
        nginx(tmp_path, bare(link.port, MODERN + "proxy_set_header Host $http_host;")) as port,
        sync_playwright() as playwright,
    ):
        started = open_w.post("native", open_w.plan(Answer(steps)))
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/healthz")
        page.evaluate(READ_BOTH, started.stream)
        page.wait_for_function("own === 'a' && source.readyState === EventSource.OPEN")
        link.down()  # nginx has nobody to ask, and answers 502
        page.wait_for_function("source.readyState === EventSource.CLOSED")
        link.up()
        gate.set()
        page.wait_for_function("window.whole")
        assert page.evaluate("own") == "ab"
        assert page.evaluate("source.readyState") == 2
        browser.close()
        started.leave()
