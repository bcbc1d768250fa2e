"""nginx, which understands nothing of what it passes on: the floor for a relay of bytes.

Its documentation's settings for a proxy that keeps upstream connections, unbuffered; one worker,
as every relay here is one process.
"""

from __future__ import annotations

from bench.peer import Ask, Command, House, Relay, Upstreams, chat_body
from bench.programs import nginx_program, output

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
    keepalive_requests 1000000;
    tcp_nodelay on;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_read_timeout 600s;
    proxy_ssl_trusted_certificate {certificate};
    proxy_ssl_verify on;
    proxy_ssl_name localhost;
{upstreams}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
{locations}
    }}
}}
"""
_UPSTREAM = (
    "    upstream {name} {{ server {address}; keepalive 4000; keepalive_requests 1000000; }}"
)
_LOCATION = "        location /{name}/ {{ proxy_pass {scheme}://{name}/v1/; }}"


class Nginx(Relay):
    name = "nginx, bytes untouched"
    peer, fast = False, True

    def install(self, house: House) -> str:
        return output([nginx_program(), "-v"]).partition("nginx/")[2].strip()

    def command(self, house: House, port: int, upstreams: Upstreams) -> Command:
        folder = house.scratch(f"nginx-{port}")
        named = {name: url.removesuffix("/v1").split("://") for name, url in upstreams.urls.items()}
        main = _MAIN.format(
            folder=folder,
            port=port,
            certificate=upstreams.certificate,
            upstreams="\n".join(
                _UPSTREAM.format(name=name, address=address) for name, (_, address) in named.items()
            ),
            locations="\n".join(
                _LOCATION.format(name=name, scheme=scheme) for name, (scheme, _) in named.items()
            ),
        )
        (folder / "nginx.conf").write_text(main)
        return Command([nginx_program(), "-c", str(folder / "nginx.conf"), "-e", "stderr"])

    def ask(self, upstream: str, model: str) -> Ask:
        return Ask(f"/{upstream}/chat/completions", chat_body(model))
