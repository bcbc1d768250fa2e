"""nginx's configuration."""

from __future__ import annotations

from typing import Final

from headwater.cli.proxy_config.site import Site

_TEMPLATE: Final = """\
# nginx in front of Headwater. Goes where http {{ }} includes its servers: /etc/nginx/conf.d/.
#
{keys}
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


def write(site: Site) -> str:
    """The `server` block."""
    return _TEMPLATE.format(
        name=site.name,
        keys=site.keys,
        listen=_listen(site),
        path=site.path,
        upstream=_pass_to(site),
    )


def _listen(site: Site) -> str:
    # nginx takes [::] for IPv6 alone.
    places = [f"{site.address}:{site.port}"] if site.address else [site.port, f"[::]:{site.port}"]
    return "\n".join(f"    listen {place};" for place in places)


def _pass_to(site: Site) -> str:
    origin = f"{site.scheme}://{site.authority}"
    # Without a path nginx hands the request's on untouched; with one it decodes and encodes it.
    return origin if site.path == "/" and not site.base else f"{origin}{site.base}/"
