"""The page's session: what is known of a key does not make one, and signing out ends it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.polling import eventually
from tests.helpers.redis import RedisServer
from tests.server.serving import Served, ask, serving

pytestmark = pytest.mark.system

KEY = "a key of more than 16 characters"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
CONFIG = f'[auth.keys]\nweb = "sha256:{DIGEST}"\nother = "sha256:{"0" * 64}"\n'
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(cwd=tmp_path_factory.mktemp("server"), config=CONFIG) as served:
        yield served
    assert "Traceback" not in served.output
    assert KEY not in served.output


def sign_in(port: int, headers: dict[str, str] | None = None) -> str:
    """The cookie, as a browser sends it back."""
    answer = ask(port, "/v1/session", {"key": KEY}, headers)
    assert answer.status == 204
    return answer.headers["set-cookie"].partition(";")[0]


def status(port: int, cookie: str, headers: dict[str, str] | None = None) -> int:
    return ask(port, "/v1/streams", headers={"Cookie": cookie, **(headers or {})}).status


def test_the_digest_in_the_configuration_makes_no_cookie(server: Served) -> None:
    """It did: a cookie was signed with it."""
    text = f"{base64.urlsafe_b64encode(b'web').decode()}.{int(time.time()) + 3600}"
    signature = hmac.new(bytes.fromhex(DIGEST), text.encode(), hashlib.sha256).hexdigest()
    for value in (f"{text}.{signature}", DIGEST, DIGEST[:43], f"sha256:{DIGEST}"):
        assert status(server.port, f"headwater_session={value}") == 401
        assert status(server.port, "", {"Authorization": f"Bearer {value}"}) == 401


def test_what_is_in_the_store_makes_no_cookie(tmp_path: Path) -> None:
    with serving("--store", "sqlite:///streams.db", cwd=tmp_path, config=CONFIG) as served:
        cookie = sign_in(served.port)
        value = cookie.partition("=")[2]
        stored = b"".join(
            file.read_bytes() for file in tmp_path.glob("streams.db*") if file.is_file()
        )
        assert value.encode() not in stored
        assert KEY.encode() not in stored
        [held] = set(re.findall(rb"session:([0-9a-f]{64})", stored))
        assert hashlib.sha256(value.encode()).hexdigest().encode() == held
        assert status(served.port, f"headwater_session={held.decode()[:43]}") == 401
        assert status(served.port, cookie) == 200


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_signing_out_ends_it_on_every_node_for_every_copy(kind: str, tmp_path: Path) -> None:
    redis = RedisServer() if kind == "redis" else None
    if redis is not None:
        redis.start()
    url = f"sqlite:///{tmp_path}/streams.db" if redis is None else redis.url
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    try:
        with (
            serving("--store", url, cwd=folders[0], config=CONFIG) as one,
            serving("--store", url, cwd=folders[1], config=CONFIG) as two,
        ):
            stolen, kept = sign_in(one.port), sign_in(two.port)
            assert {status(node.port, c) for node in (one, two) for c in (stolen, kept)} == {200}
            answer = ask(two.port, "/v1/session", headers={"Cookie": stolen}, method="DELETE")
            assert answer.status == 204
            assert "Max-Age=0" in answer.headers["set-cookie"]
            assert {status(node.port, stolen) for node in (one, two)} == {401}
            assert {status(node.port, kept) for node in (one, two)} == {200}
    finally:
        if redis is not None:
            redis.kill()


def test_it_lives_through_a_restart_and_ends_with_its_key(tmp_path: Path) -> None:
    arguments = ["--store", "sqlite:///streams.db"]
    with serving(*arguments, cwd=tmp_path, config=CONFIG) as served:
        cookie = sign_in(served.port)
    with serving(*arguments, cwd=tmp_path, config=CONFIG) as served:
        assert status(served.port, cookie) == 200
        changed = CONFIG.replace(DIGEST, "1" * 64)
        (tmp_path / "headwater.toml").write_text(changed)
        served.process.send_signal(signal.SIGHUP)
        eventually(lambda: status(served.port, cookie) == 401, "the session ends")


def test_signing_out_without_a_session_is_no_error(server: Served) -> None:
    for cookie in (
        "",
        "headwater_session=",
        "headwater_session=x",
        "headwater_session=" + "A" * 43,
    ):
        headers = {"Cookie": cookie} if cookie else {}
        assert ask(server.port, "/v1/session", headers=headers, method="DELETE").status == 204


def test_a_key_that_is_held_down_does_not_fill_the_store(tmp_path: Path) -> None:
    with serving(cwd=tmp_path, config=CONFIG) as served:
        statuses = [ask(served.port, "/v1/session", {"key": KEY}).status for _ in range(80)]
        assert 60 <= statuses.count(204) < 80
        assert set(statuses) == {204, 429}


# over TLS


@pytest.mark.parametrize(
    ("trusted", "headers", "secure"),
    [
        ("127.0.0.0/8", {"X-Forwarded-Proto": "https"}, True),
        ("127.0.0.1", {"X-Forwarded-Proto": "http, HTTPS"}, True),
        ("127.0.0.1", {"X-Forwarded-Proto": "https, http"}, False),
        ("127.0.0.1", {"X-Forwarded-Proto": "http"}, False),
        ("127.0.0.1", {}, False),
        ("10.0.0.0/8", {"X-Forwarded-Proto": "https"}, False),
        ("", {"X-Forwarded-Proto": "https"}, False),
    ],
)
def test_the_cookie_is_secure_behind_a_trusted_proxy(
    trusted: str, headers: dict[str, str], secure: bool, tmp_path: Path
) -> None:
    networks = json.dumps([trusted] if trusted else [])
    config = f"[server]\ntrusted_proxies = {networks}\n{CONFIG}"
    with serving(cwd=tmp_path, config=config) as served:
        answer = ask(served.port, "/v1/session", {"key": KEY}, headers)
        cookie, *attributes = (part.strip() for part in answer.headers["set-cookie"].split(";"))
        assert cookie.startswith("__Host-headwater_session=" if secure else "headwater_session=")
        assert ("Secure" in attributes) == secure
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(attributes)
        assert not any(part.lower().startswith("domain") for part in attributes)
        assert status(served.port, cookie, headers) == 200
        # A host of the same site can set the plain name, so over TLS that one is not read.
        value = cookie.partition("=")[2]
        tossed = ("" if secure else "__Host-") + f"headwater_session={value}"
        assert status(served.port, tossed, headers) == 401
        out = ask(
            served.port, "/v1/session", headers={"Cookie": cookie, **headers}, method="DELETE"
        )
        assert out.headers["set-cookie"].startswith(cookie.partition("=")[0] + "=")
        assert ("Secure" in out.headers["set-cookie"]) == secure
        assert status(served.port, cookie, headers) == 401
