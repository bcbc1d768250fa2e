"""`store.url` may hold a password: a wrong one is refused at the start, and no part of it is shown."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from headwater.errors import ConfigurationError, HeadwaterError
from headwater.settings import load
from headwater.settings.store_url import problem_of, resolved
from headwater.stores.redis import RedisStore
from tests.helpers.processes import HEADWATER, environment
from tests.helpers.redis import redis_server
from tests.server.serving import ask, serving

SECRETS = ("hunter", "tw0", "s3cret")

WRONG = [
    "redis://:hunter#tw0@127.0.0.1:6379/0",
    "redis://:hunter/tw0@127.0.0.1:6379/0",
    "redis://:hunter?tw0@127.0.0.1:6379/0",
    "redis://me:12#tw0@127.0.0.1/0",
    "redis://:12/tw0@127.0.0.1/0",
    "redis://:hunter%tw0@127.0.0.1/0",
    "redis://:hunter:tw0@127.0.0.1/0",
    "redis://:hunter tw0@127.0.0.1/0",
    "redis://:hunter\\tw0@[127.0.0.1/0",
    "redis://127.0.0.1:hunter/0",
    "redis://127.0.0.1/hunter",
    "redis:///0?password=hunter",
    "rediss://:hunter#tw0@127.0.0.1/0",
    "unix://:hunter#tw0@/run/redis.sock",
    "redis:hunter:tw0@127.0.0.1",
    "hunter:tw0@127.0.0.1",
    "hunter tw0",
    "memory://hunter",
    "memory:hunter",
    "sqlite://hunter:tw0@host/path",
    "sqlite:hunter.db",
    "env:hunter tw0",
]
RIGHT = [
    "memory://",
    "sqlite:///s.db",
    "sqlite:////var/lib/hunter/a b.db".replace(" ", "%20"),
    "redis://127.0.0.1",
    "redis://127.0.0.1/",
    "redis://127.0.0.1:6379/0",
    "redis://:hunter%23tw0%2F%3F@127.0.0.1:6379/15",
    "redis://me:hunter@[::1]:6379/0?socket_keepalive=true",
    "rediss://me:hunter@redis.example.com/0?ssl_ca_certs=/etc/ca.pem",
    "unix:///run/redis.sock?db=2",
    "unix://me:hunter@/run/redis.sock",
    "postgresql://me:hunter@host/db",
    "env:STORE_URL",
]


def hides(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, text


@pytest.mark.parametrize("url", WRONG)
def test_a_url_that_is_read_in_two_ways_is_refused(url: str) -> None:
    problem = problem_of(url)
    assert problem is not None
    hides(problem)
    for refuse in (
        lambda: load({"store.url": url}, environ={}),
        lambda: load(environ={"HEADWATER_STORE__URL": url}),
        lambda: resolved("env:VAR", {"VAR": url}),
        lambda: RedisStore(url),
    ):
        if url.startswith("env:"):
            continue
        with pytest.raises(ConfigurationError) as caught:
            refuse()
        hides("".join(traceback.format_exception(caught.value)).replace(f"{refuse}", ""))


@pytest.mark.parametrize("url", RIGHT)
def test_a_url_that_is_right(url: str) -> None:
    assert problem_of(url) is None
    assert load({"store.url": url}, environ={"STORE_URL": "memory://"}).store.url == url


def test_the_remedy_is_to_encode_it() -> None:
    problem = problem_of("redis://:hunter#tw0@127.0.0.1:6379/0")
    assert problem is not None
    assert "percent-encoded" in problem
    assert "%23" in problem


@pytest.mark.system
@pytest.mark.parametrize("where", ["flag", "variable", "file", "env:"])
def test_a_server_with_such_a_url_does_not_start(where: str, tmp_path: Path) -> None:
    url, arguments, extra = WRONG[0], [], {}
    if where == "flag":
        arguments = ["--store", url]
    elif where == "variable":
        extra = {"HEADWATER_STORE__URL": url}
    elif where == "file":
        (tmp_path / "headwater.toml").write_text(f'[store]\nurl = "{url}"\n')
    else:
        arguments, extra = ["--store", "env:STORE"], {"STORE": url}
    ended = subprocess.run(
        [HEADWATER, "serve", "--port", "0", *arguments],
        cwd=tmp_path,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert "%23" in ended.stderr
    hides(ended.stderr + ended.stdout)


@pytest.mark.system
def test_a_password_with_every_sign_works_and_is_never_shown(tmp_path: Path) -> None:
    password = "hunter#tw0/s3cret?@:%&"
    with redis_server("--requirepass", password) as redis:
        url = f"redis://:{quote(password, safe='')}@127.0.0.1:{redis.port}/0"
        with serving(
            "--store",
            "env:STORE",
            cwd=tmp_path,
            config='[server]\nlog_level = "debug"\n',
            environ={"STORE": url},
        ) as served:
            assert ask(served.port, "/readyz").status == 200
            # Nor is it in the list of processes.
            command = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
            hides(command.decode())
            redis.kill()
            for path in ("/readyz", "/v1/streams/none"):
                hides(ask(served.port, path).body.decode())
        hides(served.output)


@pytest.mark.system
def test_a_password_on_the_command_line_is_warned_of(tmp_path: Path) -> None:
    with redis_server("--requirepass", "s3cret") as redis:
        url = f"redis://:s3cret@127.0.0.1:{redis.port}/0"
        with serving("--store", url, cwd=tmp_path) as served:
            served.line("use --store env:VAR")
        hides(served.output)


@pytest.mark.parametrize("value", [None, "", " ", "env:OTHER"])
def test_a_variable_without_a_url_is_named(value: str | None) -> None:
    environ = {} if value is None else {"STORE": value}
    with pytest.raises(ConfigurationError, match="STORE"):
        resolved("env:STORE", environ)


def test_an_option_that_redis_py_does_not_know_is_no_leak(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for option in ("hunter=s3cret", "socket_timeout=s3cret", "max_connections=s3cret"):

        async def run(option: str = option) -> None:
            await RedisStore(f"redis://127.0.0.1:1/0?{option}").open(lambda *note: None)

        with pytest.raises(HeadwaterError) as caught:
            asyncio.run(run())
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("prefix", ["", "a b", "a{b}", "a*", "x" * 65, "ä", "a\n"])
def test_a_prefix_that_would_be_something_else(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"prefix"):
        load({"store.prefix": prefix}, environ={})
