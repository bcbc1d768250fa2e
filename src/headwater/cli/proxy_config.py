"""`headwater proxy-config`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import click

# What may stand in the configuration unquoted: anything else could end a directive and begin
# another.
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9._*:\[\]-]+", re.ASCII)
_SAFE_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*", re.ASCII)

NGINX: Final = """\
# nginx in front of Headwater. Goes where http {{ }} includes its servers: /etc/nginx/conf.d/.
#
# Headwater takes a request that came through a proxy for one from the internet, since nginx makes
# all of it look like 127.0.0.1: such a request gets 401 until headwater.toml says who may call,
# and by which name.
#
#   [server]
#   allowed_hosts = ["{host}"]
#
#   [auth.keys]
#   web = "env:HEADWATER_WEB_KEY"      # or, to spend your providers' keys on whoever comes:
#                                      # [auth] anonymous = true
server {{
    # For TLS: listen 443 ssl, http2 on, ssl_certificate and ssl_certificate_key.
{listen}
    server_name {name};

    # nginx's default of 1 MiB is less than a conversation with an image. Headwater's own limit is
    # server.max_body_bytes.
    client_max_body_size 10m;

    location {path} {{
        proxy_pass {upstream};

        # HTTP/1.0, the default of older versions, has no chunked responses; and with nginx's
        # default of "Connection: close" every request would cost a new connection.
        proxy_http_version 1.1;
        proxy_set_header Connection "";

        # Each piece goes on as it comes. Buffered, a short answer shows only when it is whole.
        proxy_buffering off;

        # A stream belongs to one reader at one moment.
        proxy_cache off;

        # A gzip switched on further up, for all types, would collect tokens into its own blocks.
        gzip off;

        # A silence this long ends the response. Headwater breaks every silence after 15 s
        # (server.heartbeat_s), the one before the first token too, so this is only a net.
        proxy_read_timeout 3600s;

        # nginx obeys this header and keeps it; the proxy before this one, if there is one, needs
        # it as well.
        proxy_pass_header X-Accel-Buffering;

        # Should there be several upstreams: the next one is tried when this one could not be
        # reached, but what had been sent is never sent again. With non_idempotent a POST would be,
        # and every such repetition is a second generation that somebody pays for.
        proxy_next_upstream error timeout;

        # The name and the port the browser used: the Origin of its requests is compared with them.
        proxy_set_header Host $http_host;

        # Who asked, and that a proxy stands between.
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
"""


@click.command(
    epilog="Example: headwater proxy-config nginx --server-name chat.example.com > headwater.conf"
)
@click.argument("proxy", type=click.Choice(["nginx"]))
@click.option("--server-name", default="_", help="Name by which browsers call it; _ is any.")
@click.option("--upstream", default="http://127.0.0.1:8000", help="Where Headwater listens.")
@click.option("--path", default="/", help="Path below which it appears; cut off on the way.")
@click.option("--listen", default="80", help="Port, or address and port, to listen on.")
def command(proxy: str, server_name: str, upstream: str, path: str, listen: str) -> None:
    """Print a configuration for PROXY through which streams arrive as streams."""
    click.echo(
        nginx(server_name=server_name, upstream=upstream, path=path, listen=listen), nl=False
    )


def nginx(*, server_name: str, upstream: str, path: str, listen: str) -> str:
    """Write nginx's `server` block. `click.UsageError` when a value would break out of it."""
    for option, value in (("--server-name", server_name), ("--listen", listen)):
        if _SAFE_NAME.fullmatch(value) is None:
            raise click.BadOptionUsage(option, f"{option} is no name or address: {value}")
    if _SAFE_PATH.fullmatch(path) is None:
        raise click.BadOptionUsage("--path", f"--path must be a path such as /ai/: {path}")
    path = path.rstrip("/") + "/"
    return NGINX.format(
        name=server_name,
        host=server_name if server_name != "_" else "chat.example.com",
        listen=_listen(listen),
        path=path,
        upstream=_pass_to(upstream, path),
    )


def _listen(listen: str) -> str:
    addresses = [listen, f"[::]:{listen}"] if listen.isdigit() else [listen]
    return "\n".join(f"    listen {address};" for address in addresses)


def _pass_to(upstream: str, path: str) -> str:
    parts = urlsplit(upstream)
    right = parts.scheme in ("http", "https") and _SAFE_NAME.fullmatch(parts.netloc)
    if not right or parts.query or parts.fragment or not _SAFE_PATH.fullmatch(parts.path or "/"):
        raise click.BadOptionUsage(
            "--upstream", f"--upstream must be a URL such as http://127.0.0.1:8000: {upstream}"
        )
    base = f"{parts.scheme}://{parts.netloc}"
    # Without a path nginx hands the request's on untouched; with one it decodes and encodes it.
    return base if path == "/" and parts.path in ("", "/") else base + parts.path.rstrip("/") + "/"
