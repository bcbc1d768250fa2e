"""Caddy's configuration."""

from __future__ import annotations

from typing import Final

from headwater.cli.proxy_config.site import Site

_TEMPLATE: Final = """\
# Caddy in front of Headwater: /etc/caddy/Caddyfile, or a file that it imports.
#
{keys}
#
# For TLS write the bare name here: Caddy then gets a certificate by itself, and speaks HTTP/2.
{address} {{{bind}
    handle{path} {{
        # A conversation with images fits. Headwater's own limit is server.max_body_bytes.
        request_body {{
            max_size 10MiB
        }}{rewrite}

        # No `encode` here: it would compress streams, and with one directive for the whole site
        # its `match` must leave out text/event-stream.
        reverse_proxy {upstream} {{
            # Each piece goes on as it comes. Caddy does so by itself where it recognises a stream.
            # It keeps the Host, adds X-Forwarded-For, -Host and -Proto, and has no timeout for a
            # silent response.
            flush_interval -1{host}
        }}
    }}
}}
"""
# Newer versions send the name of an upstream with TLS; the Origin of a browser's requests is
# compared with the one that the browser used.
_KEEP_HOST: Final = "\n            header_up Host {http.request.hostport}"


def write(site: Site) -> str:
    """The site block."""
    host = "" if site.any_name else site.name
    strip = site.path.rstrip("/")
    base = f"\n\n        rewrite * {site.base}{{uri}}" if site.base else ""
    written = _TEMPLATE.format(
        keys=site.keys,
        address=f"http://{host}:{site.port}",
        bind=f"\n    bind {site.address.strip('[]')}\n" if site.address else "",
        path=f"_path {strip}/*" if strip else "",
        rewrite=base,
        host=_KEEP_HOST if site.scheme == "https" else "",
        upstream=f"{site.scheme}://{site.authority}",
    )
    return written.replace("    ", "\t")  # as `caddy fmt` has it
