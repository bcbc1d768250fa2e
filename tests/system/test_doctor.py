"""Proxies times their faults, each real: the table of docs/doctor.md.

`WRITE_DOCTOR=1 pytest tests/system/test_doctor.py` writes the table anew; without it the table must
be what was seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import trustme

from headwater.cli.proxy_config import configuration
from headwater.cli.proxy_config.site import site
from headwater.testing import FaultyUpstream, chat
from headwater.tools.doctor.hops import NAMES
from tests.helpers.processes import HEADWATER, environment
from tests.helpers.proxies import Config, command, proxy
from tests.helpers.redis import redis_server
from tests.helpers.servers import serve

pytestmark = pytest.mark.system

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "doctor.md"
DEPLOY: Final = DOCUMENT.parents[1] / "deploy"
#: Those of deploy/ that have settings of their own, and want a key.
DEPLOYED: Final = ("compose", "systemd")
KEY: Final = "secret-key"
#: Those that can be run here.
RUN: Final = ("nginx", "caddy", "haproxy", "apache")


INTRODUCTION: Final = """
Each row was tried with the real proxy, in Debian's version, by `tests/system/test_doctor.py`, which writes this table
and fails when it sees anything else. Where nothing else is said, the configuration is the one that we print.

"""


class Case(NamedTuple):
    """A proxy with a fault: what is replaced in the configuration that we print, by what; and the
    check that must find it, with how it must judge.

    `shown` is how the table has it. `extra` is configuration beyond the site, `behind` a second
    proxy between this one and the server.
    """

    kind: str
    shown: str
    replaced: Mapping[str, str]
    check: str
    status: str = "fault"
    line: str = ""
    extra: str = ""
    behind: Mapping[str, str] | None = None


OLD = {
    "proxy_http_version 1.1;": "",
    'proxy_set_header Connection "";': "",
    "proxy_buffering off;": "",
    "proxy_pass_header X-Accel-Buffering;": "",
}

CASES: Final = {
    "nginx buffers": Case("nginx", "`proxy_buffering on`, `proxy_ignore_headers X-Accel-Buffering`, HTTP/1.0 to the server", {**OLD, "gzip off;": "proxy_ignore_headers X-Accel-Buffering;"}, "buffering", line="proxy_buffering off;"),
    "nginx obeys": Case("nginx", "`proxy_buffering on`, HTTP/1.0 to the server", OLD, "own-endpoints", "advice", line="proxy_buffering off;"),
    "nginx 1.0": Case("nginx", "no `proxy_http_version`", {"proxy_http_version 1.1;": ""}, "http-version", "advice", line="proxy_http_version 1.1;"),
    "nginx gzip": Case("nginx", "`gzip on`, `gzip_types text/event-stream`", {"gzip off;": "gzip on; gzip_types text/event-stream; gzip_proxied any;"}, "compression", line="gzip off;"),
    "nginx gzip buffers": Case("nginx", "`gzip on`, `proxy_buffering on`", {"gzip off;": "gzip on; gzip_types text/event-stream; gzip_proxied any;", "proxy_buffering off;": "proxy_ignore_headers X-Accel-Buffering;"}, "compression", line="gzip off;"),
    "nginx cache": Case("nginx", "`proxy_cache`, `proxy_ignore_headers Cache-Control`", {"proxy_cache off;": "proxy_cache one; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control X-Accel-Buffering;", "proxy_buffering off;": ""}, "caching", line="proxy_cache off;", extra="proxy_cache_path cache keys_zone=one:1m;"),
    "nginx read timeout": Case("nginx", "`proxy_read_timeout 5s`", {"proxy_read_timeout 3600s;": "proxy_read_timeout 5s;"}, "silence", line="proxy_read_timeout 3600s;"),
    "nginx in nginx": Case("nginx", "behind an outer nginx of the kind above, an inner one without `proxy_pass_header`", {**OLD}, "x-accel-buffering", line="proxy_pass_header X-Accel-Buffering;", behind={"proxy_pass_header X-Accel-Buffering;": ""}),
    "nginx body": Case("nginx", "no `client_max_body_size`", {"client_max_body_size 10m;": ""}, "body", "advice", line="client_max_body_size 10m;"),
    "nginx host": Case("nginx", "no `proxy_set_header Host`", {"proxy_set_header Host $http_host;": ""}, "host", "advice", line="proxy_set_header Host $http_host;"),
    "nginx in": Case("nginx", "`proxy_set_header Last-Event-ID \"\"`", {"gzip off;": 'gzip off; proxy_set_header Last-Event-ID "";'}, "headers-in", line="proxy_set_header"),
    "nginx out": Case("nginx", "`proxy_hide_header Headwater-Stream`", {"gzip off;": "gzip off; proxy_hide_header Headwater-Stream;"}, "headers-out", line="proxy_hide_header"),
    "caddy buffers": Case("caddy", "`buffer_responses`", {"flush_interval -1": "buffer_responses"}, "buffering", line="flush_interval -1"),
    "caddy encode": Case("caddy", "`encode gzip`", {"request_body {": "encode gzip\n request_body {"}, "compression", line="encode"),
    "caddy read timeout": Case("caddy", "`read_timeout 5s`", {"flush_interval -1": "transport http {\n read_timeout 5s\n }"}, "silence", line="read_timeout"),
    "caddy write timeout": Case("caddy", "`timeouts { write 5s }`", {}, "duration", line="write 0", extra="\n servers {\n timeouts {\n write 5s\n }\n }"),
    "haproxy server timeout": Case("haproxy", "`timeout server 5s`", {"timeout server 1h": "timeout server 5s"}, "silence", line="timeout server 1h"),
    "haproxy delays": Case("haproxy", "no `option http-no-delay`", {"option http-no-delay": ""}, "buffering", line="option http-no-delay"),
    "haproxy buffers": Case("haproxy", "`http-response wait-for-body`", {"retries 2": "retries 2\n http-response wait-for-body time 60s"}, "buffering", line="wait-for-body"),
    "haproxy compression": Case("haproxy", "`compression type text/event-stream`", {"retries 2": "retries 2\n compression algo gzip\n compression type text/event-stream"}, "own-endpoints", "advice", line="compression type"),
    "apache 1.0": Case("apache", "`SetEnv force-proxy-request-1.0 1`", {"SetEnv no-gzip 1": "SetEnv no-gzip 1\nSetEnv force-proxy-request-1.0 1"}, "http-version", "advice", line="force-proxy-request-1.0"),
    "apache host": Case("apache", "no `ProxyPreserveHost On`", {"ProxyPreserveHost On": ""}, "host", "advice", line="ProxyPreserveHost On"),
    "apache deflate": Case("apache", "`SetOutputFilter DEFLATE`", {"SetEnv no-gzip 1": "SetOutputFilter DEFLATE"}, "compression", line="no-gzip"),
    "apache timeout": Case("apache", "`timeout=5`", {"timeout=3600": "timeout=5"}, "silence", line="ProxyTimeout"),
    "apache out": Case("apache", "`Header set Cache-Control`", {"SetEnv no-gzip 1": 'SetEnv no-gzip 1\nHeader set Cache-Control "max-age=600"'}, "headers-out", line="Header set"),
}  # fmt: skip


def written(kind: str, upstream: str, replaced: Mapping[str, str] = {}, path: str = "/") -> Config:
    """What the command prints, with a fault put in."""

    def make(listen: str) -> str:
        where = site(server_name="_", upstream=upstream, path=path, listen=listen)
        text = configuration(kind, where)
        for ours, theirs in replaced.items():
            assert ours in text, f"{ours!r} is not in the configuration of {kind}"
            text = text.replace(ours, theirs)
        return text

    return make


class Told(NamedTuple):
    """What `headwater doctor` printed, and its status."""

    status: int
    data: dict[str, Any]
    text: str

    def check(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.data["checks"] if each["name"] == name)
        return found

    @property
    def flaws(self) -> dict[str, str]:
        return {c["name"]: c["seen"] for c in self.data["checks"] if c["status"] != "ok"}


@contextlib.contextmanager
def deployed(name: str, cwd: Path) -> Iterator[str]:
    """What deploy/ has, with its own settings and its own nginx; only places are ours."""
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{cwd}/{name}.db"
        if name == "compose":
            url = stack.enter_context(redis_server()).url
        environ = {"HEADWATER_WEB_KEY": KEY, "HEADWATER_STORE__URL": url}
        arguments = ["--config", str(DEPLOY / name / "headwater.toml"), "--host", "127.0.0.1"]
        server = stack.enter_context(serve(*arguments, cwd=cwd, environ=environ))
        site_file = DEPLOY / {"compose": "compose/nginx.conf", "systemd": "nginx.conf"}[name]

        def config(listen: str) -> str:
            text = site_file.read_text().replace("listen 80;", f"listen {listen};")
            text = text.replace("    listen [::]:80;\n", "")
            return re.sub(r"proxy_pass http://.*;", f"proxy_pass {server.url};", text)

        port = stack.enter_context(proxy("nginx", cwd / f"{name}-nginx", config))
        yield f"http://127.0.0.1:{port}"


def with_tls(cwd: Path, upstream: str) -> Config:
    """The nginx that we print, with HTTP/2; `cwd` has the certificates."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(cwd / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(cwd / "server.pem")
    )
    tls = f"ssl_certificate {cwd}/server.pem; ssl_certificate_key {cwd}/server.pem;"

    def config(listen: str) -> str:
        text = written("nginx", upstream)(listen)
        return text.replace(f"listen {listen};", f"listen {listen} ssl http2; {tls}")

    return config


def doctor(*arguments: str, cwd: Path, **environ: str) -> Told:
    done = subprocess.run(
        [HEADWATER, "doctor", *arguments],
        cwd=cwd,
        env=environment(HEADWATER_API_KEY=KEY, **environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    data = json.loads(done.stdout) if "--json" in arguments and done.stdout else {}
    return Told(done.returncode, data, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """All doctors at once: each of them waits, most of the time, for 20 s of silence."""
    cwd = tmp_path_factory.mktemp("doctor")
    cwd.chmod(0o755)
    with contextlib.ExitStack() as stack:
        environ = {"HEADWATER_AUTH__ANONYMOUS": "true"}
        # Two, since each takes a hundred probes at a time.
        server, other = (stack.enter_context(serve(cwd=cwd, environ=environ)).url for _ in "ab")

        def url(name: str, kind: str, config: Config, extra: str = "") -> str:
            folder = cwd / name.replace(" ", "-")
            return f"http://127.0.0.1:{stack.enter_context(proxy(kind, folder, config, extra))}"

        urls = {kind: url(kind, kind, written(kind, other)) for kind in RUN}
        for name, case in CASES.items():
            upstream = server
            if case.behind is not None:
                inner = written(case.kind, server, case.behind)
                upstream = url(f"{name} inner", case.kind, inner)
            config = written(case.kind, upstream, case.replaced)
            urls[name] = url(name, case.kind, config, case.extra)
        for kind in RUN:
            below = url(f"{kind} below a path", kind, written(kind, other, path="/ai"))
            urls[f"{kind} below a path"] = f"{below}/ai"
        urls["direct"] = server
        tls = url("tls", "nginx", with_tls(cwd, server))
        urls["tls"] = tls.replace("http:", "https:")
        trusted = str(cwd / "authority.pem")
        urls |= {name: stack.enter_context(deployed(name, cwd)) for name in DEPLOYED}
        with ThreadPoolExecutor(len(urls)) as pool:
            runs = {}
            for name, where in urls.items():
                runs[name] = pool.submit(doctor, where, "--json", cwd=cwd, SSL_CERT_FILE=trusted)
                time.sleep(0.1)  # that forty interpreters start at once is none of its business
            yield {name: run.result() for name, run in runs.items()}


@pytest.mark.parametrize("kind", ["direct", *RUN])
def test_what_we_print_is_healthy(told: dict[str, Told], kind: str) -> None:
    assert told[kind].flaws == {}, told[kind].text
    assert (told[kind].status, told[kind].data["healthy"]) == (0, True)
    assert told[kind].data["hops"] == ([] if kind == "direct" else [kind])
    assert told[kind].data["proxies"] == (0 if kind == "direct" else 1)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_and_its_line_named(told: dict[str, Told], name: str) -> None:
    case = CASES[name]
    found = told[name].check(case.check)
    assert found["status"] == case.status, told[name].text
    assert case.line in found["change"][NAMES[case.kind]]
    assert told[name].status == (1 if case.status == "fault" else 0), told[name].flaws


@pytest.mark.parametrize("kind", RUN)
@pytest.mark.parametrize("path", ["/", "/ai/"])
@pytest.mark.parametrize("upstream", ["http://127.0.0.1:9000", "http://[::1]:9000/base"])
@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:8080"])
def test_the_proxy_accepts_what_the_command_prints(
    tmp_path: Path, kind: str, path: str, upstream: str, listen: str
) -> None:
    where = site(server_name="chat.example.com", upstream=upstream, path=path, listen=listen)
    arguments = command(kind, tmp_path, configuration(kind, where), check=True)
    home = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    checked = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=environment(**home),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert not re.search(r"\[warn\]|\[WARNING\]|Unnecessary", said), said


@pytest.mark.parametrize("kind", RUN)
def test_below_a_path(told: dict[str, Told], kind: str) -> None:
    assert told[f"{kind} below a path"].flaws == {}, told[f"{kind} below a path"].text


@pytest.mark.parametrize("name", DEPLOYED)
def test_what_is_in_deploy_is_healthy(told: dict[str, Told], name: str) -> None:
    assert (told[name].status, told[name].flaws) == (0, {}), told[name].text


def test_over_tls_it_says_what_a_browser_would_get(told: dict[str, Told]) -> None:
    assert (told["tls"].status, told["tls"].flaws) == (0, {}), told["tls"].text
    assert "browsers are given HTTP/2" in told["tls"].check("http-version")["seen"]


def test_a_certificate_that_is_not_trusted_is_said_to_be_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with proxy("nginx", tmp_path, with_tls(tmp_path, "http://127.0.0.1:1")) as port:
        told = doctor(f"https://127.0.0.1:{port}", cwd=tmp_path)
    assert told.status == 2
    assert "the certificate is not trusted" in told.text


def test_a_wrong_key_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text('[auth.keys]\nme = "env:ME"\n')
    with serve(cwd=tmp_path, environ={"ME": "secret"}) as server:
        refused = doctor(server.url, cwd=tmp_path)
        assert (refused.status, refused.text.count("\n")) == (2, 1)
        assert "Send a key as Authorization" in refused.text


def test_a_stream_of_somebody_else_is_judged_by_its_arrival(tmp_path: Path) -> None:
    with FaultyUpstream(chat(["a "] * 10, gap_s=0.1)) as upstream:
        url = f"{upstream.url}/chat/completions"
        told = doctor(url, "--data", '{"messages": [], "stream": true}', "--json", cwd=tmp_path)
    assert (told.status, told.data["kind"]) == (0, "sse")
    assert told.check("buffering")["status"] == "ok"
    assert told.check("silence")["status"] == "not told"


def test_what_came_at_once_is_not_judged(tmp_path: Path) -> None:
    with FaultyUpstream(chat(["a "] * 10)) as upstream:
        url = f"{upstream.url}/chat/completions"
        told = doctor(url, "--data", "{}", cwd=tmp_path)
    assert told.status == 2
    assert "too quick an answer to tell" in told.text


def test_a_look_past_the_proxy_tells_who_holds_a_stream_back(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    body = '{"messages": [], "stream": true}'
    with (
        FaultyUpstream(
            dataclasses.replace(chat(["a "] * 10, gap_s=0.1), framing="close")
        ) as upstream,
        proxy("nginx", tmp_path, written("nginx", upstream.url.removesuffix("/v1"), OLD)) as port,
    ):
        url, there = (
            f"http://127.0.0.1:{port}/v1/chat/completions",
            f"{upstream.url}/chat/completions",
        )
        told = doctor(url, "--direct", there, "--data", body, "--json", cwd=tmp_path)
    assert told.status == 1
    assert told.check("buffering")["change"]["nginx"].startswith("proxy_buffering off;")


def test_a_redirect_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    redirect = {"gzip off;": "return 301 https://chat.example.com/;"}
    with proxy("nginx", tmp_path, written("nginx", "http://127.0.0.1:1", redirect)) as port:
        told = doctor(f"http://127.0.0.1:{port}", cwd=tmp_path)
    assert told.status == 2
    assert "a redirect: ask https://chat.example.com/" in told.text


def test_what_is_no_stream_is_said_to_be_none(tmp_path: Path) -> None:
    with FaultyUpstream(chat(["a"])) as upstream:
        told = doctor(f"{upstream.url}/models", cwd=tmp_path)
    assert told.status == 2
    assert "no text/event-stream" in told.text


def test_the_table_is_what_was_seen(told: dict[str, Told]) -> None:
    """The part of the document between its heading and the next."""
    lines = ["| proxy | configured with | found | line named |", "|---|---|---|---|"]
    for kind in RUN:
        status = "healthy" if told[kind].status == 0 else "not healthy"
        lines.append(f"| {NAMES[kind]} | as `proxy-config {kind}` prints it | {status} | |")
        for name, case in CASES.items():
            if case.kind == kind:
                found = told[name].check(case.check)
                line = found["change"].get(NAMES[kind], "")
                cells = NAMES[kind], case.shown, f"{found['status']} `{case.check}`", f"`{line}`"
                lines.append(f"| {' | '.join(cells)} |")
    text = DOCUMENT.read_text()
    head, mark, rest = text.partition("## What it found\n")
    assert mark
    after = rest[rest.index("\n## ") :]
    written = f"{head}{mark}{INTRODUCTION}" + "\n".join(lines) + "\n" + after
    if os.environ.get("WRITE_DOCTOR"):
        DOCUMENT.write_text(written)
    assert DOCUMENT.read_text() == written


@pytest.mark.proof
def test_a_fault_that_is_there_without_the_proxy_is_not_its_own(tmp_path: Path) -> None:
    """An inner proxy takes the place of a server that cuts silences."""
    tmp_path.chmod(0o755)
    faulty = {"proxy_read_timeout 3600s;": "proxy_read_timeout 5s;"}
    with (
        serve(cwd=tmp_path, environ={"HEADWATER_AUTH__ANONYMOUS": "true"}) as server,
        proxy("nginx", tmp_path / "inner", written("nginx", server.url, faulty)) as inner,
        proxy("caddy", tmp_path / "outer", written("caddy", f"http://127.0.0.1:{inner}")) as outer,
    ):
        told = doctor(
            f"http://127.0.0.1:{outer}", "--direct", f"http://127.0.0.1:{inner}", cwd=tmp_path
        )
    assert told.status == 1
    assert "FAULT silence" in told.text
    assert "It is there without the proxies, too" in told.text
