"""Where the tokens come from: the C program, and an nginx before it that terminates TLS.

Its certificate is one of an authority made for this run.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.peer import House, Missing, Upstreams
from bench.ports import await_port, free_port
from bench.processes import Program
from bench.programs import compile_native, nginx_program

_MAIN = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_session_cache shared:tls:10m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    keepalive_requests 1000000;
    upstream source {{ server 127.0.0.1:{source}; keepalive 2000; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{kept} ssl backlog=4096;
        location / {{ proxy_pass http://source; }}
    }}
    server {{
        listen 127.0.0.1:{closed} ssl backlog=4096;
        keepalive_timeout 0;
        location / {{ proxy_pass http://source; }}
    }}
}}
"""


@dataclass(frozen=True)
class Source:
    """The upstream's own port, and its base URLs for relays."""

    port: int
    upstreams: Upstreams


def begin(house: House, stack: ExitStack) -> Source:
    """Start both, until `stack` ends. Without an nginx there is only the plain one.

    `Missing` when there is no compiler.
    """
    port, kept, closed = free_port(), free_port(), free_port()
    program = compile_native(house, "upstream")
    _start(stack, [program, str(port)], house.work / "upstream.log", port)
    folder = house.scratch("tls")
    _certify(folder)
    urls = {"plain": f"http://127.0.0.1:{port}/v1"}
    try:
        command: list[str | Path] = [
            nginx_program(),
            "-c",
            str(folder / "nginx.conf"),
            "-e",
            "stderr",
        ]
    except Missing as missing:
        print(f"Nothing is measured behind TLS: {missing}", file=sys.stderr)
    else:
        main = _MAIN.format(folder=folder, source=port, kept=kept, closed=closed)
        (folder / "nginx.conf").write_text(main)
        _start(stack, command, house.work / "tls.log", kept)
        urls["tls"] = f"https://127.0.0.1:{kept}/v1"
        urls["connect"] = f"https://127.0.0.1:{closed}/v1"
    return Source(port, Upstreams(urls, folder / "authority.pem"))


def _start(stack: ExitStack, command: list[str | Path], log: Path, port: int) -> None:
    program = stack.enter_context(Program(command, log=log))
    if not await_port(port):
        raise Missing(f"{Path(command[0]).name} does not start: {program.last_words()}")


def _certify(folder: Path) -> None:
    """A certificate of an authority of its own, both made for this run."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "chain.pem", append=True)
    authority.cert_pem.write_to_path(folder / "authority.pem")
