"""A server without keys answers its own user on its own machine, and everyone else by token."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import STALL, Answer, chat, chunk
from tests.helpers.processes import HEADWATER
from tests.helpers.proxies import proxy
from tests.helpers.users import OTHER, as_root, as_user, ask_as, open_folder
from tests.server.serving import ask, raw
from tests.server.wires import EVERY_WIRE, PATHS, body_of
from tests.server.world import BOUND_S, World, world

pytestmark = pytest.mark.system

#: What a reader of a proxy's first page of documentation writes; Debian's packages run them so.
BARE = {
    "nginx": (
        "www-data",
        "server {{ listen {listen}; location / {{ proxy_pass http://127.0.0.1:{port}; }} }}",
    ),
    "haproxy": (
        "haproxy",
        "defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n"
        "frontend in\n bind {listen}\n default_backend out\n"
        "backend out\n server one 127.0.0.1:{port}\n",
    ),
    "caddy": ("caddy", "http://{listen} {{\n\treverse_proxy 127.0.0.1:{port}\n}}\n"),
}
HELD = Answer([chunk({"content": "abc"}), STALL])


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("server")) as running:
        yield running


def token_of(w: World) -> str:
    return w.served.line(r"/\?token=([\w-]{32,})$")[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def everything(stream: str) -> list[tuple[str, str, Any]]:
    """Every kind of thing that a stranger might do: method, path, body."""
    asked = [("POST", PATHS[wire], body_of(wire, "prompt-stranger")) for wire in EVERY_WIRE]
    return [
        *asked,
        ("GET", "/v1/streams", None),
        ("GET", f"/v1/streams/{stream}", None),
        ("DELETE", f"/v1/streams/{stream}", None),
        ("GET", f"/v1/responses/resp_{stream}", None),
        ("POST", f"/v1/responses/resp_{stream}/cancel", b"{}"),
        ("GET", "/api/chat/chat/stream", None),
        ("DELETE", "/api/chat/chat/stream", None),
        ("GET", "/v1/models", None),
        ("GET", "/metrics", None),
        ("GET", "/probe", None),
        ("POST", "/v1/session", {"key": "a guess of 16 characters"}),
    ]


@as_root
@pytest.mark.parametrize("kind", BARE)
def test_a_bare_proxy_lets_no_stranger_in(w: World, kind: str) -> None:
    user, text = BARE[kind]
    mine = w.post("native", w.plan(HELD), {"Headwater-On-Disconnect": "continue"})
    mine.until(b"abc")
    before = len(w.upstream.posts)

    def config(listen: str) -> str:
        return text.format(listen=listen, port=w.port)

    with open_folder() as folder, proxy(kind, folder / kind, config, user=user) as port:
        for method, path, body in everything(mine.stream):
            answer = ask(port, path, body, method=method)
            assert answer.status == 401, (method, path, answer)
        assert len(w.upstream.posts) == before
        assert w.state(mine.stream)["status"] == "running"
        # With the token it is served like any other caller.
        token = bearer(token_of(w))
        prompt = w.plan(chat(["hi"]))
        generated = ask(port, "/stream", {"prompt": prompt}, token)
        assert (generated.status, b'"hi"' in generated.body) == (200, True)
        assert mine.stream in ask(port, "/v1/streams", headers=token).body.decode()
        assert ask(port, "/metrics", headers={"x-api-key": token_of(w)}).status == 200
        path = f"/v1/streams/{mine.stream}"
        assert ask(port, path, headers=token, method="DELETE").status == 204
    mine.rest()


@as_root
def test_another_user_of_the_machine_needs_the_token(w: World) -> None:
    url = f"http://127.0.0.1:{w.port}"
    for method, path, body in everything("0" * 32):
        data = [] if body is None else ["-d", json.dumps(body if body != b"{}" else {})]
        assert ask_as(OTHER, url + path, "-X", method, *data).status == 401, (method, path)
    token = f"Authorization: Bearer {token_of(w)}"
    assert ask_as(OTHER, f"{url}/v1/models", "-H", token).status == 200
    wrong = "Authorization: Bearer " + token_of(w)[:-1]
    assert ask_as(OTHER, f"{url}/v1/models", "-H", wrong).status == 401


@as_root
def test_who_hangs_up_at_once_is_still_another_user(w: World) -> None:
    """When the server looks, the kernel shows the closed socket as root's: this server's user."""
    mine = w.post("native", w.plan(HELD), {"Headwater-On-Disconnect": "continue"})
    mine.until(b"abc")
    request = f"DELETE /v1/streams/{mine.stream} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    script = f'exec 3<>/dev/tcp/127.0.0.1/{w.port}; printf %s "$0" >&3'
    w.served.process.send_signal(signal.SIGSTOP)
    try:
        subprocess.run(
            ["bash", "-c", script, request], check=True, cwd="/", timeout=30, **as_user(OTHER)
        )
    finally:
        w.served.process.send_signal(signal.SIGCONT)
    assert w.state(mine.stream)["status"] == "running"
    assert ask(w.port, f"/v1/streams/{mine.stream}", method="DELETE").status == 204
    mine.rest()


def test_its_own_user_needs_nothing_whatever_key_an_sdk_sends(w: World) -> None:
    headers: list[dict[str, str]] = [{}, bearer("unused"), {"x-api-key": "é"}]
    for header in headers:
        prompt = w.plan(chat(["hi"]))
        assert ask(w.port, "/stream", {"prompt": prompt}, header).status == 200


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded", "X-Real-IP", "Via",
     "CDN-Loop", "CF-Ray", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "X-Amz-Cf-Id",
     "X-Amzn-Trace-Id", "Fastly-Client-IP", "Fastly-FF", "X-Azure-ClientIP", "X-Azure-Ref",
     "Akamai-Origin-Hop", "X-Akamai-Edgescape", "X-Envoy-External-Address", "Fly-Client-IP",
     "X-Vercel-Id", "X-Cloud-Trace-Context", "X-Original-Forwarded-For"],
)  # fmt: skip
def test_what_a_proxy_or_a_cdn_adds_makes_it_a_stranger(w: World, header: str) -> None:
    assert ask(w.port, "/v1/streams", headers={header: "1"}).status == 401
    assert ask(w.port, "/v1/streams", headers={header: "1", **bearer(token_of(w))}).status == 200


PAGES = {
    "https://evil.example": 403,
    "http://evil.example:8000": 403,
    "https://localhost.evil.example": 403,
    "null": 403,
    "http://localhost:5173": 200,
    "http://127.0.0.1:1": 200,
    "http://[::1]:8000": 200,
    "https://chat.example.com": 200,
    "https://app.example.com": 200,
}


@pytest.mark.parametrize("mode", ["token", "anonymous"])
def test_a_page_of_an_unknown_name_is_refused_even_if_same_origin(
    mode: str, tmp_path: Path
) -> None:
    """Behind a bare proxy every name that leads there is same-origin."""
    config = '[server]\nallowed_hosts = ["chat.example.com"]\n'
    config += 'cors_origins = ["https://app.example.com"]\n'
    arguments = [] if mode == "token" else ["[auth]", "anonymous = true"]
    with world(tmp_path, config + "\n".join(arguments)) as w:
        for origin, status in PAGES.items():
            headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
            prompt = w.plan(chat(["hi"]))
            answer = ask(w.port, "/stream", {"prompt": prompt}, headers)
            assert answer.status == status, (origin, answer)
            if origin.startswith("https://") and status == 403:
                rebound = {"Host": origin.partition("//")[2]}
                assert ask(w.port, "/v1/streams", headers=rebound).status == 403, origin


def test_no_auth_answers_everyone_and_says_what_that_opens(tmp_path: Path) -> None:
    with world(tmp_path, HEADWATER_AUTH__ANONYMOUS="1") as w:
        assert "token=" not in w.served.output
        assert ask(w.port, "/v1/streams", headers={"X-Forwarded-For": "1.2.3.4"}).status == 200
        assert ask(w.port, "/v1/streams", headers={"Host": "rebound.example"}).status == 403
    said = subprocess.run(
        [HEADWATER, "serve", "--help"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    for word in ("--no-auth", "proxy", "spend", "read, list and stop"):
        assert word in " ".join(said.split())


def test_every_worker_knows_the_token(tmp_path: Path) -> None:
    config = '[server]\nworkers = 2\n[store]\nurl = "sqlite:///streams.db"\n'
    with world(tmp_path, config) as w:
        token = {**bearer(token_of(w)), "Via": "1.1 proxy"}
        assert {ask(w.port, "/v1/streams", headers=token).status for _ in range(20)} == {200}
        [cookie] = {sign_in_by_link(w)}
        forwarded = {"Cookie": cookie, "Via": "1.1 proxy"}
        assert {ask(w.port, "/v1/streams", headers=forwarded).status for _ in range(20)} == {200}


def sign_in_by_link(w: World) -> str:
    answer = ask(w.port, f"/?token={token_of(w)}&a=b", headers={"Via": "1.1 proxy"})
    assert (answer.status, answer.headers["location"]) == (303, "./?a=b")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert token_of(w) not in str(answer)
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_wrong_token_in_the_page_s_address_gives_no_cookie(w: World) -> None:
    answer = ask(w.port, f"/?token={token_of(w)}x", headers={"Via": "1.1 proxy"})
    assert (answer.status, answer.headers["location"]) == (303, "./")
    assert "set-cookie" not in answer.headers


def test_the_token_is_another_after_a_restart_and_so_are_its_cookies(tmp_path: Path) -> None:
    config = '[store]\nurl = "sqlite:///streams.db"\n'
    with world(tmp_path, config) as w:
        first, cookie = token_of(w), sign_in_by_link(w)
    with world(tmp_path, config) as w:
        assert token_of(w) != first
        for header in (bearer(first), {"Cookie": cookie}):
            assert ask(w.port, "/v1/streams", headers={**header, "Via": "1.1 proxy"}).status == 401


def test_requests_of_one_connection_are_all_answered(w: World) -> None:
    head = f"GET /v1/streams HTTP/1.1\r\nHost: 127.0.0.1:{w.port}\r\n"
    last = head + "Connection: close\r\n\r\n"
    answer = raw(w.port, (head + "\r\n").encode() * 3 + last.encode())
    assert answer.status == 200
    with socket.create_connection(("127.0.0.1", w.port), BOUND_S) as sock:
        sock.sendall((head + "\r\n").encode() * 3 + last.encode())
        got = b""
        while part := sock.recv(65536):
            got += part
    assert got.count(b"HTTP/1.1 200") == 4
